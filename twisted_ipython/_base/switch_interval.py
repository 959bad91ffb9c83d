"""
How long a thread keeps the interpreter when others want it.

A thread that comes back from a system call asks for the interpreter's lock, and a loop
in another thread gives that up only after the switch interval, 5 ms.  Formatting a
traceback asks thousands of times: beside a loop it took 7 to 14 s, 0.1 s by itself.  So
the interval is 0.1 ms for a while, in which a handover takes 0.2 ms.

What can still go wrong.  A thread that asked before has its turn after the old interval;
what somebody else sets meanwhile is undone.

Thread: any.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Seconds of a turn where a thread that works beside a loop should get on.
BRIEF: Final = 1e-4


class _SwitchInterval:
    """What was asked for, the latest last, and the interval from before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[float] = []
        self._before = 0.0

    @contextmanager
    def turns_of(self, seconds: float) -> Iterator[None]:
        """Within, have a thread keep the interpreter for so many seconds while others want it."""
        with self._lock:
            if not self._asked:
                self._before = sys.getswitchinterval()
            self._asked.append(seconds)
        try:
            sys.setswitchinterval(seconds)
            yield
        finally:
            with self._lock:
                self._asked.remove(seconds)
                sys.setswitchinterval(self._asked[-1] if self._asked else self._before)


# One in the process, as the interval is.
_interval: Final = _SwitchInterval()
turns_of: Final = _interval.turns_of
