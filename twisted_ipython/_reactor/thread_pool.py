"""
Threads for blocking code that never keep the process from ending.

What fails.  A thread inherits being a daemon from the one that starts it: a
thread of Twisted's pool that the main thread asked for holds the exit until
its work is done, and Python joins the threads of asyncio's default executor at
exit whatever they are.

What we do.  Twisted's pool gets a factory of daemon threads, on the one
instance, for which a reactor that stops hardly waits.  asyncio's default
executor hands its work to Twisted's pool.

What can still go wrong.  Nothing can stop a thread: what runs when the process
ends is cut off, and goes on when its Deferred is cancelled.  So each piece of
work is noted while it runs, and for which cell.

Thread: any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from threading import get_ident
from time import time
from typing import Any, Final, NamedTuple, TypeVar

from twisted.python.threadpool import ThreadPool

from twisted_ipython._base.frames import Label, in_files, of_thread, users_place
from twisted_ipython._base.work_id import WorkId, work_in
from twisted_ipython._private.twisted import POOL_WORKER

# Seconds that a stopping pool waits for each of its threads.
_GRACE: Final = 0.05

ABANDONED: Final = "twisted_ipython: the process ends without waiting for {what}"
GOES_ON: Final = (
    "A pool thread goes on{place}: nothing can stop it. `%reactor jobs` lists it until it ends."
)
SEVERAL_GO_ON: Final = (
    "{number} pool threads go on, one of them{place}: nothing can stop them. `%reactor jobs` lists"
    " them until they end."
)

_T = TypeVar("_T")


class Daemon(threading.Thread):
    """A thread that does not keep the process, whoever starts it, nor a reactor that stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # It serves all cells, so it is made in the context of none.
        Context().run(partial(super().__init__, *args, daemon=True, **kwargs))

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended; a stopping pool, which names no limit, waits `_GRACE` s."""
        super().join(_GRACE if timeout is None else timeout)


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

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        self._pool().callInThread(copy_context().run, run)
        return future


def abandoned(reactor: threading.Thread, pool: ThreadPool) -> str | None:
    """What the process does not wait for, in one line; None if that is nothing.  Thread: any."""
    left = [f"a pool thread{where}" for where in map(_works, pool.threads) if where is not None]
    if reactor.is_alive():
        left.insert(0, f"the reactor, which is busy{_works(reactor) or ''}")
    return ABANDONED.format(what="; ".join(left)) if left else None


def _works(thread: threading.Thread) -> str | None:
    """At which line of the user's a thread works, if at one; None for one that waits for work."""
    places = of_thread(thread.ident)
    if not thread.is_alive() or not places or places[0].file.endswith(POOL_WORKER):
        return None
    return next((f" at {in_files(place)}" for place in places if place.users), "")


class Work(NamedTuple):
    """One call in a thread of the pool: who asked, since when (of the epoch), and the thread."""

    work_id: WorkId
    began: float
    thread: int


class PoolWork:
    """What threads of pools work on; a thread has one entry, whoever's pool it is of."""

    def __init__(self) -> None:
        self._running: dict[int, Work] = {}

    def note(self, original: Callable[..., None]) -> Callable[..., None]:
        """``pool.callInThreadWithCallback``, in the context of who asks, and noted meanwhile."""

        def call(on_result: Any, function: Any, /, *args: Any, **kwargs: Any) -> None:
            context = copy_context()
            tells = None if on_result is None else partial(context.run, on_result)
            original(tells, self._run, context, partial(function, *args, **kwargs))

        return call

    def _run(self, context: Context, function: Callable[[], Any]) -> Any:
        """Do the work.  Thread: the pool's."""
        # The pool logs a failure outside of the context, which `_failures.origin` finds here.
        ident = get_ident()
        self._running[ident] = Work(work_in(context), time(), ident)
        try:
            return context.run(function)
        finally:
            del self._running[ident]

    def running(self) -> list[Work]:
        """What runs, the oldest first.  Thread: any."""
        return sorted(self._running.values(), key=lambda work: work.began)

    def left_by(self, work_id: WorkId, label: Label) -> str | None:
        """A line on the threads that still work for a cell, or its jobs; None if none does."""
        left = [
            work
            for work in self.running()
            if work.work_id == work_id or 0 < work_id.cell == work.work_id.cell
        ]
        if not left:
            return None
        found = users_place(left[0].thread)
        place = "" if found is None else f" at {label(found)}"
        return (GOES_ON if len(left) == 1 else SEVERAL_GO_ON).format(number=len(left), place=place)
