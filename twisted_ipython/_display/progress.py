"""
`progress`: wait for many things at once, with a bar.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from concurrent.futures import Future
from functools import partial
from inspect import isawaitable
from threading import get_ident
from time import monotonic
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._bridge.driven import cancel
from twisted_ipython._bridge.ending import Ending
from twisted_ipython._display.progress_bar import Bar
from twisted_ipython._private.twisted import mark_handled
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._reactor.thread import ReactorThread

_T = TypeVar("_T")
_Part = Deferred[Any] | asyncio.Future[Any]
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

    Thread: reactor.
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
    bar = Bar(len(items), description)
    work = _Work(thread, items, bar)
    try:
        await work.ended
    except BaseException:
        work.cancel()  # for a coroutine that is closed while it waits
        raise
    finally:
        bar.close()
    return work.results


class _Work:
    """Many things that are waited for; what has not begun is begun."""

    def __init__(self, thread: ReactorThread, items: list[Any], bar: Bar) -> None:
        self.results: list[Any] = [_PENDING] * len(items)
        # Fires when all have ended; with the first failure, if there is one.
        self.ended = Ending(self.cancel)
        self._bar = bar
        self._thread = thread
        self._ident = thread.ident
        self._left = len(items)
        self._reason: Failure | None = None
        # All, before any is followed: one that has failed before cancels those after it.
        self._parts = [_begun(item, thread) for item in items]
        # Where a future's result goes; a `partial` each is three objects more to be collected.
        self._indexes: dict[int, int] = {}
        for index, part in enumerate(self._parts):
            if isinstance(part, Deferred):
                part.addBoth(self._fired, index, part)
            elif self._indexes.setdefault(id(part), index) == index:
                part.add_done_callback(self._done)
            else:  # the same future again
                part.add_done_callback(partial(self._done, index=index))

    def _fired(self, result: Any, index: int, deferred: Deferred[Any]) -> Any:
        """Take a Deferred's result, which stays its result.  In the thread that fires it."""
        stays = mark_handled(deferred, result) if isinstance(result, Failure) else result
        if get_ident() == self._ident:
            self._take(index, result)
        else:
            self._thread.call(self._take, index, result)
        return stays

    def _done(self, future: asyncio.Future[Any], index: int | None = None) -> None:
        self._take(self._indexes[id(future)] if index is None else index, _result_of(future))

    def _take(self, index: int, result: Any) -> None:
        self.results[index] = result
        self._left -= 1
        if not isinstance(result, Failure):
            bar = self._bar
            bar.undrawn += 1  # here, since thousands of Deferreds feel each call
            if monotonic() >= bar.next:
                bar.draw()
        elif self._reason is None:
            self.cancel(result)
        if not self._left and not self.ended.called:
            self.ended.callback(self._reason)

    def cancel(self, reason: Failure | None = None) -> None:
        """Cancel what is left; what has failed by then is no longer the reason."""
        self._reason = reason or Failure(CancelledError())
        for result, part in zip(self.results, self._parts, strict=True):
            if result is _PENDING:
                try:
                    cancel(part) if isinstance(part, Deferred) else part.cancel()
                except Exception:
                    _log.failure("A canceller failed")


def _begun(item: Any, thread: ReactorThread) -> _Part:
    """A Deferred, or a future of the reactor's loop, for anything that can be waited for."""
    loop = thread.loop
    if isinstance(item, Deferred) or (asyncio.isfuture(item) and item.get_loop() is loop):
        return item
    if isinstance(item, Future):
        return _deferred_of(item, thread)
    coro = item if asyncio.iscoroutine(item) else _await(item)
    return ensureDeferred(coro) if loop is None else loop.create_task(coro)


def _deferred_of(future: Future[Any], thread: ReactorThread) -> Deferred[Any]:
    """A Deferred that fires with a future of threads."""

    def stop(_: object) -> None:
        future.cancel()

    def fire() -> None:
        if not deferred.called:
            deferred.callback(_result_of(future))

    deferred: Deferred[Any] = Deferred(stop)
    future.add_done_callback(lambda _: thread.call(fire))
    return deferred


async def _await(item: Awaitable[_T]) -> _T:
    """Await what need not be a coroutine."""
    return await item


def _result_of(future: asyncio.Future[Any] | Future[Any]) -> Any:
    """What a future that is done holds, as a Deferred would."""
    if future.cancelled():
        return Failure(asyncio.CancelledError())
    error = future.exception()
    return future.result() if error is None else Failure(error)
