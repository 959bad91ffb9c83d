"""
`progress`: wait for many things at once, with a bar.

In the reactor thread.  The bar is drawn in a copy of the caller's context, so it
stands in the caller's cell, by whatever ends: tqdm's for notebooks or terminals,
or a few lines where tqdm is not installed.  No timer draws it: it moves when
something ends, at most ten times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from contextvars import copy_context
from inspect import isawaitable
from threading import get_ident
from time import monotonic
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._bridge.driven import cancel
from twisted_ipython._display.progress_bar import new_bar
from twisted_ipython._private.twisted import mark_handled
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._reactor.thread import ReactorThread

__all__ = ["progress"]

_T = TypeVar("_T")
_log = Logger()

NOT_AWAITABLE: Final = "progress() waits for awaitables, and item {index} is {item}"
NOT_HERE: Final = (
    "progress() was awaited outside of the reactor thread, where Deferreds cannot be: say"
    " `%autoawait twisted` before the cell that awaits it"
)

# What stands for a result that has not come.
_PENDING: Final = object()


async def progress(
    awaitables: Iterable[Awaitable[_T] | Future[_T]], description: str | None = None
) -> list[_T]:
    """
    Wait for many things at once and show how far they are: ``await progress([d1, d2])``.

    Deferreds, coroutines, asyncio's futures and tasks, EventualResults, futures of
    `concurrent.futures` and ipyparallel's AsyncResults, in any mixture.  A bar shows
    their count, their rate and the time left while they end; tqdm draws it, if that
    is installed (``pip install twisted_ipython[progress]``).

    The first failure cancels what is left, waits until that has ended, and is
    raised; other failures are dropped.  So does Ctrl-C, or any cancellation.  A
    Deferred keeps its result, and can be awaited again.  In the reactor thread: in
    an awaiting cell, a job, or a coroutine of theirs.

    Args:
        awaitables: what to wait for.
        description: a word in front of the bar.

    Returns:
        the results, in the order of ``awaitables``.

    Raises:
        TypeError: something cannot be awaited; nothing was begun.
        RuntimeError: not in the reactor thread.
        BaseException: the first failure.
    """
    items = list(awaitables)
    for index, item in enumerate(items):
        if not isinstance(item, (Deferred, Future)) and not isawaitable(item):
            raise TypeError(NOT_AWAITABLE.format(index=index, item=repr(item)))
    thread = current()
    if not thread.here():
        raise RuntimeError(NOT_HERE)
    if not items:
        return []
    work = _Work(thread, len(items), _Drawing(len(items), description))
    try:
        work.begin(items)
        await work.ended
    except BaseException:
        work.cancel()  # for a coroutine that is closed while it waits
        raise
    finally:
        work.drawing.close()
    return work.results


class _Part(Protocol):
    """What ends, and can be cancelled: a Deferred or a future."""

    def cancel(self) -> object:
        """Cancel it."""


class _Work:
    """
    Many things that are waited for.

    Attributes:
        results: what came of them, in their order.
        ended: fires when all have ended.
        drawing: the bar.
    """

    def __init__(self, thread: ReactorThread, count: int, drawing: _Drawing) -> None:
        self.results: list[Any] = [_PENDING] * count
        self.ended = _Ended(self.cancel)
        self.drawing = drawing
        self._thread = thread
        self._ident = thread.ident
        self._left = count
        self._parts: list[_Part] = []
        self._reason: Failure | None = None

    def begin(self, items: Iterable[Any]) -> None:
        """Begin what has not begun, and follow all."""
        for index, item in enumerate(items):
            if isinstance(item, Deferred):
                self._follow_deferred(index, item)
            elif isinstance(item, Future):
                self._follow_deferred(index, self._deferred_of(item))
            elif asyncio.isfuture(item) and item.get_loop() is self._thread.loop:
                self._follow_future(index, item)
            elif self._thread.loop is None:
                self._follow_deferred(index, ensureDeferred(_await(item)))
            else:
                self._follow_future(index, self._thread.loop.create_task(_await(item)))
        if self._reason is not None:  # one had failed before; now all can be cancelled
            self._cancel_parts()

    def _deferred_of(self, future: Future[Any]) -> Deferred[Any]:
        """A Deferred that fires with a future of threads."""
        deferred: Deferred[Any] = Deferred(lambda _: stop())

        def stop() -> None:
            future.cancel()

        def fire() -> None:
            if not deferred.called:
                deferred.callback(_result_of(future))

        future.add_done_callback(lambda _: self._thread.call(fire))
        return deferred

    def _follow_deferred(self, index: int, deferred: Deferred[Any]) -> None:
        self._parts.append(deferred)
        deferred.addBoth(self._fired, index, deferred)

    def _fired(self, result: Any, index: int, deferred: Deferred[Any]) -> Any:
        """Take a Deferred's result, which stays its result.  In the thread that fires it."""
        stays = mark_handled(deferred, result) if isinstance(result, Failure) else result
        if get_ident() != self._ident:
            self._thread.call(self._take, index, result)
        elif self._left == 1 or isinstance(result, Failure):
            self._take(index, result)
        else:  # `_take`, without the calls that thousands of Deferreds would feel
            self.results[index] = result
            self._left -= 1
            drawing = self.drawing
            drawing.undrawn += 1
            if monotonic() >= drawing.next:
                drawing.draw()
        return stays

    def _follow_future(self, index: int, future: asyncio.Future[Any]) -> None:
        self._parts.append(future)
        future.add_done_callback(lambda _: self._take(index, _result_of(future)))

    def _take(self, index: int, result: Any) -> None:
        self.results[index] = result
        self._left -= 1
        if isinstance(result, Failure):
            self._stop(result)
        else:
            self.drawing.undrawn += 1
            self.drawing.draw()
        if not self._left and not self.ended.called:
            self.ended.fire(self._reason)

    def cancel(self) -> None:
        """Cancel what is left; what has failed by then is no longer the reason."""
        if self._left:
            self._reason = Failure(CancelledError())
            self._cancel_parts()

    def _stop(self, reason: Failure) -> None:
        if self._reason is None:
            self._reason = reason
            self._cancel_parts()

    def _cancel_parts(self) -> None:
        if len(self._parts) < len(self.results):  # they are still being begun
            return
        for index, part in enumerate(self._parts):
            if self.results[index] is _PENDING:
                try:
                    cancel(part) if isinstance(part, Deferred) else part.cancel()
                except Exception:
                    _log.failure("A canceller failed")


class _Ended(Deferred[None]):
    """Fires when all have ended; cancelling it cancels them, and it fires when they have."""

    def __init__(self, stop: Callable[[], object]) -> None:
        super().__init__()
        self._stop = stop

    def fire(self, reason: Failure | None) -> None:
        """Fire, with the failure if one is the reason."""
        self.callback(None) if reason is None else self.errback(reason)

    def cancel(self) -> None:
        """Cancel what is waited for."""
        super().cancel() if self.called else self._stop()


async def _await(item: Awaitable[_T]) -> _T:
    """Await what need not be a coroutine."""
    return await item


def _result_of(future: asyncio.Future[Any] | Future[Any]) -> Any:
    """What a future that is done holds, as a Deferred would."""
    if future.cancelled():
        return Failure(asyncio.CancelledError())
    error = future.exception()
    return future.result() if error is None else Failure(error)


class _Drawing:
    """
    Draws a bar, not often, in the context in which it is made; raises nothing.

    Attributes:
        undrawn: how many have ended since it was drawn.
        next: when to draw it again, in seconds of `monotonic`.

    Args:
        total: how many there are.
        description: a word in front of it.
    """

    def __init__(self, total: int, description: str | None) -> None:
        self._context = copy_context()
        self.undrawn = 0
        self.next = 0.0
        self._bar: Any = None
        self._do(lambda: self._make(total, description))

    def _make(self, total: int, description: str | None) -> None:
        self._bar = new_bar(total, description)
        self.next = monotonic() + self._bar.mininterval

    def draw(self) -> None:
        """Draw it, if its time has come."""
        if monotonic() >= self.next:
            self._do(self._draw)

    def close(self) -> None:
        """Draw it a last time."""
        self._do(self._close)

    def _close(self) -> None:
        self._draw()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _draw(self) -> None:
        if self._bar is None:
            return
        undrawn, self.undrawn = self.undrawn, 0
        self._bar.update(undrawn)
        self.next = monotonic() + self._bar.mininterval

    def _do(self, function: Callable[[], object]) -> None:
        try:
            self._context.run(function)
        except Exception:
            _log.failure("A bar could not be drawn")
            self._bar = None
