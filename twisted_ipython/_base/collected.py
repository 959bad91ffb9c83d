"""
Failures that nothing holds but themselves are found soon.

The goal.  ``ensureDeferred(f())`` whose coroutine fails, and whose Deferred
nobody kept, is shown about as soon as any other failure.

What fails.  Twisted says of such a Deferred that it failed when it is
collected.  The failure's traceback holds the frame of Twisted's driver, and
that the Deferred, so only Python's garbage collector finds them, and a session
that idles collects nothing: for minutes nothing was shown.

What we do.  Twisted counts its failures.  After what may have made one (a cell,
a timer's function, an event of a connection, a call from another thread, an
asyncio future that Twisted waited for) that count is compared, and a while
after it has changed, garbage is collected in the reactor thread.  All of it if
that takes no more than a hundredth of the time; what is young if it would.

What can still go wrong.  Where collecting all takes long, as in a session with
millions of objects, Python's own rhythm remains.  Who disabled the collector
has it disabled.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final

from twisted.python import failure

__all__ = ["Unheld", "unheld"]

# Seconds from a failure to collecting: whoever will look at it has done so by then.
_PATIENCE: Final = 0.5
# How many times as long as collecting everything took, until that may be done again.
_REST: Final = 50
# How many times are noted at which there had been failures.
_NOTED: Final = 1000
# Seconds after which it is said when something failed.
_LONG: Final = 2
# Seconds that it may take at all.
_LONGEST: Final = 0.2


class Unheld:
    """What collects garbage after failures; one in the process."""

    def __init__(self) -> None:
        self._later: Callable[..., object] | None = None
        self._seen = 0
        self._planned = False
        self._all_from = 0.0
        # Up to which number failures had been made by when.
        self._made: deque[tuple[int, float]] = deque(maxlen=_NOTED)

    def attach(self, later: Callable[..., object]) -> Callable[[], None]:
        """
        Begin.  Any thread.

        Args:
            later: calls a function in the reactor thread after a number of
                seconds; in the reactor thread.

        Returns:
            what undoes it.
        """
        self._later = later
        self._seen = failure.count
        return self._leave

    def _leave(self) -> None:
        self._later = None

    @property
    def news(self) -> bool:
        """Whether there have been failures since garbage was collected.  Any thread."""
        return failure.count != self._seen

    def look(self) -> None:
        """Collect garbage soon if there is need to.  In the reactor thread."""
        if failure.count == self._seen or self._later is None:
            return
        if not self._made or self._made[-1][0] < failure.count:
            self._made.append((failure.count, perf_counter()))
        if not self._planned:
            self._planned = True
            self._later(_PATIENCE, self._collect)

    def ago(self, number: int) -> str:
        """How long ago the failure of this number was made, if that is long.  Thread: any."""
        made = next((when for count, when in [*self._made] if number <= count), None)
        seconds = 0 if made is None else perf_counter() - made
        return f"{seconds:.0f} s ago" if seconds > _LONG else ""

    def _collect(self) -> None:
        self._planned = False
        self._seen = failure.count
        if self._later is None or not gc.isenabled():
            return
        begun = perf_counter()
        if begun < self._all_from:
            gc.collect(1)
            self._planned = self._all_from < inf
            if self._planned:
                self._later(self._all_from - begun, self._collect)
            return
        gc.collect()
        took = perf_counter() - begun
        self._all_from = begun + took * _REST if took < _LONGEST else inf


unheld: Final = Unheld()
