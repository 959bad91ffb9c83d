"""
Background jobs: what `%%run_in_reactor` started, and cells that were given up.

The table keeps a job's result while the job is pending, and a bounded number
of ended jobs without their results.

Thread: any, unless a docstring says otherwise.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from time import time
from typing import Any, Final, Protocol

from twisted_ipython._base.formatting import duration
from twisted_ipython._base.frames import Place, waits_at
from twisted_ipython._base.work_id import new_work
from twisted_ipython._reactor.contexts import LoopingCalls
from twisted_ipython._reactor.crawls import Crawls
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.stuck_work import Surroundings, break_if_stuck

# How many ended jobs the table remembers.
_KEPT: Final = 100

THREAD_GOES_ON: Final = "{job} runs in a pool thread, which nothing can stop: its code goes on"
GOES_ON: Final = "{job} of cell {cell} goes on in the reactor thread; pending for {time}"


class Job:
    """
    One piece of background work.

    Args:
        name: what the user called it, or None.
        cell: the number of the cell that started it.
        code: the first line of its code.

    Attributes:
        number: what `%reactor` calls it.
        work_id: what its context carries.
        state: ``pending``, ``done``, ``failed`` or ``cancelled``.
        in_thread: whether a thread of Twisted's pool runs it.
        when_cancelled: closes the crawls that it started, and breaks its code if that holds the
            reactor; again, drops their requests.
        output: what its cell has shown, where that is kept: in a kernel.
    """

    _numbers = itertools.count(1)

    def __init__(self, name: str | None, cell: int, code: str, *, in_thread: bool = False) -> None:
        self.number = next(Job._numbers)
        self.work_id = new_work(cell)
        self.name = name
        self.cell = cell
        self.code = code
        self.in_thread = in_thread
        self.began = time()
        self.ended: float | None = None
        self.state = "pending"
        self.when_cancelled: Callable[[], object] = lambda: None
        self.output: Any = None
        self._coro: Callable[[], Any] = lambda: None
        self._result: Callable[[], EventualResult | None] = lambda: None

    def __str__(self) -> str:
        return f"job {self.number} ({self.name})" if self.name else f"job {self.number}"

    @property
    def seconds(self) -> float:
        """How long it took, or has been running."""
        return (time() if self.ended is None else self.ended) - self.began

    @property
    def waits_at(self) -> Place | None:
        """Where a pending coroutine, generator or script waits."""
        coro = self._coro()
        return None if coro is None or self.ended is not None else waits_at(coro)

    @property
    def result(self) -> EventualResult | None:
        """What came or will come of it, while anybody holds that."""
        return self._result()

    def follow(self, coro: Any) -> Any:
        """Note the coroutine, generator or script that does the work, and return it."""
        self._coro = weakref.ref(coro)
        return coro

    def begin(self, result: EventualResult) -> None:
        """Note what will come of it."""
        self._result = weakref.ref(result)
        result.job = self


class Reactor(Surroundings, Protocol):
    """What is needed of the reactor thread; `_reactor.thread.ReactorThread` is one."""

    crawls: Crawls
    loops: LoopingCalls


class Jobs:
    """
    The table of jobs.

    Attributes:
        when_begun: what is called with each job before it begins, in its cell's context;
            must not raise.
        when_ended: what is called with each job that ends and its result, in the thread
            that ends it; must not raise.
    """

    def __init__(self, thread: Reactor) -> None:
        self._thread = thread
        self.when_begun: list[Callable[[Job], object]] = []
        self.when_ended: list[Callable[[Job, EventualResult], object]] = []
        self._pending: dict[int, tuple[Job, EventualResult]] = {}
        self._ended: deque[Job] = deque(maxlen=_KEPT)

    def new(self, name: str | None, cell: int, code: str, *, in_thread: bool = False) -> Job:
        """A job that is about to begin; the arguments are those of `Job`."""
        job = Job(name, cell, code, in_thread=in_thread)
        for call in self.when_begun.copy():
            call(job)
        return job

    def add(self, job: Job, result: EventualResult) -> None:
        """Put a job in the table; it is kept with its result until it ends."""
        job.when_cancelled = partial(self._cancelled, job)
        self._pending[job.number] = job, result
        job.begin(result)
        result.when_done(lambda: self._end(job, result))

    def _cancelled(self, job: Job) -> None:
        self._thread.call(self._thread.crawls.close, job.work_id)
        if job.ended is None:
            break_if_stuck(self._thread, str(job), job.work_id)

    def _end(self, job: Job, result: EventualResult) -> None:
        job.ended, job.state = time(), result.state
        self._ended.append(job)
        del self._pending[job.number]
        for call in self.when_ended.copy():
            call(job, result)

    def all(self) -> list[Job]:
        """All jobs, by number."""
        # The pending ones first: a job that ends meanwhile is in both, not in none.
        found = [job for job, _ in list(self._pending.values())]
        numbered = {job.number: job for job in [*found, *self._ended]}
        return [numbered[number] for number in sorted(numbered)]

    def pending(self) -> list[Job]:
        """The jobs that have not ended, by number."""
        return [job for job in self.all() if job.ended is None]

    def find(self, word: str) -> Job | None:
        """The job of that number, or the latest one of that name."""
        known = reversed(self.all())
        return next((job for job in known if word in (str(job.number), job.name)), None)

    def cancel(self, job: Job) -> None:
        """Cancel a pending job, stop the LoopingCalls that it started, and close its crawls."""
        result = job.result
        if result is not None and job.ended is None:
            result.cancel()
        else:
            job.when_cancelled()
        self._thread.call(self._thread.loops.stop, job.work_id)

    def pending_lines(self) -> list[str]:
        """What goes on when the extension is unloaded: a line for each pending job."""
        pending = self.pending()
        return [GOES_ON.format(job=j, cell=j.cell, time=duration(j.seconds)) for j in pending]


def first_line(cell: str) -> str:
    """The first line of code, or of what there is."""
    lines = [line.strip() for line in cell.splitlines() if line.strip()]
    code = (line for line in lines if not line.startswith("#"))
    return next(code, lines[0] if lines else "")
