"""
Futures and tasks of our loop, which coroutines of both worlds can await.

In the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from twisted_ipython._bridge.drivers import TIMEOUTS, refuse_without_task

__all__ = [
    "BridgedFuture",
    "BridgedTask",
    "FutureAwait",
    "Mirror",
    "Waiter",
    "WrappedExit",
    "held",
    "is_deferred",
]

_T = TypeVar("_T")


class FutureAwait(Deferred[None]):
    """
    What awaiting a future of our loop yields: both drivers understand it.

    A `Bridge` takes the ``future``.  Twisted's driver finds a Deferred, which
    becomes one when it adds its first callback.  A Task without a bridge finds
    what it needs of a future.
    """

    _asyncio_future_blocking = True
    _driven_by_twisted = False

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def addBoth(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Become a Deferred that fires with None once the future is done."""
        self._driven_by_twisted = True
        super().__init__(self._give_up)
        self.future.add_done_callback(self._done)
        return super().addBoth(*args, **kwargs)

    def _give_up(self, _: object) -> None:
        self.future.cancel()

    def _done(self, _: object) -> None:
        if not self.called:
            self.callback(None)

    def cancel(self, msg: Any = None) -> Any:
        """Cancel as a Deferred, once it has become one; as the future otherwise."""
        if self._driven_by_twisted:
            return super().cancel()
        return self.future.cancel(msg)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the future's loop, for a Task that has no bridge."""
        return self.future.get_loop()

    def add_done_callback(self, *args: Any, **kwargs: Any) -> None:
        """Pass on to the future, for a Task that has no bridge."""
        self.future.add_done_callback(*args, **kwargs)


def _await_future(self: asyncio.Future[_T]) -> Generator[Any, Any, _T]:
    """Await a future of our loop, whoever drives the coroutine."""
    try:
        if not self.done():
            yield FutureAwait(self)
        if not self.done():
            raise RuntimeError("await wasn't used with future")
        return self.result()
    finally:
        del self  # or the exception, its traceback and the future keep each other alive


def is_deferred(kind: type) -> bool:
    """Whether instances of ``kind`` are Deferreds (and not the mark of a future)."""
    return kind is Deferred or (kind is not FutureAwait and issubclass(kind, Deferred))


class BridgedFuture(asyncio.Future[_T]):
    """A future that coroutines driven by asyncio and by Twisted can await."""

    __await__ = __iter__ = _await_future


class WrappedExit(BaseException):
    """A SystemExit or KeyboardInterrupt that a task raised; asyncio ends the loop for those."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


def held(error: BaseException) -> BaseException:
    """What a task may raise in place of ``error`` without ending the loop."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return WrappedExit(error).with_traceback(error.__traceback__)
    return error


class BridgedTask(asyncio.Task[_T]):
    """
    A task that coroutines driven by asyncio and by Twisted can await.

    A SystemExit or KeyboardInterrupt is a failure of the task like any other.
    """

    __await__ = __iter__ = _await_future

    def set_name(self, value: object) -> None:
        """`asyncio.Task.set_name`, but None, which Python 3.13.0 sets, is no name."""
        if value is not None:
            super().set_name(value)

    def exception(self) -> BaseException | None:
        """`asyncio.Task.exception`."""
        error = super().exception()
        return error.error if isinstance(error, WrappedExit) else error

    def result(self) -> _T:
        """`asyncio.Task.result`."""
        try:
            return super().result()
        except WrappedExit as kept:
            error = kept.error
        finally:
            del self  # or the exception, its traceback and the task keep each other alive
        try:
            raise error
        finally:
            del error

    def cancelling(self) -> int:
        """`asyncio.Task.cancelling`, which `asyncio.timeout` asks when it begins."""
        refuse_without_task(sys._getframe(1), TIMEOUTS)
        return super().cancelling()


class Waiter(asyncio.Future[None]):
    """
    The future that a Task waits for while its coroutine waits for Deferreds.

    Its one callback, the Task's, is kept apart: at the end of a step it is called
    at once, which saves a turn of the loop.

    Args:
        cancel: cancels what the coroutine waits for, with a message; says whether
            a cancellation is on its way.
        loop: the Task's loop.
    """

    _wake: tuple[Callable[[Waiter], object], Context | None] | None = None

    def __init__(self, cancel: Callable[[Any], bool], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._cancel_awaited = cancel

    def add_done_callback(self, call: Any, *, context: Context | None = None) -> None:
        """Keep the Task's callback; called by the Task."""
        self._wake = call, context
        if self.done():
            self.wake_soon()

    def wake(self) -> None:
        """Have the Task take over at once, in its own context; no Task is entered now."""
        if self._wake is not None:  # else the Task has yet to ask, or has been told
            (call, _), self._wake = self._wake, None
            call(self)
            del call  # or the frames of a failure and the Task keep each other alive

    def wake_soon(self) -> None:
        """Have the Task take over in the next iteration of the loop."""
        if self._wake is not None:
            (call, context), self._wake = self._wake, None
            self.get_loop().call_soon(call, self, context=context)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel what the coroutine waits for; called by `asyncio.Task.cancel`."""
        return self._cancel_awaited(msg)


class Mirror(asyncio.Future[None]):
    """
    A future of our loop that is done when one of another running loop is.

    Cancelling it cancels the other future, which has the say about what comes
    of that: a task may need time to end, or go on.

    Raises:
        RuntimeError: the other loop is closed.
    """

    def __init__(self, future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._asyncio_future_blocking = True
        self._future = future
        self._other = future.get_loop()
        self._asked: tuple[Any] | None = None
        self._accepted = False
        self._other.call_soon_threadsafe(future.add_done_callback, self._tell)

    def cancel(self, msg: Any = None) -> bool:
        """Ask the other future to cancel; at once if its loop has stopped."""
        if self.done():
            return False
        self._asked = (msg,)
        try:
            self._other.call_soon_threadsafe(self._cancel_other, msg)
        except RuntimeError:  # the loop is closed
            return super().cancel(msg)
        return self._other.is_running() or super().cancel(msg)

    def _cancel_other(self, msg: Any) -> None:
        """Cancel the other future.  In its loop's thread."""
        self._accepted = self._future.cancel(msg)

    def _tell(self, _: object) -> None:
        """Hear that the other future is done.  In its loop's thread."""
        self.get_loop().call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self.done():
            return
        if self._asked is not None and not self._accepted:
            super().cancel(*self._asked)  # asked too late: whoever awaits is cancelled all the same
        else:
            self.set_result(None)
