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
fails under Twisted's driver.

All of this runs in the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
import types
from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, Final, TypeVar, cast, final

from twisted.internet import defer
from twisted.internet.defer import DebugInfo, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = [
    "Bridge",
    "BridgedFuture",
    "BridgedTask",
    "attach",
    "deferreds_only",
    "driven_by_twisted",
]

_T = TypeVar("_T")
_log = Logger()
# How many steps run inside each other now.
_nesting = [0]
_Step = tuple[Callable[[Any], Any], Any]

# How many steps may nest (one step fires a Deferred that another coroutine
# awaits, and so on) before the next one waits for the loop: far under Python's
# recursion limit, far over what ordinary code does.
_DEEPEST: Final = 20

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
    def failResult(self) -> Failure | None:  # type: ignore[override]
        """The failure that nobody has handled."""
        return self._failure

    @failResult.setter
    def failResult(self, failure: Failure | None) -> None:
        self._failure = None if failure is self._handled else failure


_CANCELLATIONS: Final = (defer.CancelledError, asyncio.CancelledError)


def _exception(failure: Failure) -> BaseException:
    """The exception of a failure, with its own traceback."""
    value: BaseException = failure.value  # type: ignore[assignment]  # None only in a Failure() of old
    return value.with_traceback(failure.tb)


def _is_deferred(kind: type) -> bool:
    """Whether instances of ``kind`` are Deferreds (and not the mark of a future)."""
    return kind is Deferred or (kind is not FutureAwait and issubclass(kind, Deferred))


def _mark_handled(deferred: Deferred[Any], failure: Failure) -> None:
    """Let ``failure`` stay the Deferred's result without being logged as unhandled."""
    shown = _Shown(failure)
    if deferred._debugInfo is not None:  # with Deferred.debug: who made it, who fired it
        shown.__dict__.update(deferred._debugInfo.__dict__, failResult=None)
    deferred._debugInfo = shown


class FutureAwait(Deferred[None]):
    """
    What awaiting a future of our loop yields: both drivers understand it.

    A `Bridge` takes the ``future``.  Twisted's driver finds a Deferred, which
    becomes one when it adds its first callback.  A Task without a bridge finds
    what it needs of a future.
    """

    _asyncio_future_blocking = True

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def addBoth(self, *args: Any, **kwargs: Any) -> Deferred[Any]:  # type: ignore[override]
        """Become a Deferred that fires with None once the future is done."""
        super().__init__(lambda _: self.future.cancel() and None)
        self.future.add_done_callback(self._done)
        return super().addBoth(*args, **kwargs)

    def _done(self, _: object) -> None:
        if not self.called:
            self.callback(None)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the future's loop, for a Task that has no bridge."""
        return self.future.get_loop()

    def add_done_callback(self, *args: Any, **kwargs: Any) -> None:
        """Pass on to the future, for a Task that has no bridge."""
        self.future.add_done_callback(*args, **kwargs)


def _await_future(self: asyncio.Future[_T]) -> Generator[Any, Any, _T]:
    """Await a future of our loop, whoever drives the coroutine."""
    if not self.done():
        yield FutureAwait(self)
    if not self.done():
        raise RuntimeError("await wasn't used with future")
    return self.result()


class BridgedFuture(asyncio.Future[_T]):
    """A future that coroutines driven by asyncio and by Twisted can await."""

    __await__ = __iter__ = _await_future


class BridgedTask(asyncio.Task[_T]):
    """A task that coroutines driven by asyncio and by Twisted can await."""

    __await__ = __iter__ = _await_future


class _Waiter(asyncio.Future[None]):
    """The future that a Task waits for while a `Bridge` waits for Deferreds."""

    def __init__(self, bridge: Bridge[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._bridge = bridge

    def cancel(self, msg: Any = None) -> bool:
        """Cancel what the bridge waits for; called by `asyncio.Task.cancel`."""
        return not self.done() and self._bridge._cancel(msg)


@final
class Bridge(Coroutine[Any, Any, _T]):
    """
    A coroutine that may await Deferreds, in a shape that a Task can drive.

    Args:
        coro: the user's coroutine.
        loop: the loop of the Task that will drive it.
        context: the Task's context; each step runs in it.
    """

    __slots__ = (
        "__name__",
        "__qualname__",
        "__weakref__",
        "_adding",
        "_cancelling",
        "_context",
        "_coro",
        "_deferred",
        "_loop",
        "_must_cancel",
        "_outcome",
        "_ready",
        "_scheduled",
        "_send",
        "_swallowed",
        "_task",
        "_thread",
        "_waiter",
    )

    def __init__(
        self, coro: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop, context: Context
    ) -> None:
        self._coro = coro
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", type(coro).__qualname__)
        self._send = coro.send
        self._loop = loop
        self._context = context
        self._thread = 0
        self._task: asyncio.Task[Any] | None = None
        # While Deferreds step the coroutine: what its Task waits for.
        self._waiter: _Waiter | None = None
        # What the coroutine came to, until its Task takes over: what it
        # awaits, or the exception (StopIteration too) that it ended with.
        self._outcome: tuple[Any, BaseException | None] | None = None
        # The Deferred that the coroutine waits for; None while it runs.
        self._deferred: Deferred[Any] | None = None
        self._adding = False
        self._ready: tuple[Any] | None = None
        self._scheduled = False
        self._cancelling = False
        self._must_cancel: tuple[Any] | None = None
        self._swallowed: tuple[Any] | None = None

    # ---- what tools read of a coroutine

    def __getattr__(self, name: str) -> Any:
        """Give the user's coroutine's own ``cr_code``, ``cr_frame``, ``cr_running`` and so on."""
        return getattr(self._coro, name)

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._coro.__await__()

    # ---- what a Task calls

    def send(self, value: Any) -> Any:
        """Step the coroutine; give the Task what it has to wait for."""
        if self._outcome is not None:
            return self._taken_over()
        awaited = self._send(value)
        return awaited if awaited is None else self._for_task(awaited)

    def __next__(self) -> Any:
        return self.send(None)

    def throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Throw into the coroutine; give the Task what it has to wait for."""
        error = error if value is None else value
        if self._outcome is not None:
            return self._taken_over(error)
        self._waiter = None
        return self._for_task(self._coro.throw(error))

    def close(self) -> None:
        """Close the user's coroutine."""
        self._coro.close()

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
            return self._send_over(awaited)
        return awaited

    def _send_over(self, future: asyncio.Future[Any]) -> Any:
        """Await a future of another loop through one of ours, or refuse it in a sentence."""
        future._asyncio_future_blocking = False
        if not future.get_loop().is_running() and not future.done():
            return self.throw(RuntimeError(IDLE_LOOP.format(what=future)))
        mirror = _mirror(future, self._loop)
        mirror._asyncio_future_blocking = True
        return mirror

    def _wait(self, deferred: Deferred[Any]) -> Any:
        """Leave the Task waiting while Deferreds step the coroutine."""
        self._thread = get_ident()
        self._task = asyncio.current_task(self._loop)
        waiter = self._waiter = _Waiter(self, self._loop)
        step = self._subscribe(deferred)
        if step is not None:
            self._waiter = None
            return self._for_task(step[0](step[1]))
        waiter._asyncio_future_blocking = True
        return waiter

    def _taken_over(self, thrown: BaseException | None = None) -> Any:
        """Give the Task what the coroutine came to while Deferreds stepped it."""
        assert self._outcome is not None
        (awaited, error), self._outcome, self._waiter = self._outcome, None, None
        if error is not None:
            # A coroutine that ended before a cancellation reached it is cancelled,
            # as a Task is; one that failed keeps its failure.
            raise thrown if thrown is not None and isinstance(error, StopIteration) else error
        if thrown is None:
            return self._for_task(awaited)
        future = awaited.future if type(awaited) is FutureAwait else awaited
        if future is not None and future.cancel(*thrown.args):
            return self._for_task(awaited)
        return self._for_task(self._coro.throw(thrown))

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
        if isinstance(result, Failure):
            _mark_handled(deferred, result)
        if self._deferred is not deferred:
            pass
        elif get_ident() != self._thread:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._resume, result, deferred)
        elif self._adding:
            self._ready = (result,)
        elif self._cancelling:
            self._deferred = None
        elif self._swallowed is not None or _nesting[0] >= _DEEPEST:
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
        if self._swallowed is not None:
            (msg,), self._swallowed = self._swallowed, None
            if isinstance(result, Failure) and result.check(*_CANCELLATIONS):
                self._deferred = None
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
        outer = current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)  # type: ignore[arg-type]
        try:
            if isinstance(result, Failure):
                awaited = self._coro.throw(_exception(result))
            else:
                awaited = self._send(None)
            self._settle(awaited)
        except BaseException as error:
            self._hand_over(None, error)
        finally:
            _leave_task(loop, task)  # type: ignore[arg-type]
            if outer is not None:
                _enter_task(loop, outer)

    def _settle(self, awaited: Any) -> None:
        """Wait for the Deferred that the coroutine awaits, or have its Task take over."""
        while _is_deferred(type(awaited)):
            step = self._subscribe(awaited)
            if step is None:
                if self._must_cancel is not None:
                    self._cancel_late()
                return
            awaited = step[0](step[1])
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
        if deferred is None and self._outcome is None:
            # The coroutine itself is running: at its next await, as a Task does.
            self._must_cancel = (msg,)
            return True
        if deferred is not None and not self._scheduled and not self._cancel_deferred(deferred):
            self._swallowed = (msg,)
            return True
        self._deferred = None
        return self._wake_cancelled(msg)

    def _cancel_deferred(self, deferred: Deferred[Any]) -> bool:
        """Cancel the Deferred; False if it goes on."""
        self._cancelling = True
        try:
            deferred.cancel()
        except Exception:
            _log.failure("A canceller of {deferred!r} failed", deferred=deferred)
            return True
        finally:
            self._cancelling = False
        return self._deferred is None

    def _cancel_late(self) -> bool:
        """Apply a cancellation that was asked for while the coroutine ran, if it still stands."""
        assert self._must_cancel is not None
        (msg,), self._must_cancel = self._must_cancel, None
        # From 3.13 on, uncancel() takes back a cancellation that was not delivered.
        assert self._task is not None
        if sys.version_info >= (3, 13) and not self._task.cancelling():
            return False
        return self._cancel(msg)

    def _wake_cancelled(self, msg: Any) -> bool:
        """Have the Task throw a CancelledError into the coroutine."""
        assert self._waiter is not None
        return asyncio.Future.cancel(self._waiter, msg)


# ---- the loop


def attach(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """
    Give every task and future of ``loop`` the bridge.

    Sets the loop's task factory, and `create_future` and `call_at` on this one
    instance.  Call before the loop runs, or in its thread.

    Returns:
        What undoes it; tasks that exist by then keep their bridge.
    """
    before = loop.get_task_factory()
    loop.set_task_factory(_TaskFactory(before))
    marks = {"create_future": partial(BridgedFuture, loop=loop), "call_at": _call_at(loop)}
    for name, value in marks.items():
        setattr(loop, name, value)

    def undo() -> None:
        if isinstance(loop.get_task_factory(), _TaskFactory):
            loop.set_task_factory(before)
        for name, value in marks.items():
            if vars(loop).get(name) is value:
                delattr(loop, name)

    return undo


class _TaskFactory:
    """Makes tasks whose coroutines may await Deferreds; runs in the reactor thread."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Any,
        *,
        context: Context | None = None,
        **options: Any,
    ) -> Any:
        """Make a task; the options are those of `asyncio.Task`."""
        _refuse_without_task(sys._getframe(1), _TASK_MAKERS)
        if context is None:
            context = copy_context()
        bridge = Bridge(coro, loop, context) if asyncio.iscoroutine(coro) else coro
        if self._before is not None:
            return self._before(loop, bridge, context=context, **options)
        return BridgedTask(bridge, loop=loop, context=context, **options)


def _call_at(loop: asyncio.AbstractEventLoop) -> Callable[..., asyncio.TimerHandle]:
    """`call_at` that refuses an `asyncio.timeout` which would cancel somebody else's task."""
    original = loop.call_at

    def call_at(
        when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if type(getattr(callback, "__self__", None)) is asyncio.Timeout:
            _refuse_without_task(sys._getframe(1), _TIMEOUT)
        return original(when, callback, *args, context=context)

    return call_at


_TASK_MAKERS: Final = {
    asyncio.TaskGroup.create_task.__code__: "asyncio.TaskGroup",
    asyncio.gather.__code__: "asyncio.gather",
}
_TIMEOUT: Final = {asyncio.Timeout.reschedule.__code__: "asyncio.timeout"}


def _refuse_without_task(frame: FrameType | None, users: dict[CodeType, str]) -> None:
    """
    Raise if ``frame`` was called by one of ``users`` in a coroutine that Twisted drives.

    A coroutine given to ``ensureDeferred`` inside a task's step runs its first
    step there: `asyncio.current_task` then names a task that is not its own.

    Raises:
        RuntimeError: says to use `asyncio.create_task`.
    """
    what = None
    for _ in range(3):
        if frame is None or what is not None:
            break
        what = users.get(frame.f_code)
        frame = frame.f_back
    if what is not None and driven_by_twisted(frame):
        raise RuntimeError(NEEDS_TASK.format(what=what))


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
_OUR_DRIVER: Final = {Bridge.send.__code__, Bridge.throw.__code__, Bridge._step.__code__}


def _mirror(future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """
    A future of ``loop`` that is done when ``future``, of another loop, is.

    Cancelling it cancels the other.
    """
    other = future.get_loop()
    mirror: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not mirror.done():
            mirror.set_result(None)

    def finished(_: object) -> None:
        loop.call_soon_threadsafe(finish)

    def mirrored(_: object) -> None:
        if mirror.cancelled():
            other.call_soon_threadsafe(future.cancel)

    mirror.add_done_callback(mirrored)
    other.call_soon_threadsafe(future.add_done_callback, finished)
    return mirror


# ---- a reactor without a loop


@types.coroutine
def deferreds_only(
    coro: Coroutine[Any, Any, _T], refusal: str, thread: int, call: Callable[..., Any]
) -> Generator[Deferred[Any], Any, _T]:
    """
    A coroutine for Twisted's driver that keeps the results of what it awaits.

    For reactors that have no asyncio loop.

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
        if not _is_deferred(type(awaited)):
            step, value = coro.throw, RuntimeError(refusal)
            continue
        try:
            yield _relay(awaited, thread, call)
        except BaseException as error:
            step, value = coro.throw, error
        else:
            step, value = coro.send, None


def _relay(deferred: Deferred[Any], thread: int, call: Callable[..., Any]) -> Deferred[Any]:
    """A Deferred that fires, in the reactor thread, as ``deferred`` does; which keeps its result."""
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
