"""
A coroutine that ends when it is told to, whatever it awaits.

What is cancelled gets a CancelledError thrown in, which is what asyncio's own
code relies on: `asyncio.TaskGroup`, `asyncio.wait_for` and `asyncio.timeout`
end their children and count cancellations when they see one.  A user who
presses Ctrl-C writes ``except KeyboardInterrupt``.  So the exception goes in as
it is where the user's code, or a library's, awaits a Deferred or a future by
itself; where a frame of asyncio's or anyio's waits, CancelledError goes in.

What is awaited may clean up, and may swallow the exception: then it returns as
if nothing had happened.  That is seen when the coroutine's own frame has gone
on from where it was interrupted, and no exception has reached it.  Then the
exception is thrown in again, where the coroutine waits now.  A ``try`` of the
coroutine's own that catches it is respected.

Runs in the reactor thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from traceback import walk_tb
from types import FrameType
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError

from twisted_ipython._base.frames import frames_of_coroutine, module_of
from twisted_ipython._base.tracebacks import at_line

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
        own: the coroutine whose frame may handle an interrupt: `coro`, or the statement of
            a cell that it runs.
        told: whether it was interrupted.
    """

    def __init__(self, coro: Coroutine[Any, Any, _T]) -> None:
        self.own: Coroutine[Any, Any, Any] = coro
        self._coro = coro
        self.cr_await = coro  # for what looks where a coroutine waits
        self._send = coro.send
        # What it is to end with, until that has reached its own frame.
        self._reason: BaseException | None = None
        # What to throw in place of the next CancelledError, or None.
        self._instead: BaseException | None = None
        # What has been thrown in, and what the own frame waited for before, and at which line.
        self._thrown: list[BaseException] = []
        self._awaited: object = None
        self._file, self._line = "", 0
        self.told = False

    def interrupt(self, reason: BaseException, *, instead: bool = False) -> None:
        """
        Have the coroutine end with an exception, before it is cancelled.

        Args:
            reason: the exception.
            instead: whether to throw it in place of the next CancelledError.
        """
        self.told = True
        frame = _frame(self.own)
        self._reason = reason
        self._awaited = _awaited(self.own)
        if frame is not None:
            self._file, self._line = frame.f_code.co_filename, frame.f_lineno
        if instead:
            self._instead = reason
        self._send = self._send_and_look

    @property
    def swallowed(self) -> BaseException | None:
        """What its own frame was to end with, if that has gone on as if there had been nothing."""
        if self._reason is None:
            return None
        code = getattr(self.own, "cr_code", None)
        if any(f.f_code is code for one in self._thrown for f, _ in walk_tb(one.__traceback__)):
            self.forget()
        return self._reason

    def raise_swallowed(self) -> None:
        """Raise what was swallowed, as if it had come where the own frame was interrupted."""
        reason = self.swallowed
        if reason is not None:
            self.forget()
            raise at_line(reason, self._file, self._line) if self._file else reason

    def forget(self) -> None:
        """It need not end any more: the exception has reached its own frame."""
        self._reason = self._instead = None
        self._thrown.clear()

    def _send_and_look(self, value: Any) -> Any:
        return self._look(self._coro.send(value))

    def _look(self, yielded: Any) -> Any:
        """Throw again if the own frame has gone on; what the coroutine waits for."""
        if _awaited(self.own) is self._awaited or self.swallowed is None:
            return yielded
        reason = self._reason
        assert reason is not None
        self._awaited = _awaited(self.own)
        self._instead = None
        return self._look(self._throw(reason))

    def _throw(self, error: BaseException) -> Any:
        self._thrown.append(error)
        return self._coro.throw(error)

    def __await__(self) -> Generator[Any, Any, _T]:
        return self

    def __next__(self) -> Any:
        return self._send(None)

    def send(self, value: Any) -> Any:
        """Step the coroutine."""
        return self._send(value)

    def throw(self, error: Any, value: Any = None, _traceback: Any = None, /) -> Any:
        """Throw into the coroutine, what was meant instead if its place is fit for it."""
        error = error if value is None else value
        if self._reason is None or not isinstance(error, _CANCELLATIONS):
            return self._coro.throw(error)
        if self._instead is None or _waits_in_structure(self._coro):
            return self._look(self._throw(error))
        instead, self._instead = self._instead, None
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # the coroutine may go on: it was not cancelled
        return self._look(self._throw(instead))

    def close(self) -> None:
        """Close the coroutine."""
        self._coro.close()


def _frame(coro: Any) -> FrameType | None:
    frame: FrameType | None = getattr(coro, "cr_frame", None)
    return frame


def _awaited(coro: Any) -> object:
    """What a coroutine's own frame waits for."""
    return getattr(coro, "cr_await", None)


def _waits_in_structure(coro: Coroutine[Any, Any, Any]) -> bool:
    """Whether a frame of asyncio's or anyio's awaits what the coroutine waits for."""
    for frame in reversed(list(frames_of_coroutine(coro))):
        name = module_of(frame)
        if not name.startswith(_BETWEEN):
            return name.startswith(_STRUCTURED)
    return False
