"""
The time limit of an awaiting cell, which the cell itself may change.

Thread: cell.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TimeLimit:
    """
    The time that a cell may still take.

    Args:
        limit: gives the limit in seconds, or None for none; from a change on it begins anew.

    Attributes:
        seconds: the limit that holds now.
    """

    def __init__(self, limit: Callable[[], float | None]) -> None:
        self.seconds: float | None = None
        self._limit = limit
        self._ends: float | None = None
        self.left()

    def left(self) -> float | None:
        """The seconds that are left, or None without a limit."""
        seconds = self._limit()
        if seconds != self.seconds:
            self.seconds = seconds
            self._ends = None if seconds is None else monotonic() + seconds
        return None if self._ends is None else self._ends - monotonic()

    def extend(self, seconds: float) -> None:
        """Leave out a time in which nothing could be done."""
        if self._ends is not None:
            self._ends += seconds

    def allow(self, seconds: float) -> float:
        """Let it take so many seconds from now on, and return them."""
        self._ends = monotonic() + seconds
        return seconds
