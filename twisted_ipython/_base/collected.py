"""
Failures that nothing holds but themselves are found soon.

The goal.  ``ensureDeferred(f())`` whose coroutine fails, and whose Deferred
nobody kept, is shown about as soon as any other failure.

What fails.  Its traceback holds the frame of Twisted's driver, and that the
Deferred: only the garbage collector finds them, and a session that idles
collects nothing.

What we do.  Twice a second Twisted's count of failures is compared, and when it
has changed, garbage is collected in the reactor thread.  All of it if that takes
no more than a hundredth of the time; what is young if it would.

What can still go wrong.  Where collecting all takes long, or is disabled,
Python's own rhythm remains.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final

from twisted.python import failure

# How many times as long as collecting everything took, until that may be done again.
_REST: Final = 50
# How many times are noted at which there had been failures.
_NOTED: Final = 1000
# Seconds after which it is said when something failed.
_LONG: Final = 2
# Seconds that it may take at all.
_LONGEST: Final = 0.2


class Unheld:
    """Collects garbage after failures, by a call in the reactor thread, while it is ``on``."""

    def __init__(self, call: Callable[[Callable[[], None]], object]) -> None:
        self.on = False
        self._call = call
        self._seen = failure.count
        self._asked = False
        # Whether only what is young was collected, and from when on it may be everything.
        self._owes = False
        self._all_from = 0.0
        # Up to which number failures had been made by when.
        self._made: deque[tuple[int, float]] = deque(maxlen=_NOTED)

    def ago(self, number: int) -> str:
        """How long ago the failure of this number was made, if that is long.  Thread: any."""
        made = next((when for count, when in [*self._made] if number <= count), None)
        seconds = 0 if made is None else perf_counter() - made
        return f"{seconds:.0f} s ago" if seconds > _LONG else ""

    def check(self) -> None:
        """Have garbage collected if there is need to.  Thread: any."""
        if not self._made or self._made[-1][0] < failure.count:
            self._made.append((failure.count, perf_counter()))
        due = self._owes and perf_counter() >= self._all_from
        if self.on and not self._asked and (due or failure.count != self._seen):
            self._asked = True
            self._call(self._collect)

    def _collect(self) -> None:
        """Collect what may be.  Thread: reactor."""
        self._asked = False
        self._seen = failure.count
        if not self.on or not gc.isenabled():
            return
        begun = perf_counter()
        self._owes = begun < self._all_from < inf
        if begun < self._all_from:
            gc.collect(1)
            return
        gc.collect()
        took = perf_counter() - begun
        self._all_from = begun + took * _REST if took < _LONGEST else inf
