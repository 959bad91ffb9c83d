"""
The steps of a coroutine while Deferreds drive it, for a `Bridge`.

The coroutine is stepped straight from the callbacks of the Deferreds that it
awaits, as its own Task, until it ends or awaits something of asyncio's, or until
somebody cancels the Task.  See `_bridge.coroutine` for the why.

Thread: reactor, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import Future, current_task
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._bridge.driven import cancel
from twisted_ipython._bridge.futures import Waiter
from twisted_ipython._bridge.interruptible import Interruptible, stack
from twisted_ipython._private.asyncio import enter_task, leave_task
from twisted_ipython._private.twisted import mark_handled

_Step = tuple[Callable[[Any], Any], Any]
_log = Logger()

# How many steps may nest (one step fires a Deferred that another coroutine
# awaits, and so on) before the next one waits for the loop: far under Python's
# recursion limit, far over what ordinary code does.
_DEEPEST: Final = 20

_CANCELLATIONS: Final = (defer.CancelledError, asyncio.CancelledError)


class Steps:
    """A coroutine of the user's, stepped by what it awaits, on the loop of its Task."""

    # All that follows concerns the time while Deferreds step the coroutine.
    # The thread in which they do, the Task, and the future that the Task waits for.
    _thread = 0
    _task: asyncio.Task[Any] | None = None
    _waiter: Waiter | None = None
    # What the coroutine came to, until its Task takes over: what it awaits, or
    # the exception (StopIteration too) that it ended with.
    _outcome: tuple[Any, BaseException | None] | None = None
    # The Deferred that the coroutine waits for; None while it runs.
    _deferred: Deferred[Any] | None = None
    # Whether a callback is being added to it, and the result if it came at once.
    _adding = False
    _ready: tuple[Any] | None = None
    # Whether it has fired, and the coroutine goes on in an iteration of the loop.
    _scheduled = False
    # Whether it is being cancelled, and the message of a cancellation that it
    # has not answered yet.
    _cancelling = False
    _unanswered: tuple[Any] | None = None
    # The message of a cancellation that came while the coroutine ran.
    _must_cancel: tuple[Any] | None = None
    # Whether its coroutine, of a cell or a job, is told of interrupts by itself.
    is_told = False
    # What steps the coroutine since it was interrupted.
    _interruptible: Interruptible[Any] | None = None

    def __init__(self, coro: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.coro = coro
        self._send = coro.send
        self._loop = loop

    def interrupt(self) -> None:
        """Have the coroutine end, whatever swallows the cancellation that follows."""
        if self.is_told:
            return
        if self._interruptible is None:
            self._interruptible = Interruptible(self.coro, is_task=True)
            self._send = self._interruptible.send
        self._interruptible.interrupt(KeyboardInterrupt())

    # ---- what Deferreds call

    def _subscribe(self, deferred: Deferred[Any]) -> _Step | None:
        """Ask to be told when ``deferred`` fires; return the step to take if it just has."""
        self._deferred = deferred
        self._adding = True
        deferred.addBoth(self._fired, deferred)
        self._adding = False
        if self._ready is None:
            return None
        (result,), self._ready, self._deferred = self._ready, None, None
        if isinstance(result, Failure):
            return (self._interruptible or self.coro).throw, exception_of(result)
        return self._send, None

    def _fired(self, result: Any, deferred: Deferred[Any]) -> Any:
        """
        Resume the coroutine with the Deferred's result, which stays the Deferred's.

        A failure does not where an errback follows: it has been handled, as in Twisted.

        Thread: any, whichever fires the Deferred.
        """
        if self._deferred is not deferred:  # given up
            return result
        stays = result
        if isinstance(result, Failure):
            stays = mark_handled(deferred, result)
        if get_ident() != self._thread:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._resume, result, deferred)
        elif self._adding:
            self._ready = (result,)
        elif self._cancelling:
            self._deferred = None
        elif self._unanswered is not None or stack.steps >= _DEEPEST:
            self._schedule(result, deferred)
        else:
            self._run(result, deferred)
        return stays

    def _schedule(self, result: Any, deferred: Deferred[Any]) -> None:
        """Resume the coroutine in the next iteration of the loop."""
        self._scheduled = True
        self._loop.call_soon(self._resume, result, deferred)

    def _resume(self, result: Any, deferred: Deferred[Any]) -> None:
        """Step the coroutine, unless it was cancelled between the firing and this call."""
        if self._deferred is not deferred:
            return
        self._scheduled = False
        if self._unanswered is not None:
            (msg,), self._unanswered = self._unanswered, None
            if isinstance(result, Failure) and result.check(*_CANCELLATIONS):
                self._wake_cancelled(msg)
                return
        self._run(result, deferred)

    def _run(self, result: Any, deferred: Deferred[Any]) -> None:
        """Step the coroutine in its Task's context."""
        assert self._waiter is not None
        assert self._waiter.context is not None
        stack.steps += 1
        try:
            self._waiter.context.run(self._step, result)
        except RuntimeError:
            if self._deferred is not deferred:
                raise
            # The context is entered already, by a step below this one.
            self._schedule(result, deferred)
        finally:
            stack.steps -= 1

    def _step(self, result: Any) -> None:
        """Step the coroutine as its own Task, entered in place of whichever runs now."""
        self._deferred = None
        loop, task, waiter = self._loop, self._task, self._waiter
        assert task is not None
        assert waiter is not None
        outer = current_task(loop)
        if outer is not None:
            leave_task(loop, outer)
        enter_task(loop, task)
        try:
            if isinstance(result, Failure):
                awaited = (self._interruptible or self.coro).throw(exception_of(result))
            else:
                awaited = self._send(None)
            self._settle(awaited)
        except BaseException as error:
            self._hand_over(None, error)
        finally:
            leave_task(loop, task)
            if waiter.done():
                waiter.wake()
            if outer is not None:
                enter_task(loop, outer)
            # or they and a failure's traceback keep each other alive
            del result, task, outer, waiter

    def _settle(self, awaited: Any) -> None:
        """Wait for the Deferred that the coroutine awaits, or have its Task take over."""
        while isinstance(awaited, Deferred):
            step = self._subscribe(awaited)
            if step is None:
                if self._must_cancel is not None:
                    self._cancel_late()
                return
            awaited = step[0](step[1])
        if hasattr(awaited, "_asyncio_future_blocking"):
            # Until the Task takes over, others may await the same future.
            awaited._asyncio_future_blocking = False
        self._hand_over(awaited, None)

    def _hand_over(self, awaited: Any, error: BaseException | None) -> None:
        """Let the Task take over: the coroutine ended, or awaits something of asyncio's."""
        self._outcome = (awaited, error)
        if self._must_cancel is None or not self._cancel_late():
            assert self._waiter is not None
            self._waiter.set_result(None)

    # ---- cancellation

    def cancel(self, msg: Any) -> bool:
        """Cancel what the coroutine waits for; True if a cancellation is on its way."""
        deferred, waiter = self._deferred, self._waiter
        if waiter is not None and waiter.done():
            return False  # cancelled already, and the Task has yet to wake
        if self._cancelling:
            return True  # asked for by the Deferred's canceller
        if deferred is None:
            # The coroutine itself is running: at its next await, as a Task does.
            self._must_cancel = (msg,)
            return True
        if not self._scheduled and not self._cancel_deferred(deferred):
            self._unanswered = (msg,)
            return True
        return self._wake_cancelled(msg)

    def _cancel_future(self, future: Any, msg: Any) -> bool:
        """Cancel the future that the Task will wait for; False if there is none to cancel."""
        if getattr(future, "_asyncio_future_blocking", None) is None:
            return False
        return future.get_loop() is self._loop and bool(future.cancel(msg))

    def _cancel_deferred(self, deferred: Deferred[Any]) -> bool:
        """Cancel the Deferred; False if it goes on."""
        if deferred.called and not isinstance(getattr(deferred, "result", None), Deferred):
            return True  # callbacks before ours run in another thread, or it is paused
        self._cancelling = True
        try:
            cancel(deferred)
        except Exception:
            _log.failure("The canceller of {deferred} failed", deferred=repr(deferred))
            return True
        finally:
            self._cancelling = False
        return self._deferred is None

    def _cancel_late(self) -> bool:
        """Apply a cancellation that came while the coroutine ran; whether it wakes the Task."""
        assert self._must_cancel is not None
        (msg,), self._must_cancel = self._must_cancel, None
        # From 3.13 on, uncancel() takes back a cancellation that was not delivered.
        assert self._task is not None
        if sys.version_info >= (3, 13) and not self._task.cancelling():
            return False
        if self._outcome is None:
            return self.cancel(msg)
        return not self._cancel_future(self._outcome[0], msg) and self._wake_cancelled(msg)

    def _wake_cancelled(self, msg: Any) -> bool:
        """Have the Task throw a CancelledError into the coroutine."""
        self._deferred = self._unanswered = None
        self._scheduled = False
        assert self._waiter is not None
        cancelled = Future.cancel(self._waiter, msg)
        self._waiter.wake_soon()
        return cancelled
