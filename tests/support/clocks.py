"""Tests that hold a clock against a promise want a machine that does nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from functools import cache
from pathlib import Path

__all__ = ["holds_clock", "turn"]

_CLOCK = re.compile(r"\b(monotonic|perf_counter)\b")


@cache
def holds_clock(file: Path) -> bool:
    """Whether a file of tests reads a clock."""
    return _CLOCK.search(file.read_text()) is not None


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """
    Wait for a test's turn beside those of the other workers of a run.

    Args:
        folder: which all workers share.
        alone: whether no other test may run meanwhile.
    """
    with (folder / "next").open("w") as following, (folder / "now").open("w") as now:
        # In this order, those that run beside others cannot keep out one that wants to be alone.
        flock(following, LOCK_EX)
        flock(now, LOCK_EX if alone else LOCK_SH)
        flock(following, LOCK_UN)
        yield
