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
loop yield a `FutureAwait`, which is a Deferred to Twisted's driver.

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
import dis
import sys
import types
from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from operator import attrgetter
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, Final, TypeVar, cast, final

from twisted.internet import defer
from twisted.internet.defer import DebugInfo, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._instance import override

__all__ = [
    "Bridge",
    "BridgedFuture",
    "BridgedTask",
    "attach",
    "deferreds_only",
    "driven_by_twisted",
]

_T = TypeVar("_T")
_Step = tuple[Callable[[Any], Any], Any]
_log = Logger()

# How many steps run inside each other now.
_nesting = [0]
# How many steps may nest (one step fires a Deferred that another coroutine
# awaits, and so on) before the next one waits for the loop: far under Python's
# recursion limit, far over what ordinary code does.
_DEEPEST: Final = 20

_CANCELLATIONS: Final = (defer.CancelledError, asyncio.CancelledError)

NEEDS_TASK: Final = (
    "{what} needs an asyncio Task, and the coroutine that uses it is driven by Twisted"
    " (ensureDeferred, inlineCallbacks or a Klein route). Run that part as a task:"
    " await asyncio.create_task(...)"
)
IDLE_LOOP: Final = (
    "{what!r} belongs to another event loop, which is not running, so it can never be done."
    " Create it in the cell that awaits it."
)


class _Shown(DebugInfo):
    """
    What a Deferred keeps of its failure, less one failure that was handled.

    A Deferred notes the failure that it holds in a ``DebugInfo``, which logs it
    as unhandled when it is collected (Twisted 24.10 to 26.10).  Awaiting counts
    as handling but leaves the failure in place for the next await; this notes
    any other failure, but never that one.
    """

    def __init__(self, handled: Failure) -> None:
        self._handled = handled
        self._failure: Failure | None = None

    @property
    def failResult(self) -> Failure | None:
        """The failure that nobody has handled."""
        return self._failure

    @failResult.setter
    def failResult(self, failure: Failure | None) -> None:
        self._failure = None if failure is self._handled else failure


def _exception(failure: Failure) -> BaseException:
    """The exception of a failure, with its own traceback."""
    assert failure.value is not None
    return failure.value.with_traceback(failure.tb)


def _is_deferred(kind: type) -> bool:
    """Whether instances of ``kind`` are Deferreds (and not the mark of a future)."""
    return kind is Deferred or (kind is not FutureAwait and issubclass(kind, Deferred))


def _mark_handled(deferred: Deferred[Any], failure: Failure) -> None:
    """Let ``failure`` stay the Deferred's result without being logged as unhandled."""
    shown = _Shown(failure)
    if deferred._debugInfo is not None:  # with Deferred.debug: who made it, who fired it
        shown.__dict__.update(deferred._debugInfo.__dict__, failResult=None)
    deferred._debugInfo = shown


# ---- futures and tasks of our loop


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


class BridgedFuture(asyncio.Future[_T]):
    """A future that coroutines driven by asyncio and by Twisted can await."""

    __await__ = __iter__ = _await_future


class _Held(BaseException):
    """A SystemExit or KeyboardInterrupt that a task raised; asyncio ends the loop for those."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


def _held(error: BaseException) -> BaseException:
    """What a task may raise in place of ``error`` without ending the loop."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return _Held(error).with_traceback(error.__traceback__)
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
        return error.error if isinstance(error, _Held) else error

    def result(self) -> _T:
        """`asyncio.Task.result`."""
        try:
            return super().result()
        except _Held as held:
            error = held.error
        finally:
            del self  # or the exception, its traceback and the task keep each other alive
        try:
            raise error
        finally:
            del error

    def cancelling(self) -> int:
        """`asyncio.Task.cancelling`, which `asyncio.timeout` asks when it begins."""
        _refuse_without_task(sys._getframe(1), _TIMEOUTS)
        return super().cancelling()


class _Waiter(asyncio.Future[None]):
    """The future that a Task waits for while a `Bridge` waits for Deferreds."""

    def __init__(self, bridge: Bridge[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._bridge = bridge

    def cancel(self, msg: Any = None) -> bool:
        """Cancel what the bridge waits for; called by `asyncio.Task.cancel`."""
        return self._bridge._cancel(msg)


class _Mirror(asyncio.Future[None]):
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


# ---- the bridge


@final
class Bridge(Coroutine[Any, Any, _T]):
    """
    A coroutine that may await Deferreds, in a shape that a Task can drive.

    Args:
        coro: the user's coroutine.
        loop: the loop of the Task that will drive it.
        context: the Task's context; each step runs in it.
    """

    # All that follows concerns the time while Deferreds step the coroutine.
    # The thread in which they do, the Task, and the future that the Task waits for.
    _thread: int
    _task: asyncio.Task[Any] | None
    _waiter: _Waiter | None
    # What the coroutine came to, until its Task takes over: what it awaits, or
    # the exception (StopIteration too) that it ended with.
    _outcome: tuple[Any, BaseException | None] | None
    # The Deferred that the coroutine waits for; None while it runs.
    _deferred: Deferred[Any] | None
    # Whether a callback is being added to it, and the result if it came at once.
    _adding: bool
    _ready: tuple[Any] | None
    # Whether it has fired, and the coroutine goes on in an iteration of the loop.
    _scheduled: bool
    # Whether it is being cancelled, and the message of a cancellation that it
    # has not answered yet.
    _cancelling: bool
    _unanswered: tuple[Any] | None
    # The message of a cancellation that came while the coroutine ran.
    _must_cancel: tuple[Any] | None

    def __init__(
        self, coro: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop, context: Context
    ) -> None:
        self._coro = coro
        self._send = coro.send
        self._loop = loop
        self._context = context
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", type(coro).__qualname__)
        self._thread = 0
        self._task = self._waiter = self._outcome = self._deferred = None
        self._adding = self._scheduled = self._cancelling = False
        self._ready = self._unanswered = self._must_cancel = None

    # ---- what tools read of a coroutine

    # One by one: a __getattr__ would make every attribute slow.
    cr_await = property(attrgetter("_coro.cr_await"))
    cr_code = property(attrgetter("_coro.cr_code"))
    cr_frame = property(attrgetter("_coro.cr_frame"))
    cr_origin = property(attrgetter("_coro.cr_origin"))
    cr_running = property(attrgetter("_coro.cr_running"))
    cr_suspended = property(attrgetter("_coro.cr_suspended"))
    gi_code = property(attrgetter("_coro.gi_code"))
    gi_frame = property(attrgetter("_coro.gi_frame"))
    gi_running = property(attrgetter("_coro.gi_running"))
    gi_suspended = property(attrgetter("_coro.gi_suspended"))
    gi_yieldfrom = property(attrgetter("_coro.gi_yieldfrom"))

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._coro.__await__()

    # ---- what a Task calls

    def __next__(self) -> Any:
        """Step the coroutine; give the Task what it has to wait for."""
        if self._outcome is not None:
            return self._take_over()
        try:
            awaited = self._send(None)
        except (KeyboardInterrupt, SystemExit) as error:
            held = _held(error)
        else:
            return awaited if awaited is None else self._for_task(awaited)
        raise held

    def send(self, _value: Any) -> Any:
        """Step the coroutine; a Task sends None, and by `__next__`, which is quicker."""
        return self.__next__()

    def throw(self, error: Any, value: Any = None, _traceback: Any = None, /) -> Any:
        """Throw into the coroutine; give the Task what it has to wait for."""
        try:
            error = error if value is None else value
            if self._outcome is not None:
                return self._take_over(error)
            self._waiter = self._task = None
            return self._throw(error.error if isinstance(error, _Held) else error)
        finally:
            del error, value  # or it and its traceback keep each other alive

    def close(self) -> None:
        """Close the user's coroutine."""
        self._coro.close()

    def _throw(self, error: BaseException) -> Any:
        try:
            awaited = self._coro.throw(error)
        except (KeyboardInterrupt, SystemExit) as raised:
            held = _held(raised)
        else:
            return self._for_task(awaited)
        finally:
            del error
        raise held

    def _for_task(self, awaited: Any) -> Any:
        """Turn what the coroutine awaits into what a Task understands."""
        if _is_deferred(type(awaited)):
            return self._wait(awaited)
        if type(awaited) is FutureAwait:
            awaited = awaited.future
            awaited._asyncio_future_blocking = True
        elif getattr(awaited, "_asyncio_future_blocking", None) is None:
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
                return _Mirror(future, self._loop)
            except RuntimeError:  # the loop has been closed since
                pass
        return self._throw(RuntimeError(IDLE_LOOP.format(what=future)))

    def _wait(self, deferred: Deferred[Any]) -> Any:
        """Leave the Task waiting while Deferreds step the coroutine."""
        self._thread = get_ident()
        self._task = current_task(self._loop)
        waiter = self._waiter = _Waiter(self, self._loop)
        step = self._subscribe(deferred)
        if step is not None:
            self._waiter = self._task = None
            return self._for_task(step[0](step[1]))
        waiter._asyncio_future_blocking = True
        return waiter

    def _take_over(self, thrown: BaseException | None = None) -> Any:
        """Give the Task what the coroutine came to while Deferreds stepped it."""
        assert self._outcome is not None
        (awaited, error), self._outcome = self._outcome, None
        self._waiter = self._task = None
        try:
            if error is not None:
                # A coroutine that returned before a cancellation reached it is
                # cancelled, as a Task is; one that failed keeps its failure.
                cancelled = thrown is not None and isinstance(error, StopIteration)
                raise thrown if cancelled else _held(error)  # type: ignore[misc]  # not None
            if getattr(awaited, "_asyncio_future_blocking", None) is not None:
                awaited._asyncio_future_blocking = True
            waits = self._for_task(awaited)
            if thrown is None or (waits is not None and waits.cancel(*thrown.args)):
                return waits
            return self._throw(thrown)
        finally:
            del error, thrown  # or they and their tracebacks keep each other alive

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
            return self._coro.throw, _exception(result)
        return self._send, None

    def _fired(self, result: Any, deferred: Deferred[Any]) -> Any:
        """
        Resume the coroutine with the Deferred's result, which stays the Deferred's.

        Called in whichever thread fires the Deferred.
        """
        if self._deferred is not deferred:  # given up
            return result
        if isinstance(result, Failure):
            _mark_handled(deferred, result)
        if get_ident() != self._thread:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._resume, result, deferred)
        elif self._adding:
            self._ready = (result,)
        elif self._cancelling:
            self._deferred = None
        elif self._unanswered is not None or _nesting[0] >= _DEEPEST:
            self._schedule(result, deferred)
        else:
            self._run(result, deferred)
        return result

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
        """Step the coroutine in its own context."""
        _nesting[0] += 1
        try:
            self._context.run(self._step, result)
        except RuntimeError:
            if self._deferred is not deferred:
                raise
            # The context is entered already, by a step below this one.
            self._schedule(result, deferred)
        finally:
            _nesting[0] -= 1

    def _step(self, result: Any) -> None:
        """Step the coroutine as its own Task, entered in place of whichever runs now."""
        self._deferred = None
        loop, task = self._loop, self._task
        assert task is not None
        outer = current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)
        try:
            if isinstance(result, Failure):
                awaited = self._coro.throw(_exception(result))
            else:
                awaited = self._send(None)
            self._settle(awaited)
        except BaseException as error:
            self._hand_over(None, error)
        finally:
            _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)
            del result, task, outer  # or they and a failure's traceback keep each other alive

    def _settle(self, awaited: Any) -> None:
        """Wait for the Deferred that the coroutine awaits, or have its Task take over."""
        while _is_deferred(type(awaited)):
            step = self._subscribe(awaited)
            if step is None:
                if self._must_cancel is not None:
                    self._cancel_late()
                return
            awaited = step[0](step[1])
        if type(awaited) is not FutureAwait and hasattr(awaited, "_asyncio_future_blocking"):
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

    def _cancel(self, msg: Any) -> bool:
        """Cancel what the coroutine waits for; True if a cancellation is on its way."""
        deferred = self._deferred
        if self._cancelling:
            return True  # asked for by the Deferred's canceller
        if self._outcome is not None:
            return self._cancel_future(self._outcome[0], msg)
        if deferred is None:
            # The coroutine itself is running: at its next await, as a Task does.
            self._must_cancel = (msg,)
            return True
        if not self._scheduled and not self._cancel_deferred(deferred):
            self._unanswered = (msg,)
            return True
        return self._wake_cancelled(msg)

    def _cancel_future(self, awaited: Any, msg: Any) -> bool:
        """Cancel the future that the Task will wait for; False if there is none to cancel."""
        future = awaited.future if type(awaited) is FutureAwait else awaited
        if getattr(future, "_asyncio_future_blocking", None) is None:
            return False
        return future.get_loop() is self._loop and bool(future.cancel(msg))

    def _cancel_deferred(self, deferred: Deferred[Any]) -> bool:
        """Cancel the Deferred; False if it goes on."""
        if deferred.called and not isinstance(getattr(deferred, "result", None), Deferred):
            return True  # callbacks before ours run in another thread, or it is paused
        self._cancelling = True
        try:
            deferred.cancel()
        except Exception:
            _log.failure("The canceller of {deferred} failed", deferred=repr(deferred))
            return True
        finally:
            self._cancelling = False
        return self._deferred is None

    def _cancel_late(self) -> bool:
        """
        Apply a cancellation that was asked for while the coroutine ran, if it still stands.

        Returns:
            whether the Task will be woken by it.
        """
        assert self._must_cancel is not None
        (msg,), self._must_cancel = self._must_cancel, None
        # From 3.13 on, uncancel() takes back a cancellation that was not delivered.
        assert self._task is not None
        if sys.version_info >= (3, 13) and not self._task.cancelling():
            return False
        if self._outcome is None:
            return self._cancel(msg)
        return not self._cancel_future(self._outcome[0], msg) and self._wake_cancelled(msg)

    def _wake_cancelled(self, msg: Any) -> bool:
        """Have the Task throw a CancelledError into the coroutine."""
        self._deferred = self._unanswered = None
        self._scheduled = False
        assert self._waiter is not None
        return asyncio.Future.cancel(self._waiter, msg)


# ---- the loop


def attach(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """
    Give every task and future of ``loop`` the bridge; a task factory of the user's is used by ours.

    Call before the loop runs, or in its thread.

    Returns:
        What undoes it; tasks that exist by then keep their bridge.
    """
    factory = _TaskFactory(loop.get_task_factory())
    loop.set_task_factory(factory)
    methods = {
        "create_future": partial(BridgedFuture, loop=loop),
        "create_server": _create_server(loop),
        "set_task_factory": factory.use,
        "get_task_factory": factory.used,
    }
    put_back = override(loop, methods)

    def undo() -> None:
        put_back()
        if loop.get_task_factory() is factory:
            loop.set_task_factory(factory.used())

    return undo


def _create_server(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """`loop.create_server`, which awaits `asyncio.gather`, for whoever drives the coroutine."""
    original = loop.create_server

    async def create_server(*args: Any, **kwargs: Any) -> asyncio.AbstractServer:
        coro: Any = original(*args, **kwargs)
        if driven_by_twisted(sys._getframe()):
            coro = loop.create_task(coro)
        server: asyncio.AbstractServer = await coro
        return server

    return create_server


def begin_task(
    coro: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop, context: Context
) -> asyncio.Task[_T]:
    """
    A task for a cell or a job, whatever task factory the user has set.

    From Python 3.12 on its first step is taken at once, which saves a turn of
    the loop for each cell.  In the reactor thread.
    """
    eager: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
    return BridgedTask(Bridge(coro, loop, context), loop=loop, context=context, **eager)


class _TaskFactory:
    """
    Makes tasks whose coroutines may await Deferreds; runs in the reactor thread.

    Args:
        own: the task factory that the user set, or None.
    """

    def __init__(self, own: Any) -> None:
        self._own = own

    def use(self, factory: Any) -> None:
        """`loop.set_task_factory`."""
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._own = factory

    def used(self) -> Any:
        """`loop.get_task_factory`."""
        return self._own

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Any,
        *,
        context: Context | None = None,
        **options: Any,
    ) -> Any:
        """Make a task; the options are those of `asyncio.Task`."""
        try:
            _refuse_without_task(sys._getframe(1), _TASK_MAKERS)
        except RuntimeError:
            coro.close()
            raise
        if context is None:
            context = copy_context()
        bridge = Bridge(coro, loop, context) if asyncio.iscoroutine(coro) else coro
        if self._own is None:
            return BridgedTask(bridge, loop=loop, context=context, **options)
        return self._own(loop, bridge, context=context, **options)


_TIMEOUTS: Final = {
    asyncio.Timeout.__aenter__.__code__: "asyncio.timeout",
    asyncio.wait_for.__code__: "asyncio.wait_for",
}
_TASK_MAKERS: Final = {
    asyncio.TaskGroup.create_task.__code__: "asyncio.TaskGroup",
    asyncio.gather.__code__: "asyncio.gather",
}


def _refuse_without_task(frame: FrameType | None, users: dict[CodeType, str]) -> None:
    """
    Raise if one of ``users`` called ``frame`` for a coroutine that Twisted drives.

    A coroutine given to ``ensureDeferred`` inside a task's step runs its first
    step there: `asyncio.current_task` then names a task that is not its own.

    Raises:
        RuntimeError: says to use `asyncio.create_task`.
    """
    what, caller, each = None, None, frame
    for _ in range(3):
        if each is None:
            break
        if each.f_code in users:
            what, caller = users[each.f_code], each.f_back
        each = each.f_back
    if what is None or not driven_by_twisted(frame):
        return
    if what == "asyncio.gather" and not _awaits_call(caller):
        return  # Deferred.fromFuture(asyncio.gather(...)) needs no task
    raise RuntimeError(NEEDS_TASK.format(what=what))


def _awaits_call(frame: FrameType | None) -> bool:
    """Whether ``frame`` awaits what it is calling, as in ``await f()``."""
    if frame is None:
        return False
    after = (one for one in dis.get_instructions(frame.f_code) if one.offset > frame.f_lasti)
    return next(after).opname == "GET_AWAITABLE"


def driven_by_twisted(frame: FrameType | None) -> bool:
    """Whether the coroutine that ``frame`` belongs to is stepped by Twisted's driver."""
    while frame is not None:
        if frame.f_code is _TWISTED_DRIVER:
            return True
        if frame.f_code in _OUR_DRIVER:
            return False
        frame = frame.f_back
    return False


_TWISTED_DRIVER: Final = defer._inlineCallbacks.__code__
_OUR_DRIVER: Final = {
    method.__code__ for method in (Bridge.__next__, Bridge._throw, Bridge._step, Bridge._wait)
}


# ---- a reactor without a loop


@types.coroutine
def deferreds_only(
    coro: Coroutine[Any, Any, _T], refusal: str, thread: int, call: Callable[..., Any]
) -> Generator[Deferred[Any], Any, _T]:
    """
    A coroutine for Twisted's driver that keeps what it awaits; for reactors without a loop.

    Args:
        coro: the user's coroutine.
        refusal: what a RuntimeError says to a coroutine that awaits an asyncio object.
        thread: the reactor thread's identifier.
        call: ``reactor.callFromThread``.
    """
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        try:
            awaited = step(value)
        except StopIteration as stop:
            return cast(_T, stop.value)
        step, value = coro.send, None
        try:
            if not _is_deferred(type(awaited)):
                raise RuntimeError(refusal)
            yield _relay(awaited, thread, call)
        except BaseException as error:
            step, value = coro.throw, error


def _relay(deferred: Deferred[Any], thread: int, call: Callable[..., Any]) -> Deferred[Any]:
    """A Deferred that fires in the reactor thread as ``deferred``, which keeps its result, does."""
    relay: Deferred[Any] = Deferred(lambda _: deferred.cancel())

    def fire(result: Any) -> None:
        if not relay.called:
            relay.callback(result)

    def fired(result: Any) -> Any:
        if isinstance(result, Failure):
            _mark_handled(deferred, result)
        if get_ident() == thread:
            fire(result)
        else:
            call(fire, result)
        return result

    deferred.addBoth(fired)
    return relay
