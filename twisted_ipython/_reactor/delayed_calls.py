"""
Twisted's timers on asyncio's own heap, and calls from other threads in one hop.

Twisted's asyncio reactor keeps a heap of its own beside the loop's, and moves
one loop timer about for it: twice the price of the epoll reactor's timers.
Here each `DelayedCall` has a timer of the loop.  That also gives it the
context in which it was asked for, which the loop captures by itself, and the
context decides which cell a ``print`` belongs to.

All is set on one reactor instance; the reactor's class is untouched.
"""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, Handle
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any, Final

from twisted.internet.base import DelayedCall
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from twisted.python.threadable import isInIOThread

from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.loans import loans
from twisted_ipython._private.asyncio import timer_is_due

_log = Logger()

BLOCKING_CALL: Final = (
    "threads.blockingCallFromThread was called in the reactor thread, which would then wait"
    " for itself for ever. The statements of an awaiting cell run in the reactor thread:"
    " call the function there, and `await` its Deferred"
)


class LoopCall(DelayedCall):
    """A `DelayedCall` that one timer of the loop will run."""

    handle: Handle
    context: Context

    def _borrowing(self, own: Callable[..., None], *args: float) -> None:
        """Call a method of the timer as the other threads' calls are made.  Thread: any."""
        borrowing = self.canceller.__self__.borrowing  # type: ignore[attr-defined]  # Timers
        if borrowing is None:
            own(*args)
        else:
            borrowing(own, *args)

    def cancel(self) -> None:
        """See `IDelayedCall`.  Thread: any."""
        self._borrowing(super().cancel)

    def reset(self, secondsFromNow: float) -> None:
        """See `IDelayedCall`.  Thread: any."""
        self._borrowing(super().reset, secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        """See `IDelayedCall`.  Thread: any."""
        self._borrowing(super().delay, secondsLater)


class Timers:
    """
    The delayed calls of one reactor, each behind a timer of its loop.

    Args:
        thread: the reactor thread's identifier.

    Attributes:
        borrowing: calls a method for another thread, with the reactor borrowed; None
            where threads call it as it is.
    """

    borrowing: Callable[..., Any] | None = None

    def __init__(self, reactor: Any, loop: AbstractEventLoop, thread: int) -> None:
        self._reactor = reactor
        self._loop = loop
        self._thread = thread
        # Made once: they are wanted for each call.
        self._run_one, self._cancel_one, self._reset_one = self._run, self._cancel, self._sooner
        # The class's own: it is asked twice for each call, so what is set on the
        # instance costs timers nothing.
        self._seconds: Callable[[], float] = type(reactor).seconds
        # The reactor's own: for when it stops, and for those from before.
        self._original: Callable[..., DelayedCall] = reactor.callLater
        self._originals: Callable[[], Sequence[DelayedCall]] = reactor.getDelayedCalls
        self._calls: set[LoopCall] = set()

    def call_later(
        self, /, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> DelayedCall:
        """``reactor.callLater``; in another thread, by `borrowing`.  Thread: any."""
        if get_ident() != self._thread and self.borrowing is not None and loans.are_needed():
            call: DelayedCall = self.borrowing(self.call_later, delay, callable, *args, **kwargs)
            return call
        reactor = self._reactor
        if reactor._stopped:
            # Twisted's own loop of timers is what notices a stop (26.10).
            return self._original(delay, callable, *args, **kwargs)
        assert delay >= 0, f"{delay} is not greater than or equal to 0 seconds"
        seconds = self._seconds
        when = seconds() + delay
        ends = self._cancel_one, self._reset_one
        call = LoopCall(when, callable, args, kwargs, *ends, seconds)
        call.context = context = copy_context()
        self._calls.add(call)
        loop = self._loop
        if delay or timer_is_due(loop):  # which has to run before a call of now
            call.handle = loop.call_at(loop.time() + delay, self._run_one, call, context=context)
        else:  # half the price
            call.handle = loop.call_soon(self._run_one, call, context=context)
        return call

    def delayed_calls(self) -> Sequence[DelayedCall]:
        """``reactor.getDelayedCalls``; in another thread, by `borrowing`.  Thread: any."""
        if get_ident() != self._thread and self.borrowing is not None and loans.are_needed():
            calls: Sequence[DelayedCall] = self.borrowing(self.delayed_calls)
            return calls
        return [*self._originals(), *self._calls]

    def _run(self, call: LoopCall) -> None:
        if call.delayed_time > 0.0:  # it was put off: wait for the rest
            call.activate_delay()
            self._schedule(call)
            return
        self._calls.discard(call)
        del call.handle  # or the two, and the arguments, keep each other alive
        call.called = 1
        try:
            call.func(*call.args, **call.kw)
        except BaseException:
            _log.failure("while handling timed call {call}", call=call)

    def _schedule(self, call: LoopCall) -> None:
        when = self._loop.time() + call.time - call.seconds()
        call.handle = self._loop.call_at(when, self._run, call, context=call.context)

    def _sooner(self, call: DelayedCall) -> None:
        assert isinstance(call, LoopCall)
        call.handle.cancel()
        self._schedule(call)

    def _cancel(self, call: DelayedCall) -> None:
        assert isinstance(call, LoopCall)
        call.handle.cancel()
        self._calls.discard(call)

    def call_from_thread(self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """``reactor.callFromThread``, in one hop.  Thread: any."""
        self._loop.call_soon_threadsafe(_run, callable, args, kwargs)


# Of the frame in which a timer's function runs.
TIMER: Final = Timers._run.__code__


def _run(callable: Callable[..., Any], args: Any, kwargs: Any) -> None:
    try:
        callable(*args, **kwargs)
    except BaseException:
        _log.failure("while calling from thread")


def refuse_blocking_calls(original: Callable[..., None]) -> Callable[..., None]:
    """``reactor.callFromThread``, which a thread that would wait for itself may not call."""

    def call_from_thread(callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if sys._getframe(1).f_code is blockingCallFromThread.__code__:
            give_back()
            if isInIOThread():
                raise RuntimeError(BLOCKING_CALL)
        original(callable, *args, **kwargs)

    return call_from_thread
