"""
A Deferred of work that goes on until it ends, also when it is cancelled.

What the work awaits may clean up, and its own code may go on.  Where the
cancellation was swallowed by something else, the Deferred fires with one all the
same: see `_bridge.interruptible`.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
from bdb import BdbQuit
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred, FirstError, inlineCallbacks
from twisted.python.failure import Failure

from twisted_ipython._base.exceptions import ReactorInterrupt
from twisted_ipython._bridge.driven import cancel
from twisted_ipython._bridge.interruptible import Interruptible, interrupting
from twisted_ipython._private.twisted import RETURNS

# What ends work that was to end.
_ENDS: Final = (
    asyncio.CancelledError,
    CancelledError,
    ReactorInterrupt,
    KeyboardInterrupt,
    BdbQuit,
)


class Ending(Deferred[Any]):
    """What will come of the work, which ``stop`` cancels."""

    def __init__(self, stop: Callable[[], object]) -> None:
        super().__init__()
        self._stop = stop
        self._told = False

    def cancel(self) -> None:
        """Cancel the work; once it has ended, what a callback returned."""
        if self.called:
            super().cancel()
        else:
            self._told = True
            self._stop()

    def end(self, value: Any) -> None:
        """Fire; with a cancellation if the work was cancelled, and has come to no failure."""
        swallowed = self._told and not isinstance(value, Failure)
        self.callback(Failure(CancelledError()) if swallowed else value)


class Surroundings(Protocol):
    """Where a coroutine runs; `_reactor.thread.ReactorThread` is one."""

    ends: bool

    def explain(self, error: BaseException) -> None:
        """Add a line to an exception that the lack of an asyncio loop caused."""


def of_coroutine(
    coro: Coroutine[Any, Any, Any],
    drive: Callable[[Coroutine[Any, Any, None]], Callable[[], object]],
    where: Surroundings,
) -> Ending:
    """
    A Deferred of what a coroutine returns.

    Args:
        coro: the coroutine.
        drive: steps another one to its end; gives what cancels that.
        where: it runs; once that ends, nobody takes a result.

    Thread: reactor.
    """
    interruptible = Interruptible(coro)
    result = Ending(lambda: end(interruptible, stop))

    async def body() -> None:
        try:
            value: Any = await interruptible
            interruptible.raise_swallowed()
        except BaseException as error:
            where.explain(error)
            value = _failure(interruptible, asyncio.CancelledError)
        if not where.ends:
            result.callback(value)

    stop = drive(body())
    return result


def of_generator(generator: Generator[Any, Any, Any], context: Context) -> Ending:
    """A Deferred of what a generator returns, which `inlineCallbacks` drives.  Thread: reactor."""
    interruptible = Interruptible(generator)

    @inlineCallbacks
    def body() -> Generator[Any, Any, Any]:
        try:
            try:
                value = yield from interruptible
            except RETURNS as returned:
                value = returned.value
            interruptible.raise_swallowed()
        except BaseException:
            return _failure(interruptible, CancelledError)
        return value

    running = context.run(body)
    result = Ending(lambda: end(interruptible, partial(cancel, running)))
    running.addBoth(result.callback)
    return result


def end(
    interruptible: Interruptible[Any],
    stop: Callable[[], object],
    reason: BaseException | None = None,
    *,
    replaces: bool = False,
) -> None:
    """
    Cancel work, and what it waits for.

    Args:
        interruptible: steps it.
        stop: cancels it.
        reason: what goes in when that was swallowed; one that no ``except Exception`` catches.
        replaces: whether it goes in in place of the next CancelledError.

    Thread: reactor.
    """
    interruptible.interrupt(reason or KeyboardInterrupt(), replaces=replaces)
    with interrupting():
        stop()


def _failure(interruptible: Interruptible[Any], cancelled: type[BaseException]) -> Failure:
    """The failure that is being handled; a cancellation, if it is what `end` has led to."""
    failure = Failure()
    if interruptible.told and failure.value is not None and is_cancellation(failure.value):
        return Failure(cancelled(), exc_tb=failure.getTracebackObject())
    return failure


def is_cancellation(error: BaseException) -> bool:
    """Whether work ended because it was to, seen through what `gatherResults` makes of that."""
    if isinstance(error, FirstError):
        cause = error.subFailure.value
        return cause is not None and is_cancellation(cause)
    if isinstance(error, BaseExceptionGroup):  # as anyio's task groups do with any exception
        return all(map(is_cancellation, error.exceptions))
    return isinstance(error, _ENDS)
