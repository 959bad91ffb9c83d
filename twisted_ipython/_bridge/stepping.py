"""
The steps of a Task's coroutine that a `Bridge` takes in place of asyncio.

The coroutine is stepped straight from the callbacks of the Deferreds that it
awaits, and from those of futures as asyncio does it.  See `_bridge.coroutine`
for the why.

Thread: reactor, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task, current_task
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._bridge.driven import cancel
from twisted_ipython._bridge.futures import Mirror
from twisted_ipython._bridge.interruptible import Interruptible, stack
from twisted_ipython._private.asyncio import enter_task, leave_task
from twisted_ipython._private.twisted import mark_handled

_Step = tuple[Callable[[Any], Any], Any]
_log = Logger()

IDLE_LOOP: Final = (
    "{what!r} belongs to another event loop, which is not running, so it can never be done."
    " Create it in the cell that awaits it."
)

# How many steps may nest (one step fires a Deferred that another coroutine
# awaits, and so on) before the next one waits for the loop: far under Python's
# recursion limit, far over what ordinary code does.
_DEEPEST: Final = 20

_CANCELLATIONS: Final = (defer.CancelledError, asyncio.CancelledError)


class Steps:
    """
    The coroutine of a Task, stepped by what it awaits.

    Attributes:
        coro: the coroutine.
        send: what steps it.
        interruptible: what steps it since it was interrupted.
        future: the future that it waits for, if it is one of asyncio's.
        must_cancel: the message of a cancellation that came while it ran, or was about to.
    """

    interruptible: Interruptible[Any] | None = None
    future: Future[Any] | None = None
    must_cancel: tuple[Any] | None = None
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

    def __init__(self, task: Task[Any], coro: Any, context: Context) -> None:
        self.task: Any = task
        self.coro, self.context, self.loop = coro, context, task.get_loop()
        self.send: Callable[[Any], Any] = coro.send
        self._thread = get_ident()

    def wait(self, awaited: Any) -> None:
        """Wait for what the coroutine awaits, and take the steps that need no wait."""
        while isinstance(awaited, Deferred):
            step = self._subscribe(awaited)
            if step is None:
                break
            awaited = step[0](step[1])
        else:
            self._wait_for(awaited)
        if self.must_cancel is not None:
            (msg,), self.must_cancel = self.must_cancel, None
            self.cancel_awaited(msg)

    def step(self, step: Callable[[Any], Any], value: Any) -> None:
        """Take a step as the Task, entered in place of whichever runs now."""
        self._deferred = None
        loop, task = self.loop, self.task
        outer = current_task(loop)
        if outer is not None:
            leave_task(loop, outer)
        enter_task(loop, task)
        try:
            self.wait(step(value))
        except BaseException as error:
            self.end(error)
        finally:
            leave_task(loop, task)
            if outer is not None:
                enter_task(loop, outer)
            # or they and a failure's traceback keep each other alive
            del step, value, task, outer

    def end(self, error: BaseException) -> None:
        """Take what came of the coroutine: a StopIteration, or what it raised."""
        raise NotImplementedError

    def _throw(self, error: BaseException) -> Any:
        try:
            return (self.interruptible or self.coro).throw(error)
        finally:
            del error

    # ---- Deferreds

    def _subscribe(self, deferred: Deferred[Any]) -> _Step | None:
        """Ask to be told when ``deferred`` fires; return the step to take if it just has."""
        self._deferred = deferred
        self._adding = True
        deferred.addBoth(self._fired, deferred)
        self._adding = False
        if self._ready is None:
            return None
        (result,), self._ready, self._deferred = self._ready, None, None
        return self._step_with(result)

    def _step_with(self, result: Any) -> _Step:
        """The step to take with the result of a Deferred."""
        if isinstance(result, Failure):
            return self._throw, exception_of(result)
        return self.send, None

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
            self.loop.call_soon_threadsafe(self._resume, result, deferred)
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
        self.loop.call_soon(self._resume, result, deferred)

    def _resume(self, result: Any, deferred: Deferred[Any]) -> None:
        """Step the coroutine, unless it was cancelled between the firing and this call."""
        if self._deferred is not deferred:
            return
        self._scheduled = False
        if self._unanswered is not None:
            (msg,), self._unanswered = self._unanswered, None
            if isinstance(result, Failure) and result.check(*_CANCELLATIONS):
                self._give_up(msg)
                return
        self._run(result, deferred)

    def _run(self, result: Any, deferred: Deferred[Any]) -> None:
        """Step the coroutine in its Task's context."""
        stack.steps += 1
        try:
            self.context.run(self.step, *self._step_with(result))
        except RuntimeError:
            if self._deferred is not deferred:
                raise
            # The context is entered already, by a step below this one.
            self._schedule(result, deferred)
        finally:
            stack.steps -= 1

    # ---- asyncio's futures, as its Task has it

    def _wait_for(self, awaited: Any) -> None:
        blocking = getattr(awaited, "_asyncio_future_blocking", None)
        if awaited is None:
            self.soon()
        elif blocking is None:
            self.soon(RuntimeError(f"Task got bad yield: {awaited!r}"))
        elif awaited.get_loop() is not self.loop:
            self._wait_for_other(awaited)
        elif awaited is self.task or not blocking:
            what = "cannot await on itself" if blocking else "used yield instead of yield from"
            self.soon(RuntimeError(f"Task {what}: {awaited!r}"))
        else:
            self.wait_for_future(awaited)

    def wait_for_future(self, future: Future[Any]) -> None:
        """Wait for a future of the loop's."""
        future._asyncio_future_blocking = False
        self.future = future
        future.add_done_callback(self.wake, context=self.context)

    def _wait_for_other(self, future: Future[Any]) -> None:
        """Wait for a future of another loop by way of one of ours, or refuse it in a sentence."""
        future._asyncio_future_blocking = False
        if future.done():
            self.soon()  # done since it was awaited: the coroutine looks again
            return
        if future.get_loop().is_running():
            try:
                self.wait_for_future(Mirror(future, self.loop))
            except RuntimeError:  # the loop has been closed since
                pass
            else:
                return
        self.soon(RuntimeError(IDLE_LOOP.format(what=future)))

    def wake(self, future: Future[Any]) -> None:
        """Go on with what came of a future."""
        self.future = None
        try:
            future.result()
        except BaseException as error:
            self.go_on(error)
        else:
            self.go_on()
        finally:
            del future  # or it and its failure's traceback keep each other alive

    def soon(self, error: BaseException | None = None) -> None:
        """Step the coroutine in the next iteration of the loop; throw an exception into it."""
        self.loop.call_soon(self.go_on, error, context=self.context)

    def go_on(self, error: BaseException | None = None) -> None:
        """Step the coroutine; with an exception, or if it must be cancelled, throw into it."""
        if self.must_cancel is not None:
            (msg,), self.must_cancel = self.must_cancel, None
            if not isinstance(error, asyncio.CancelledError):
                error = asyncio.CancelledError(*(() if msg is None else (msg,)))
        try:
            if error is None:
                self.step(self.send, None)
            else:
                self.step(self._throw, error)
        finally:
            del error  # or it and its traceback keep each other alive

    # ---- cancellation

    def cancel_awaited(self, msg: Any) -> None:
        """Cancel what the coroutine waits for; if it waits for nothing, what it awaits next."""
        deferred, future = self._deferred, self.future
        if self._cancelling or (future is not None and future.cancel(msg)):
            return  # the former: asked for by the Deferred's canceller
        if deferred is None:
            self.must_cancel = (msg,)
        elif self._scheduled or self._cancel_deferred(deferred):
            self._give_up(msg)
        else:
            self._unanswered = (msg,)

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

    def _give_up(self, msg: Any) -> None:
        """Throw a CancelledError into the coroutine, in the next iteration of the loop."""
        self._deferred = self._unanswered = None
        self._scheduled = False
        self.soon(asyncio.CancelledError(*(() if msg is None else (msg,))))
