"""
Threads for blocking code that never keep the process from ending.

What fails.  A thread inherits being a daemon from the one that starts it: a
thread of Twisted's pool that the main thread asked for holds the exit until
its work is done, and Python joins the threads of asyncio's default executor at
exit whatever they are.

What we do.  Twisted's pool gets a factory of daemon threads, on the one
instance, for which a reactor that stops hardly waits.  asyncio's default
executor becomes one without threads of its own, which hands its work to
Twisted's pool.

What can still go wrong.  Work that is running when the process ends is cut
off: `abandoned` says what.

Nothing can stop a thread: one whose Deferred was cancelled goes on, unseen.  So
each piece of work is noted while it runs, and for which cell.

Thread: any.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from threading import get_ident
from time import time
from typing import Any, Final, TypeVar

from twisted.python.threadpool import ThreadPool

from twisted_ipython._base.frames import Label, Place, in_files, of_thread
from twisted_ipython._base.work_id import WorkId, current_work
from twisted_ipython._private.twisted import POOL_WORKER

# Seconds that a stopping pool waits for each of its threads.
_GRACE: Final = 0.05

ABANDONED: Final = "twisted_ipython: the process ends without waiting for {what}"

_T = TypeVar("_T")


class _Daemon(threading.Thread):
    """A thread that does not keep the process, whoever starts it, nor a reactor that stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # It serves all cells, so it is made in the context of none.
        Context().run(partial(super().__init__, *args, daemon=True, **kwargs))

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended; a stopping pool, which names no limit, waits `_GRACE` s."""
        super().join(_GRACE if timeout is None else timeout)


def make_daemons(pool: ThreadPool) -> None:
    """
    Have the pool start daemon threads, whoever asks for them.

    Threads that it has already stay as they are.

    Args:
        pool: the reactor's.

    Thread: any.
    """
    pool.threadFactory = _Daemon


class PoolExecutor(ThreadPoolExecutor):
    """
    An executor whose work runs in Twisted's thread pool.

    asyncio takes no other kind of executor as its default than a
    ``ThreadPoolExecutor``; this one starts no thread of its own.

    Args:
        pool: gives the pool.
    """

    def __init__(self, pool: Callable[[], ThreadPool]) -> None:
        super().__init__(max_workers=1)
        self._pool = pool

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run ``fn`` in the pool; see `concurrent.futures.Executor.submit`.  Thread: any."""
        future: Future[_T] = Future()
        self._pool().callInThread(copy_context().run, _run, future, partial(fn, *args, **kwargs))
        return future


def _run(future: Future[_T], function: Callable[[], _T]) -> None:
    """Run the function and give the future what came of it.  Thread: the pool's."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(value)


def use_for(loop: asyncio.AbstractEventLoop, pool: Callable[[], ThreadPool]) -> None:
    """Give ``loop`` a default executor that uses the pool.  In the loop's thread."""
    loop.set_default_executor(PoolExecutor(pool))


def abandoned(reactor: threading.Thread, pool: ThreadPool) -> str | None:
    """
    What the process does not wait for, in one line; None if that is nothing.

    Args:
        reactor: its thread, which had its time to stop.
        pool: its thread pool.

    Thread: any other.
    """
    left = [f"a pool thread{where}" for where in map(_works, pool.threads) if where is not None]
    if reactor.is_alive():
        left.insert(0, f"the reactor, which is busy{_works(reactor) or ''}")
    return ABANDONED.format(what="; ".join(left)) if left else None


def _works(thread: threading.Thread) -> str | None:
    """At which line of the user's a thread works, if at one; None for one that waits for work."""
    places = of_thread(thread.ident or 0)
    if not thread.is_alive() or not places or places[0].file.endswith(POOL_WORKER):
        return None
    return next((f" at {in_files(place)}" for place in places if place.users), "")


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
        work_id: of the cell or job that asked for it.
        began: when it began to run, in seconds since the epoch.
        thread: the thread that runs it.
    """

    def __init__(self, work_id: WorkId) -> None:
        self.work_id = work_id
        self.began = 0.0
        self.thread = 0

    @property
    def place(self) -> Place | None:
        """The innermost line of the user's that it is at."""
        return next((place for place in of_thread(self.thread) if place.users), None)


class PoolWork:
    """What threads of pools work on; a thread has one entry, whoever's pool it is of."""

    def __init__(self) -> None:
        self._running: dict[int, Work] = {}

    def note(self, original: Callable[..., None]) -> Callable[..., None]:
        """``pool.callInThreadWithCallback``, in the context of who asks, and noted meanwhile."""

        def call_in_thread_with_callback(
            onResult: Callable[..., object] | None,
            func: Callable[..., Any],
            /,
            *args: Any,
            **kw: Any,
        ) -> None:
            context = copy_context()
            tells = None if onResult is None else partial(context.run, onResult)
            original(tells, self._run, context, Work(current_work()), partial(func, *args, **kw))

        return call_in_thread_with_callback

    def _run(self, context: Context, work: Work, function: Callable[[], Any]) -> Any:
        """Do the work.  Thread: the pool's."""
        # The pool logs a failure outside of the context, which `_failures.origin` finds here.
        work.began, work.thread = time(), get_ident()
        self._running[work.thread] = work
        try:
            return context.run(function)
        finally:
            del self._running[work.thread]

    def running(self) -> list[Work]:
        """What runs, the oldest first.  Thread: any."""
        return sorted(self._running.values(), key=lambda work: work.began)

    def left_by(self, work_id: WorkId, label: Label) -> str | None:
        """
        A line on the threads that still work for a cell that was to end.

        Args:
            work_id: the cell's; what its jobs have asked for is the cell's too.
            label: how to write a place.

        Returns:
            the line; None if no thread does.

        Thread: any.
        """
        left = [work for work in self.running() if _is_of(work.work_id, work_id)]
        if not left:
            return None
        found = left[0].place
        place = "" if found is None else f" at {label(found)}"
        return (GOES_ON if len(left) == 1 else SEVERAL_GO_ON).format(number=len(left), place=place)


def _is_of(work: WorkId, cell: WorkId) -> bool:
    return work == cell or (cell.cell > 0 and work.cell == cell.cell)
