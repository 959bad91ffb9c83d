"""
A coroutine that ends when it is told to, whatever it awaits.

What is cancelled gets a CancelledError thrown in, which is what asyncio's own
code relies on: `asyncio.TaskGroup`, `asyncio.wait_for` and `asyncio.timeout`
end their children and count cancellations when they see one.  A user who
presses Ctrl-C writes ``except KeyboardInterrupt``.  So the exception goes in as
it is where the user's code, or a library's, awaits a Deferred or a future by
itself; where a frame of asyncio's or anyio's waits, CancelledError goes in.

What is awaited may clean up, and may swallow the exception: then it returns as
if nothing had happened.  That is seen when a frame of the user's, of those that
waited when the coroutine was interrupted, has gone on though no exception has
reached it.  Then the exception is thrown in again, where the coroutine waits
now.  A ``try`` of such a frame's own that catches it is respected; but where it
then waits at the same instruction again, it is a loop, and only that of the own
frame is respected.

A task that an interrupted coroutine's step cancels, directly or through
`asyncio.gather`, a TaskGroup or `progress`, is interrupted in the same way, and
so are those that it cancels in turn: see `interrupting`.  What is shielded, or
not waited for, is not cancelled, and goes on.

What can still go wrong.  A task that a task factory of the user's made is told
by a cancellation only.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from traceback import walk_tb
from types import FrameType
from typing import Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError

from twisted_ipython._base.frames import Place, frames_of_coroutine, is_user_frame, module_of
from twisted_ipython._base.tracebacks import at_line

_T = TypeVar("_T")

_CANCELLATIONS: Final = (asyncio.CancelledError, CancelledError)
# What lies between who awaits and what is awaited.
_BETWEEN: Final = ("twisted.internet.defer", "twisted_ipython")
# Who relies on CancelledError.
_STRUCTURED: Final = ("asyncio", "anyio")
# How often what swallows it gets the exception within one step: it may do so for ever.
_THROWS: Final = 20


class _Stack:
    """
    What the reactor thread is in the middle of.

    Attributes:
        interrupting: how many blocks of `interrupting`.
        steps: how many steps, which run inside each other.
    """

    interrupting = 0
    steps = 0


# One in the process, as the reactor thread is, and asked thousands of times in a second.
stack: Final = _Stack()


@contextmanager
def interrupting() -> Iterator[None]:
    """Interrupt each task that is cancelled meanwhile, but those of cells and jobs themselves."""
    stack.interrupting += 1
    try:
        yield
    finally:
        stack.interrupting -= 1


def is_interrupting() -> bool:
    """Whether what is cancelled now is to be interrupted."""
    return stack.interrupting > 0


class _Wait(NamedTuple):
    """A coroutine or generator of the user's, its frame, and what that waited for."""

    coro: Any
    frame: FrameType
    awaited: object

    @property
    def has_gone_on(self) -> bool:
        """Whether it waits for something else now."""
        return frame_of(self.coro) is not None and _awaited(self.coro) is not self.awaited


class Interruptible(Generator[Any, Any, _T]):
    """
    Steps a coroutine; ``await Interruptible(coro)`` is as ``await coro``.

    Args:
        coro: the coroutine, or a generator for `inlineCallbacks`.
        is_task: whether it is a task that others wait for: no ``try`` of its own has it go on
            for ever, and it ends as cancelled.

    Attributes:
        own: the coroutine whose frame may handle an interrupt: `coro`, or the statement of
            a cell that it runs.
        told: what it was interrupted with the last time, or None.
    """

    def __init__(
        self, coro: Coroutine[Any, Any, _T] | Generator[Any, Any, _T], *, is_task: bool = False
    ) -> None:
        self.own: Any = coro
        self._coro = coro
        self.cr_await = coro  # for what looks where a coroutine waits
        self._send = coro.send
        # What it is to end with, until that has reached its own frame.
        self._reason: BaseException | None = None
        # What to throw in place of the next CancelledError, or None.
        self._replacement: BaseException | None = None
        # What has been thrown in, and which frames that has reached.
        self._thrown: list[BaseException] = []
        self._reached: list[FrameType] = []
        # Which of the user's waited then, the own one first, and at which line that did.
        self._waits: list[_Wait] = []
        # At which instructions it was interrupted.
        self._places: set[tuple[FrameType, int]] = set()
        self._file, self._line = "", 0
        self.told: BaseException | None = None
        self._is_task = is_task

    @property
    def handled(self) -> bool:
        """Whether it was interrupted, and a ``try`` of its own frame has handled that."""
        return self.told is not None and self._reason is None

    def interrupt(
        self, reason: BaseException, *, replaces: bool = False, at: Place | None = None
    ) -> None:
        """
        Have the coroutine end with an exception, before it is cancelled.

        Args:
            reason: the exception.
            replaces: whether to throw it in place of the next CancelledError.
            at: where the coroutine was interrupted, if it does not wait.

        Thread: reactor.
        """
        self.told = self._reason = reason
        self._note_waits()
        if at is not None:
            self._file, self._line = at.file, at.line
        elif self._waits:
            frame = self._waits[0].frame
            self._file, self._line = frame.f_code.co_filename, frame.f_lineno
        if replaces:
            self._replacement = reason
        self._send = self._send_interrupted

    def _note_waits(self) -> None:
        self._waits = _waits_of(self.own)
        self._places |= {(wait.frame, wait.frame.f_lasti) for wait in self._waits}

    def raise_swallowed(self) -> None:
        """
        Raise what was swallowed, as if it had come where the own frame was interrupted.

        Raises:
            BaseException: what its own frame was to end with, and which has gone on.

        Thread: reactor.
        """
        self._note_reached()
        reason = self._reason
        if reason is not None:
            self._forget()
            raise at_line(reason, self._file, self._line) if self._file else reason

    def _forget(self) -> None:
        """It need not end any more: the exception has reached its own frame."""
        self._reason = self._replacement = None
        for noted in (self._thrown, self._reached, self._waits, self._places):
            noted.clear()

    def _note_reached(self) -> None:
        """Note which frames the exception has reached, and may have been handled in."""
        for error in self._thrown:
            self._reached += [frame for frame, _ in walk_tb(error.__traceback__)]
        if self._waits and self._waits[0].frame in self._reached and not self._is_task:
            self._forget()

    def _is_swallowed(self) -> bool:
        """Whether a frame of the user's has gone on as if there had been no exception."""
        if not any(wait.has_gone_on for wait in self._waits):
            return False
        self._note_reached()
        return any(
            w.has_gone_on
            and (w.frame not in self._reached or (w.frame, w.frame.f_lasti) in self._places)
            for w in self._waits
        )

    def _send_interrupted(self, value: Any) -> Any:
        if self._reason is None:
            return self._coro.send(value)
        return self._step(self._coro.send, value)

    def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        """Step it; what it cancels is interrupted too."""
        with interrupting():
            try:
                return self._throw_again(step(value))
            except BaseException as error:
                if self._is_task and error is self._reason:
                    raise asyncio.CancelledError().with_traceback(error.__traceback__) from None
                raise

    def _throw_again(self, yielded: Any) -> Any:
        """Throw again if it was swallowed; what the coroutine waits for."""
        for _ in range(_THROWS):
            if self._reason is None or not self._is_swallowed():
                break
            self._note_waits()
            self._replacement = None
            yielded = self._throw(self._reason.with_traceback(None))
        return yielded

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
        """Throw into the coroutine; where its place is fit for it, a cancellation's replacement."""
        error = error if value is None else value
        if self._reason is None:
            return self._coro.throw(error)
        if not isinstance(error, _CANCELLATIONS):
            return self._step(self._coro.throw, error)
        if self._replacement is None or _waits_in_structure(self._coro):
            return self._step(self._throw, error)
        replacement, self._replacement = self._replacement, None
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # the coroutine may go on: it was not cancelled
        return self._step(self._throw, replacement)

    def close(self) -> None:
        """Close the coroutine."""
        self._coro.close()


def frame_of(coro: Any) -> FrameType | None:
    """The frame of a coroutine or generator, if it has not ended."""
    frame: FrameType | None = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
    return frame


def _awaited(coro: Any) -> object:
    """What a coroutine's or generator's frame waits for; a ``yield`` never waits for the same."""
    awaited = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)
    return object() if awaited is None else awaited


def _waits_of(own: Any) -> list[_Wait]:
    """Those of the user's that wait: ``own``, what that awaits, and so on."""
    waits: list[_Wait] = []
    coro = own
    while (frame := frame_of(coro)) is not None and (coro is own or is_user_frame(frame)):
        awaited = _awaited(coro)
        waits.append(_Wait(coro, frame, awaited))
        coro = awaited
    return waits


def _waits_in_structure(coro: object) -> bool:
    """Whether a frame of asyncio's or anyio's awaits what the coroutine waits for."""
    for frame in reversed(list(frames_of_coroutine(coro))):
        name = module_of(frame)
        if not name.startswith(_BETWEEN):
            return name.startswith(_STRUCTURED)
    return False
