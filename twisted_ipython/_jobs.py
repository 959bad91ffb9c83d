"""
Background jobs: what `%%run_in_reactor` started, and cells that were given up.

The table keeps a job's result while the job is pending, and a bounded number
of ended jobs without their results.  Any thread, unless a docstring says
otherwise.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import time
from typing import Any, Final

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool

from twisted_ipython import _numbers
from twisted_ipython._cell import Kind
from twisted_ipython._eventual import EventualResult
from twisted_ipython._reactor import ReactorThread
from twisted_ipython._stack import Place, waits_at

__all__ = ["Job", "Jobs", "jobs", "start_job"]

# How many ended jobs the table remembers.
_KEPT: Final = 100


class Job:
    """
    One piece of background work.

    Args:
        name: what the user called it, or None.
        cell: the number of the cell that started it.
        code: the first line of its code.

    Attributes:
        number: what `%reactor` calls it.
        numbers: what its context carries.
        began: when it was started, in seconds since the epoch.
        ended: when it ended, or None.
    """

    _numbers = itertools.count(1)

    def __init__(self, name: str | None, cell: int, code: str) -> None:
        self.number = next(Job._numbers)
        self.numbers = _numbers.new(cell)
        self.name = name
        self.cell = cell
        self.code = code
        self.began = time()
        self.ended: float | None = None
        self._state = "pending"
        self._coro: Callable[[], Any] = lambda: None

    @property
    def state(self) -> str:
        """``pending``, ``done``, ``failed`` or ``cancelled``."""
        return self._state

    @property
    def seconds(self) -> float:
        """How long it took, or has been running."""
        return (time() if self.ended is None else self.ended) - self.began

    @property
    def waits_at(self) -> Place | None:
        """Where a pending coroutine waits."""
        coro = self._coro()
        return None if coro is None or self.ended is not None else waits_at(coro)

    def follow(self, coro: Any) -> Any:
        """Note the coroutine or generator that does the work, and return it."""
        self._coro = weakref.ref(coro)
        return coro

    def end(self, state: str) -> None:
        """Note the end.  In the reactor thread."""
        self.ended = time()
        self._state = state


class Jobs:
    """The table of jobs of the process."""

    def __init__(self) -> None:
        self._pending: dict[int, tuple[Job, EventualResult]] = {}
        self._ended: deque[Job] = deque(maxlen=_KEPT)

    def add(self, job: Job, result: EventualResult) -> None:
        """Put a job in the table; it is kept with its result until it ends."""
        self._pending[job.number] = job, result
        result.job = job
        result.when_done(lambda: self._end(job))

    def _end(self, job: Job) -> None:
        entry = self._pending.pop(job.number, None)
        if entry is not None:
            job.end(entry[1].state)
            self._ended.append(job)

    def all(self) -> list[Job]:
        """All jobs, by number."""
        pending = [job for job, _ in list(self._pending.values())]
        return sorted([*pending, *self._ended], key=lambda job: job.number)

    def pending(self) -> list[Job]:
        """The jobs that have not ended, by number."""
        return [job for job in self.all() if job.ended is None]

    def find(self, word: str) -> Job | None:
        """The job of that number, or the latest one of that name."""
        for job in reversed(self.all()):
            if word in (str(job.number), job.name):
                return job
        return None

    def result(self, job: Job) -> EventualResult | None:
        """The result of a pending job."""
        entry = self._pending.get(job.number)
        return None if entry is None else entry[1]

    def cancel(self, thread: ReactorThread, job: Job) -> None:
        """Cancel a pending job, and stop the LoopingCalls that it started."""
        result = self.result(job)
        if result is not None:
            result.cancel()
        thread.call(_stop_looping_calls, thread.reactor, job.numbers)


jobs: Final = Jobs()


def _stop_looping_calls(reactor: Any, numbers: _numbers.Numbers) -> None:
    """Stop the LoopingCalls whose timer was set in that work's context.  In the reactor thread."""
    for call in reactor.getDelayedCalls():
        context = getattr(call, "context", None)
        loop = getattr(call, "func", None)
        if isinstance(loop, LoopingCall) and _numbers.numbers_in(context) == numbers:
            loop.stop()


def start_job(
    thread: ReactorThread,
    job: Job,
    function: Callable[[], Any],
    kind: Kind,
    *,
    in_thread: bool = False,
    after: Callable[[], Deferred[Any]] | None = None,
) -> EventualResult:
    """
    Run a cell's function in the reactor thread, in a copy of the caller's context.

    Args:
        thread: the reactor thread.
        job: the job that it is.
        function: the cell as a function.
        kind: how to drive it.
        in_thread: run it in Twisted's thread pool instead.
        after: gives, in the reactor thread, a Deferred to wait for first.

    Returns:
        what will come of it.

    Raises:
        RuntimeError: the reactor was stopped.
    """
    context = copy_context()
    context.run(_numbers.carry, job.numbers)

    def work(_: object = None) -> Any:
        if in_thread:
            reactor = thread.reactor
            return deferToThreadPool(reactor, reactor.getThreadPool(), context.run, function)
        if kind is Kind.COROUTINE:
            return thread.deferred(job.follow(function()), context)
        if kind is Kind.GENERATOR:
            return context.run(inlineCallbacks(lambda: job.follow(function())))
        return context.run(function)

    def begin() -> Any:
        return work() if after is None else context.run(after).addCallback(work)

    result = thread.run(begin)
    jobs.add(job, result)
    return result
