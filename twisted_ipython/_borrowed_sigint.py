"""
Ctrl-C while a cell has the reactor.

The goal.  Ctrl-C ends the cell at once, and the reactor, its loop and its
connections work afterwards.

What fails.  Python raises KeyboardInterrupt between any two lines of the main
thread.  In the middle of ``callLater``, of asyncio's heap or of a hand-over
it leaves the reactor half changed.  Raised in a callback, it becomes the
failure of a Deferred, and the cell goes on.

What we do.  A handler of ours stands from a cell's first call of the reactor to
the cell's end.  It looks at the frame that was interrupted: the user's code is
interrupted there.  A method of the reactor's is not: the interrupt is raised
when it has returned.  What a library swallowed is found by its traceback, which
then ends in the library's frame, and interrupts again.

What can still go wrong.  A second Ctrl-C is raised wherever it comes, and says
what it broke off.

In the main thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn

from twisted_ipython._loans import loans
from twisted_ipython._stack import is_users

__all__ = ["give_back", "sigint"]

BROKEN_OFF: Final = "{name}() was broken off by a second Ctrl-C, so the reactor may not be whole"
_OURS: Final = "twisted_ipython."
# Where the reactor is called for another thread, or changes hands.
_HOLD: Final = {f"{_OURS}{name}" for name in ("_borrow", "_borrowed_sigint", "_loans")}


class _BorrowedSigint:
    """
    What SIGINT does while the main thread may have the reactor.

    Attributes:
        when_raised: is called when an interrupt was raised.
        pending: whether one came during a call that goes on.
    """

    def __init__(self) -> None:
        self.when_raised: Callable[[], object] = int
        self._before: Any = None
        self._lock = threading.Lock()
        self._stands = False
        self.pending = False
        self._raised: BaseException | None = None
        # Whether one came in the middle of a finalizer.
        self._postponed = False

    def begin(self) -> None:
        """Take SIGINT until `end`, if this is the main thread.  Any thread."""
        if self._stands or threading.current_thread() is not threading.main_thread():
            return
        # None: a handler that is not Python's; what the user set, or nothing, stays as well.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._stands = True
            self._before = signal.signal(signal.SIGINT, _take)

    def end(self) -> None:
        """The cell has ended: give SIGINT back, unless somebody else has it.  Any thread."""
        if not self._stands or threading.current_thread() is not threading.main_thread():
            return
        with self._lock:
            self._stands = self.pending = self._postponed = False
            self._raised = None
        if signal.getsignal(signal.SIGINT) is _take:
            signal.signal(signal.SIGINT, self._before)
        self.pending = False  # what came meanwhile came too late

    def take(self, frame: FrameType | None) -> None:
        """SIGINT came."""
        if _finalizes(frame):
            self._postponed = True
            self.when_raised()
            return
        held = _held(frame)
        if held is not None and not self.pending:
            self.pending = True
            return
        error = KeyboardInterrupt()
        if held:
            error.add_note(BROKEN_OFF.format(name=held))
        self.pending = False
        self._raise(error)

    def _raise(self, error: KeyboardInterrupt) -> NoReturn:
        self._raised = error
        self.when_raised()
        raise error

    def raise_pending(self) -> None:
        """
        Raise what came during a call that has returned.  Any thread.

        Raises:
            KeyboardInterrupt: there was a Ctrl-C.
        """
        if self.pending and threading.current_thread() is threading.main_thread():
            self.pending = False
            self._raise(KeyboardInterrupt())

    def is_raised(self) -> bool:
        """Whether it is to be looked after what became of an interrupt.  Any thread."""
        return self._postponed or self._raised is not None

    def look(self) -> None:
        """Interrupt again if a library swallowed the interrupt.  Any other thread."""
        now = sys._current_frames().get(threading.main_thread().ident or 0)
        with self._lock:  # or it might come when the cell has ended
            if self._stands and (self._postponed or self._was_swallowed(now)):
                self._postponed = False
                self._raised = None
                _thread.interrupt_main(signal.SIGINT)

    def _was_swallowed(self, now: FrameType | None) -> bool:
        """Whether what was raised has ended in a library's code, which has returned."""
        error = self._raised
        if error is None or error.__traceback__ is None:
            return False
        reached = error.__traceback__.tb_frame
        while now is not None:
            if now is reached:
                return False  # it is on its way, or the frame goes on
            now = now.f_back
        return not _ends_in(reached)

    def end_statement(self) -> None:
        """
        A statement has ended without an exception.  Any thread.

        Raises:
            KeyboardInterrupt: Ctrl-C came meanwhile, and a library swallowed it.
        """
        if self.is_raised() and threading.current_thread() is threading.main_thread():
            error = self._raised
            if self._was_swallowed(sys._getframe(1)) and error is not None:
                self._raised = None
                raise error


sigint: Final = _BorrowedSigint()


def give_back() -> None:
    """
    End the loan of this thread, if it has the reactor: it is going to wait.  Any thread.

    Raises:
        KeyboardInterrupt: Ctrl-C came meanwhile.
    """
    if loans.current is not None:
        loans.give_back()
        sigint.raise_pending()


def _take(_: int, frame: FrameType | None) -> None:
    sigint.take(frame)


def _held(frame: FrameType | None) -> str | None:
    """The method of the reactor's that a frame is in, "" for our own code; None if in neither."""
    name = ""
    while frame is not None:
        if frame.f_globals.get("__name__") in _HOLD:
            return name
        if is_users(frame):
            return None
        name = frame.f_code.co_name
        frame = frame.f_back
    return None


def _finalizes(frame: FrameType | None) -> bool:
    """Whether a frame runs for a finalizer, which would swallow what is raised in it."""
    while frame is not None and not is_users(frame):
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "__del__"


def _ends_in(frame: FrameType) -> bool:
    """Whether an interrupt that reached a frame has ended there as it should."""
    name = str(frame.f_globals.get("__name__", ""))
    return is_users(frame) or name.startswith(("IPython.", "ipykernel.", _OURS))
