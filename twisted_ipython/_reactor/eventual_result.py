"""
crochet's EventualResult, which a cell can also await.

crochet makes plain `crochet.EventualResult` objects; `adopt` turns one into an
`EventualResult` of ours by changing the class of that one object, so that
crochet's own class stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial
from math import inf
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import crochet
from twisted.internet.defer import Deferred
from twisted.python import threadable
from twisted.python.failure import Failure

from twisted_ipython._base.formatting import Shown, as_html, as_text
from twisted_ipython._base.frames import in_files
from twisted_ipython._base.work_id import WorkId
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._failures.reports import CANCELLATIONS, reports
from twisted_ipython._reactor.interrupt import Heartbeat, wait_for

if TYPE_CHECKING:
    _Result = crochet.EventualResult[Any]
else:
    _Result = crochet.EventualResult  # generic in its stub only

# What `EventualResult.wait` raises.
NotInTime = crochet.TimeoutError

_NO_FAILURES: Final = (*CANCELLATIONS, crochet.ReactorStopped)

JOB_FAILED: Final = "{job} of cell {cell} failed:"
NOBODY_WAITS: Final = "An EventualResult{of_cell} failed, and nobody waits for it:"
WAITS_FOR_ITSELF: Final = (
    "EventualResult.wait() was called in the reactor thread, which would then wait for itself"
    " for ever. The statements of an awaiting cell run in the reactor thread: `await` the result"
)


class JobOfResult(Shown, Protocol):
    """What is read of the job that a result is of."""

    work_id: WorkId
    in_thread: bool
    when_cancelled: Callable[[], object]


class _Reached:
    """The reactor, as `Heartbeat` needs it."""

    # Then crochet fires its results.
    stopped = False

    def __init__(self, reactor: Any, process: int) -> None:
        self.ident: int = threadable.ioThread  # type: ignore[assignment]  # where it runs, an int
        self.process = process
        self.call: Callable[..., None] = reactor.callFromThread


class EventualResult(_Result):
    """What will come of code in the reactor thread: ``wait`` for it, or ``await`` it."""

    # crochet's own (2.1.1), which its stub leaves out.
    _reactor: Any
    _result_set: Event
    _result_retrieved: bool
    _value: Any

    def __await__(self) -> Generator[Any, Any, Any]:
        """
        Wait for the result without blocking, any number of times.

        In an awaiting cell, or on any running asyncio loop.  Cancelling the
        await cancels the work.
        """
        if not self._result_set.is_set():
            with self._waited_for():
                yield from self._pending()
        self._result_retrieved = True
        if isinstance(self._value, Failure):
            raise exception_of(self._value)
        return self._value

    def _pending(self) -> Generator[Any, Any, None]:
        """Wait in the way of the thread that awaits."""
        if threadable.isInIOThread():
            deferred: Deferred[None] = Deferred(lambda _: self.cancel())
            self.when_done(lambda: None if deferred.called else deferred.callback(None))
            yield from deferred.__await__()
        else:
            yield from self._pending_elsewhere(asyncio.get_running_loop())

    def _pending_elsewhere(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, None]:
        """Wait on a loop of another thread than the reactor's."""
        future = loop.create_future()

        def finish() -> None:
            if not future.done():
                future.set_result(None)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish)

        future.add_done_callback(lambda _: self.cancel() if future.cancelled() else None)
        self.when_done(tell)
        yield from future.__await__()

    def wait(self, timeout: float | None = None) -> Any:
        """
        Wait for the result, blocking the calling thread: any but the reactor's.

        Args:
            timeout: seconds; for ever if left out.

        Raises:
            crochet.TimeoutError: if there is no result in time.
            RuntimeError: in the reactor thread, or in a fork.
            KeyboardInterrupt: Ctrl-C, which also cancels the work, and breaks code
                that holds the reactor.
            Exception: the failure, if the work failed.

        Thread: any but the reactor's.
        """
        # One that is done can be read in a fork too.
        process = os.getpid() if self._result_set.is_set() else self._process
        heartbeat = Heartbeat(_Reached(self._reactor, process), in_files)
        heartbeat.begin(WAITS_FOR_ITSELF)
        try:
            with self._waited_for():
                deadline = inf if timeout is None else monotonic() + timeout
                wait_for(self._result_set, partial(heartbeat.check, deadline))
        except KeyboardInterrupt as error:
            self.cancel()
            heartbeat.free()
            raise error.with_traceback(None) from None  # not with the frames of `threading`
        return super().wait(0)

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        """Within, somebody waits for it.  Thread: any."""
        waiters: list[None] = self.__dict__.setdefault("_waiters", [])
        waiters.append(None)
        try:
            yield
        finally:
            waiters.pop()

    # Whether somebody waited for it when it came.
    awaited = False
    # The job that it is the result of, if `%%run_in_reactor` made it.
    job: JobOfResult | None = None
    # Where it was made.
    _process = 0
    # Of the code that made it, until it has a result.
    _context: Context | None = None

    def cancel(self) -> None:
        """Cancel the work, and close its crawls; the second time, drop their requests."""
        if self.job is not None:
            self.job.when_cancelled()
        super().cancel()

    @property
    def state(self) -> str:
        """``pending``, ``done``, ``failed`` or ``cancelled``.  Thread: any."""
        if not self._result_set.is_set():
            return "pending"
        if not isinstance(self._value, Failure):
            return "done"
        # Not by its `check`, which knows subclasses of Exception only.
        return "cancelled" if isinstance(self._value.value, CANCELLATIONS) else "failed"

    def peek(self) -> Any:
        """The value, the exception of a failure, or None; this does not count as looking at it."""
        value = self._value
        return exception_of(value) if isinstance(value, Failure) else value

    def __del__(self, _ends: Callable[[], bool] = sys.is_finalizing) -> None:
        """Log a failure that nobody looked at; being cancelled is none, nor the reactor's end."""
        if _ends():  # what logs may be gone
            return
        if isinstance(self._value, Failure) and not self._value.check(*_NO_FAILURES):
            super().__del__()  # type: ignore[misc]  # not in crochet's stub

    def __repr__(self) -> str:
        return as_text(self.state, self.job, self.peek())

    def _repr_html_(self) -> str:
        return as_html(self.state, self.job, self.peek())

    def when_done(self, call: Callable[[], object]) -> None:
        """Call ``call`` in the reactor thread once there is a result, or at once.  Thread: any."""
        self.__dict__.setdefault("_calls", []).append(call)
        if self._result_set.is_set():
            self._tell()

    def _connect_deferred(self, deferred: Deferred[Any]) -> None:
        """
        Take the result of a Deferred, which holds this until then.

        Where nobody held it, crochet 2.1.1 would log a success as an error.
        """
        super()._connect_deferred(deferred)  # type: ignore[misc]  # not in crochet's stub
        deferred.addBoth(lambda _, _held: None, self)

    def _set_result(self, result: Any) -> None:
        """
        Take the result (crochet 2.1.1 calls this in the reactor thread) and say so.

        Not by crochet's own method, which warns; where warnings are errors, nobody
        would ever be told.
        """
        if not self._result_set.is_set():
            self._value = result
            self.awaited = bool(self.__dict__.get("_waiters"))
            self._result_set.set()
            if self.state == "failed":
                reports.unless_seen(self._report)
            else:
                self._context = None
        self._tell()

    def _report(self) -> None:
        """Show a failure that nobody has looked at; it counts as looked at after that."""
        if self._result_retrieved or self._value.check(*_NO_FAILURES):
            return
        if reports.active:
            self._result_retrieved = True
            job = self.job
            head = NOBODY_WAITS if job is None else JOB_FAILED.format(job=job, cell=job.cell)
            reports.report(exception_of(self._value), head, self._context)
        self._context = None

    def mark_seen(self) -> None:
        """Note that somebody who waited for it shows what came of it.  Thread: any."""
        self._result_retrieved = True

    def _tell(self) -> None:
        calls = self.__dict__.get("_calls", [])
        while calls:
            try:
                call = calls.pop(0)
            except IndexError:  # another thread took it
                return
            call()


def adopt(result: crochet.EventualResult[Any]) -> EventualResult:
    """Make one of crochet's results awaitable, but for somebody's own class.  Thread: any."""
    if type(result) is crochet.EventualResult:
        result.__class__ = EventualResult
        own = cast(EventualResult, result)
        own._context, own._process = copy_context(), os.getpid()
    return cast(EventualResult, result)
