"""
Bars that show how much is done: tqdm's, or a few lines.

Lines where tqdm is not installed, above the prompt for a job in a terminal, and for a front
end that ignores updates of a display.
In the reactor thread, in the context of the cell that shows one.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from time import monotonic
from typing import Any, Final, Protocol

from IPython.core.getipython import get_ipython

from twisted_ipython._base.formatting import duration
from twisted_ipython._display.updates import can_update, has_updates, is_terminal
from twisted_ipython._waiting.calls import waiting_cell

__all__ = ["Bar", "Lines", "new_bar"]

# Of how many lines a bar of lines consists.
_LINES: Final = 10

LINE: Final = "{name}{done:,} of {total:,}, {rate:,.0f}/s{left}"
LEFT: Final = ", {time} left"
LAST: Final = "{name}{done:,} of {total:,} in {time}, {rate:,.0f}/s"


class Bar(Protocol):
    """What is used of a tqdm."""

    mininterval: float

    def update(self, n: float) -> object:
        """Add what was done since."""

    def close(self) -> None:
        """Draw it a last time."""


class Lines:
    """
    A bar of a few lines that are printed.

    Args:
        total: how many there are.
        desc: a word in front of it, or None.
    """

    mininterval = 0.1

    def __init__(self, total: int, desc: str | None) -> None:
        self._total = total
        self._name = f"{desc}: " if desc else ""
        self._began = monotonic()
        self._done = 0
        self._next = total / _LINES

    def update(self, n: float) -> None:
        """Add what was done since; a line, if that makes another tenth."""
        self._done += int(n)
        if self._next <= self._done < self._total:
            self._next = self._done + self._total / _LINES
            left = (monotonic() - self._began) * (self._total / self._done - 1)
            self._print(LINE, left=LEFT.format(time=duration(left)))

    def close(self) -> None:
        """Print how many were done, and how long it took."""
        self._print(LAST, time=duration(monotonic() - self._began))

    def _print(self, text: str, **words: str) -> None:
        rate = self._done / max(monotonic() - self._began, 1e-9)
        print(
            text.format(name=self._name, done=self._done, total=self._total, rate=rate, **words),
            flush=True,
        )


@cache
def _tqdm() -> Any:
    """The tqdm that suits this process, without its thread; None if it is not installed."""
    try:
        own = import_module("tqdm.auto").tqdm
    except ImportError:
        return None
    # The thread looks every ten seconds after bars that count many steps before they
    # look at the clock; ours look at it each time.
    return type("Bar", (own,), {"monitor_interval": 0})


def new_bar(total: int, description: str | None) -> Bar:
    """A bar in the current cell."""
    tqdm = None if _stays() else _tqdm()
    if tqdm is None:
        return Lines(total, description)
    bar: Bar = tqdm(total=total, desc=description, miniters=1)
    return bar


def _stays() -> bool:
    """Whether a bar could not be drawn again, or a terminal prompts: it would be drawn there."""
    shell = get_ipython()
    if shell is None or not is_terminal(shell):
        return shell is not None and has_updates(shell) and not can_update(shell)
    return waiting_cell(any_cell=False) is None
