"""
Threads for blocking code that never keep the process from ending.

What fails.  A thread inherits being a daemon from the one that starts it: a
thread of Twisted's pool that the main thread asked for holds the exit until
its work is done, and Python joins the threads of asyncio's default executor at
exit whatever they are.

What we do.  Twisted's pool gets a factory of daemon threads, on the one
instance, and asyncio's default executor becomes one without threads of its
own, which hands its work to Twisted's pool.

What can still go wrong.  Work that is running when the process ends is cut
off: `busy` says what.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from twisted.python.threadpool import ThreadPool

__all__ = ["PoolExecutor", "make_daemons", "use_for"]

_T = TypeVar("_T")


class _Daemon(threading.Thread):
    """A thread that does not keep the process, whoever starts it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, daemon=True, **kwargs)


def make_daemons(pool: ThreadPool) -> None:
    """
    Have the pool start daemon threads, whoever asks for them.  Any thread.

    Threads that it has already stay as they are.
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
        """Run ``fn`` in the pool; see `concurrent.futures.Executor.submit`.  Any thread."""
        future: Future[_T] = Future()
        self._pool().callInThread(copy_context().run, _run, future, partial(fn, *args, **kwargs))
        return future


def _run(future: Future[_T], function: Callable[[], _T]) -> None:
    """Run the function and give the future what came of it.  In a thread of the pool."""
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
