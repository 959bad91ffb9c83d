"""
What the threads of Twisted's pool work on, and for which cell.

Nothing can stop a thread: one whose Deferred was cancelled goes on, unseen.
So each piece of work is noted while it runs.  Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from time import time
from typing import Any, Final

from twisted.python.threadpool import ThreadPool

from twisted_ipython import _numbers
from twisted_ipython._instance import override
from twisted_ipython._stack import Label, Place, of_thread

__all__ = ["Work", "attach", "left_by", "running"]

GOES_ON: Final = (
    "A pool thread goes on{place}: nothing can stop it. `%reactor jobs` lists it until it ends."
)
SEVERAL_GO_ON: Final = (
    "{number} pool threads go on, one of them{place}: nothing can stop them. `%reactor jobs` lists"
    " them until they end."
)


class Work:
    """
    One call in a thread of the pool.

    Attributes:
        numbers: of the cell or job that asked for it.
        began: when it began to run, in seconds since the epoch.
        thread: the thread that runs it.
    """

    def __init__(self, numbers: _numbers.Numbers) -> None:
        self.numbers = numbers
        self.began = 0.0
        self.thread = 0

    @property
    def place(self) -> Place | None:
        """The innermost line of the user's that it is at."""
        return next((place for place in of_thread(self.thread) if place.users), None)


_running: dict[int, Work] = {}


def attach(pool: ThreadPool) -> Callable[[], None]:
    """Note what the threads of ``pool`` work on from now on; returns what undoes it."""
    original: Callable[..., None] = pool.callInThreadWithCallback

    def call_in_thread_with_callback(
        onResult: Callable[..., object] | None, func: Callable[..., Any], /, *args: Any, **kw: Any
    ) -> None:
        original(onResult, _noted, Work(_numbers.current()), func, args, kw)

    return override(pool, {"callInThreadWithCallback": call_in_thread_with_callback})


def _noted(work: Work, func: Callable[..., Any], args: Any, kw: Any) -> Any:
    """Run the work.  In a thread of the pool."""
    context = copy_context()  # noqa: F841  # the pool logs a failure outside of it: see `_origin`
    work.began, work.thread = time(), get_ident()
    _running[work.thread] = work
    try:
        return func(*args, **kw)
    finally:
        del _running[work.thread]


def running() -> list[Work]:
    """What runs, the oldest first."""
    return sorted(_running.values(), key=lambda work: work.began)


def left_by(numbers: _numbers.Numbers, label: Label) -> str | None:
    """
    A line on the threads that still work for a cell that was to end; None if none does.

    Args:
        numbers: the cell's; what its jobs have asked for is the cell's too.
        label: how to write a place.
    """
    left = [work for work in running() if _is_of(work.numbers, numbers)]
    if not left:
        return None
    found = left[0].place
    place = "" if found is None else f" at {label(found)}"
    return (GOES_ON if len(left) == 1 else SEVERAL_GO_ON).format(number=len(left), place=place)


def _is_of(work: _numbers.Numbers, cell: _numbers.Numbers) -> bool:
    return work == cell or (cell.cell > 0 and work.cell == cell.cell)
