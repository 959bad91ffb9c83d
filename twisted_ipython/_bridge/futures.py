"""
Futures of our loop, which coroutines of both worlds can await.

Thread: reactor, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


def await_future(self: asyncio.Future[_T]) -> Generator[Any, Any, _T]:
    """Await a future of our loop, whoever drives the coroutine."""
    try:
        if not self.done():
            self._asyncio_future_blocking = True
            # A Task sends None when it is done.  Twisted's driver sends back at once what it
            # does not know, and waits for a Deferred.
            if (yield self) is self:
                self._asyncio_future_blocking = False
                yield _deferred_of(self)
        if not self.done():
            raise RuntimeError("await wasn't used with future")
        return self.result()
    finally:
        del self  # or the exception, its traceback and the future keep each other alive


def _deferred_of(future: asyncio.Future[Any]) -> Deferred[None]:
    """A Deferred that fires with None once the future is done; cancelling it cancels that."""

    def cancel(_: object) -> None:
        future.cancel()

    deferred: Deferred[None] = Deferred(cancel)

    def done(_: object) -> None:
        if not deferred.called:
            deferred.callback(None)

    future.add_done_callback(done)
    return deferred


class BridgedFuture(asyncio.Future[_T]):
    """A future that coroutines driven by asyncio and by Twisted can await."""

    __await__ = __iter__ = await_future


class Mirror(asyncio.Future[None]):
    """
    A future of our loop that is done when one of another running loop is.

    Cancelling it cancels the other future, which has the say about what comes
    of that: a task may need time to end, or go on.

    Args:
        future: the future of the other loop.
        loop: ours.

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
