"""
One coroutine awaits Deferreds and asyncio objects alike.

The goal.  A coroutine that a cell starts, and every task that it starts in
turn, may await a Deferred, a future, a task, or a mixture, at any depth, and
gets exact values, failures and cancellations from both worlds.

What fails.  An asyncio Task refuses what ``Deferred.__await__`` yields ("Task
got bad yield").  Turning each Deferred into a future costs one and a half to
two and a half times the bare price, and ``Deferred.asFuture`` eats the result:
``Deferred.__await__`` reads the Deferred's own result when it is resumed.
Twisted's driver, on the other side, sends a future straight back to the
coroutine ("await wasn't used with future"), and has no Task for
`asyncio.timeout` and `asyncio.TaskGroup` to cancel.

What we do.  Each task of our loop is a real `asyncio.Task` whose coroutine is
a `Bridge` around the user's.  What asyncio understands passes through to the
Task.  For a pending Deferred the Task is given one future of ours, the
*waiter*, and the user's coroutine is stepped straight from the Deferred's
callback, with the Task entered and left around each step as the page "Extending
asyncio" of Python's documentation describes, until it ends or awaits something
of asyncio's; then the waiter fires and the Task takes over.  Cancelling the
Task cancels the waiter, which cancels the Deferred.  Futures and tasks of our
loop yield themselves; where that is sent straight back, Twisted drives, and
they yield a Deferred.

What can still go wrong.  A Deferred that fires in another thread, or deep
inside a chain of Deferreds that fire each other, resumes its coroutine a loop
iteration later; a callback added meanwhile has then changed the value that
``Deferred.__await__`` reads.  A future made by hand (``asyncio.Future()``) or
by `asyncio.gather` cannot tell who drives the coroutine that awaits it, and
fails under Twisted's driver.  There `asyncio.current_task` may also name the
task whose step started the coroutine: `asyncio.timeout` and tasks of a
TaskGroup are refused, but a cancel scope of anyio's is not.  A task made with
``asyncio.Task(...)`` rather than ``create_task`` has no bridge.

All of this runs in the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Coroutine, Generator
from contextvars import Context
from threading import get_ident
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

from twisted_ipython._bridge.futures import (
    BridgedFuture,
    Mirror,
    Waiter,
    WrappedExit,
    held,
)
from twisted_ipython._bridge.stepping import Steps

_T = TypeVar("_T")

IDLE_LOOP: Final = (
    "{what!r} belongs to another event loop, which is not running, so it can never be done."
    " Create it in the cell that awaits it."
)


class NotAsyncios(BaseException):
    """A coroutine awaits what asyncio does not understand."""

    def __init__(self, awaited: Any) -> None:
        super().__init__()
        self.awaited = awaited


class Bridge(Steps, Generator[Any, Any, _T], Coroutine[Any, Any, _T]):
    """
    A coroutine that may await Deferreds, in a shape that a Task can drive.

    Args:
        coro: the user's coroutine.
        loop: the loop of the Task that will drive it.

    Attributes:
        first: what to do in place of the first step, if the coroutine has begun without it: it
            awaits something (`NotAsyncios`), or this is thrown in; or it has ended so.
    """

    first: BaseException | None = None

    def __await__(self) -> Generator[Any, Any, _T]:
        return self

    # ---- what a Task calls

    def begin(self, task: asyncio.Task[Any], context: Context) -> None:
        """Take the first step at once, as ``task``, which will take it over in its own first."""
        self._thread, self._task = get_ident(), task
        self._waiter = Waiter(self.cancel, self._loop)
        self._waiter.context = context
        context.run(self._step, None)

    def __next__(self) -> Any:
        """Step the coroutine; give the Task what it has to wait for."""
        if self._waiter is not None:
            return self._take_over()
        if self.first is not None:
            return self._go_on()
        try:
            awaited = self._send(None)
        except (KeyboardInterrupt, SystemExit) as error:
            kept = held(error)
        else:
            if type(awaited) is BridgedFuture and awaited.get_loop() is self._loop:
                return awaited
            return awaited if awaited is None else self._for_task(awaited)
        raise kept

    def _go_on(self) -> Any:
        """Go on where the coroutine is; a step that its Task takes."""
        first, self.first = self.first, None
        assert first is not None
        try:
            if isinstance(first, NotAsyncios):
                return self._for_task(first.awaited)
            if self._has_ended():
                raise held(first)
            return self._throw(first)
        finally:
            del first  # or it and its traceback keep each other alive

    def _has_ended(self) -> bool:
        """Whether a coroutine that began without it has ended."""
        return getattr(self.coro, "cr_frame", None) is None

    def send(self, _value: Any) -> Any:
        """Step the coroutine; a Task sends None, and by `__next__`, which is quicker."""
        return self.__next__()

    def throw(self, error: Any, value: Any = None, _traceback: Any = None, /) -> Any:
        """Throw into the coroutine; give the Task what it has to wait for."""
        try:
            error = error if value is None else value
            if self._waiter is not None and (self._outcome is not None or not self._waiter.done()):
                return self._take_over(error)
            self._waiter = self._task = None
            return self._throw(error.error if isinstance(error, WrappedExit) else error)
        finally:
            del error, value  # or it and its traceback keep each other alive

    def close(self) -> None:
        """Close the user's coroutine."""
        self.coro.close()

    def _throw(self, error: BaseException) -> Any:
        try:
            awaited = (self._interruptible or self.coro).throw(error)
        except (KeyboardInterrupt, SystemExit) as raised:
            kept = held(raised)
        else:
            return self._for_task(awaited)
        finally:
            del error
        raise kept

    def _for_task(self, awaited: Any) -> Any:
        """Turn what the coroutine awaits into what a Task understands."""
        if isinstance(awaited, Deferred):
            return self._wait(awaited)
        if getattr(awaited, "_asyncio_future_blocking", None) is None:
            return awaited
        if awaited.get_loop() is not self._loop:
            return self._from_other_loop(awaited)
        return awaited

    def _from_other_loop(self, future: asyncio.Future[Any]) -> Any:
        """Await a future of another loop through one of ours, or refuse it in a sentence."""
        future._asyncio_future_blocking = False
        if future.done():
            return None  # done since it was awaited: the coroutine looks again
        if future.get_loop().is_running():
            try:
                return Mirror(future, self._loop)
            except RuntimeError:  # the loop has been closed since
                pass
        return self._throw(RuntimeError(IDLE_LOOP.format(what=future)))

    def _wait(self, deferred: Deferred[Any]) -> Any:
        """Leave the Task waiting while Deferreds step the coroutine."""
        self._thread = get_ident()
        self._task = current_task(self._loop)
        waiter = self._waiter = Waiter(self.cancel, self._loop)
        step = self._subscribe(deferred)
        if step is not None:
            self._waiter = self._task = None
            return self._for_task(step[0](step[1]))
        waiter._asyncio_future_blocking = True
        return waiter

    def _take_over(self, thrown: BaseException | None = None) -> Any:
        """Give the Task what the coroutine came to while Deferreds stepped it."""
        if self._outcome is None:
            return self._wait_on(thrown)
        (awaited, error), self._outcome = self._outcome, None
        self._waiter = self._task = None
        try:
            if error is not None:
                # A coroutine that returned before a cancellation reached it is
                # cancelled, as a Task is; one that failed keeps its failure.
                cancelled = thrown is not None and isinstance(error, StopIteration)
                raise thrown if cancelled else held(error)  # type: ignore[misc]  # not None
            if getattr(awaited, "_asyncio_future_blocking", None) is not None:
                awaited._asyncio_future_blocking = True
            waits = self._for_task(awaited)
            if thrown is None or (waits is not None and waits.cancel(*thrown.args)):
                return waits
            return self._throw(thrown)
        finally:
            del error, thrown  # or they and their tracebacks keep each other alive

    def _wait_on(self, thrown: BaseException | None) -> Waiter:
        """Have the Task wait, in its first step, for a coroutine that has begun already."""
        waiter = self._waiter
        assert waiter is not None
        waiter._asyncio_future_blocking = True
        if thrown is not None:
            waiter.cancel(*thrown.args)
        return waiter


class TransparentBridge(Bridge[_T]):
    """One that looks like the user's coroutine: for tasks of a task factory of the user's."""

    def __getattr__(self, name: str) -> Any:  # not in `Bridge`: every attribute would be slower
        return getattr(self.coro, name)
