"""
The bar of `progress`: tqdm's, or a few lines.

It is drawn in a copy of the context in which it is made, so it stands in the cell of whoever
waits, whatever ends.  No timer draws it.  Lines take its place where tqdm is not installed,
above the prompt for a job in a terminal, and for a front end that ignores updates of a display.

A notebook is saved with the text that its displays had when they were displayed or
updated, and a widget's text says how far it was then.  So tqdm's widget is updated as a
display, too, when all is done: before the cell's end, after which nbclient takes nothing.

Thread: reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module
from time import monotonic
from typing import Any, Final

from IPython.core.display_functions import DisplayHandle, display
from IPython.core.getipython import get_ipython
from twisted.logger import Logger

from twisted_ipython._base.formatting import duration
from twisted_ipython._display.updates import can_update, has_updates, is_terminal
from twisted_ipython._waiting.calls import waiting_cell

_log = Logger()

# Of how many lines a bar of lines consists, and seconds between two drawings.
_LINES: Final = 10
_OFTEN: Final = 0.1
LINE: Final = "{name}{done:,} of {total:,}, {rate:,.0f}/s, {time} left"
LAST: Final = "{name}{done:,} of {total:,} in {time}, {rate:,.0f}/s"


class Bar:
    """Draws how many of something have ended; raises nothing."""

    def __init__(self, total: int, description: str | None) -> None:
        self._context = copy_context()
        # How many have ended since it was drawn, and when it is to be drawn again.
        self.undrawn = 0
        self.next = monotonic() + _OFTEN
        self._bar: Any = None
        self._handle: DisplayHandle | None = None
        self._do(self._make, total, description)

    def draw(self) -> None:
        """Draw it.  Thread: reactor."""
        self.next = monotonic() + _OFTEN
        undrawn, self.undrawn = self.undrawn, 0
        if self._bar is not None:
            self._do(self._bar.update, undrawn)

    def close(self) -> None:
        """Draw it a last time.  Thread: reactor."""
        self.draw()
        if self._bar is not None:
            self._do(self._bar.close)
        if self._handle is not None:
            self._do(self._handle.update, self._bar.container)

    def _make(self, total: int, description: str | None) -> None:
        kind: Any = None
        if not _stays():
            with suppress(ImportError):
                kind = import_module("tqdm.auto").tqdm
        if kind is None:
            self._bar = _Lines(total, description)
            return
        in_notebook = any(base.__name__ == "tqdm_notebook" for base in kind.__mro__)
        options = {"display": False} if in_notebook else {}
        # tqdm's thread looks after bars that count many steps before they look at the clock.
        kind = type("Bar", (kind,), {"monitor_interval": 0})
        self._bar = kind(total=total, desc=description, miniters=1, **options)
        if in_notebook:
            self._handle = display(self._bar.container, display_id=True)

    def _do(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self._context.run(function, *args)
        except Exception:
            _log.failure("A bar could not be drawn")
            self._bar = self._handle = None


class _Lines:
    """What is used of a tqdm, as a few lines that are printed.  Thread: reactor."""

    def __init__(self, total: int, description: str | None) -> None:
        self._total = total
        self._name = f"{description}: " if description else ""
        self._began = monotonic()
        self._done = 0
        self._next = total / _LINES

    def update(self, count: int) -> None:
        """Add what was done since; a line, if that makes another tenth.  Thread: reactor."""
        self._done += count
        if self._next <= self._done < self._total:
            self._next = self._done + self._total / _LINES
            self._print(LINE, self._total / self._done - 1)

    def close(self) -> None:
        """Print how many were done, and how long it took.  Thread: reactor."""
        self._print(LAST, 1)

    def _print(self, line: str, times: float) -> None:
        """Print a line, with a time that is so many times what it took until now."""
        taken = max(monotonic() - self._began, 1e-9)
        numbers = {"done": self._done, "total": self._total, "rate": self._done / taken}
        print(line.format(name=self._name, time=duration(taken * times), **numbers), flush=True)


def _stays() -> bool:
    """Whether a bar could not be drawn again, or a terminal prompts: it would be drawn there."""
    shell = get_ipython()
    if shell is None or not is_terminal(shell):
        return shell is not None and has_updates(shell) and not can_update(shell)
    return waiting_cell(any_cell=False) is None
