"""
A coroutine into which another exception than CancelledError can be thrown.

What is cancelled gets a CancelledError thrown in, which is what asyncio's own
code relies on: `asyncio.TaskGroup`, `asyncio.wait_for` and `asyncio.timeout`
end their children and count cancellations when they see one.  A user who
presses Ctrl-C writes ``except KeyboardInterrupt``.  So the exception goes in as
it is where the user's code, or a library's, awaits a Deferred or a future by
itself; where a frame of asyncio's or anyio's waits, CancelledError goes in.

Runs in the reactor thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError

from twisted_ipython._stack import frames_of_coroutine

__all__ = ["Interruptible"]

_T = TypeVar("_T")

_CANCELLATIONS: Final = (asyncio.CancelledError, CancelledError)
# What lies between who awaits and what is awaited.
_BETWEEN: Final = ("twisted.internet.defer", "twisted_ipython")
# Who relies on CancelledError.
_STRUCTURED: Final = ("asyncio", "anyio")


class Interruptible(Generator[Any, Any, _T]):
    """
    Steps a coroutine; ``await Interruptible(coro)`` is as ``await coro``.

    Attributes:
        instead: what to throw in place of the next CancelledError, or None.
    """

    def __init__(self, coro: Coroutine[Any, Any, _T]) -> None:
        self.instead: BaseException | None = None
        self._coro = coro
        self.cr_await = coro  # for what looks where a coroutine waits
        self._send = coro.send

    def __await__(self) -> Generator[Any, Any, _T]:
        return self

    def __next__(self) -> Any:
        return self._send(None)

    def send(self, value: Any) -> Any:
        """Step the coroutine."""
        return self._send(value)

    def throw(self, error: Any, value: Any = None, _traceback: Any = None, /) -> Any:
        """Throw into the coroutine, `instead` if that is meant and its place is fit for it."""
        error = error if value is None else value
        if self.instead is None or not isinstance(error, _CANCELLATIONS):
            return self._coro.throw(error)
        if _waits_in_structure(self._coro):
            return self._coro.throw(error)
        instead, self.instead = self.instead, None
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # the coroutine may go on: it was not cancelled
        return self._coro.throw(instead)

    def close(self) -> None:
        """Close the coroutine."""
        self._coro.close()


def _waits_in_structure(coro: Coroutine[Any, Any, Any]) -> bool:
    """Whether a frame of asyncio's or anyio's awaits what the coroutine waits for."""
    for frame in reversed(list(frames_of_coroutine(coro))):
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith(_BETWEEN):
            return name.startswith(_STRUCTURED)
    return False
