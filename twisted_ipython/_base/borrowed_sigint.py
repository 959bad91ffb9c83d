"""
Ctrl-C while a cell has the reactor.

The goal.  Ctrl-C ends the cell at once, and the reactor works afterwards.

What fails.  Python raises KeyboardInterrupt between any two lines of the main
thread: in the middle of ``callLater`` or of a hand-over it leaves the reactor
half changed.  Raised in a callback, it becomes the failure of a Deferred, and
the cell goes on.

What we do.  A handler of ours stands from a cell's first call of the reactor to
the cell's end.  Where the user's code was interrupted, it raises; where a method
of the reactor's was, that is done when it has returned.  What a library swallowed
is found by its traceback, which then ends in the library's frame, or was taken
away; it interrupts again.  So does one that came in a finalizer, or just after a
call: the thread that checks loans checks these too.

What can still go wrong.  A second Ctrl-C is raised in the middle of a method,
and says what it broke off; but not in our own few lines around it.

Thread: main, unless a docstring says otherwise.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn

from twisted.internet.task import LoopingCall

from twisted_ipython._base.frames import callers, frame_of, is_user_frame, module_of
from twisted_ipython._base.loans import loans

BROKEN_OFF: Final = (
    "{name}() was broken off by a second Ctrl-C, so the reactor may be left in a wrong state"
)
_OURS: Final = "twisted_ipython."
# Where the reactor is called for another thread, or changes hands.
_HOLD: Final = {
    f"{_OURS}{name}"
    for name in ("_plain.borrow", "_base.borrowed_sigint", "_waiting.entry", "_base.loans")
}
# Where an interrupt ends as it should.
_ENDS: Final = ("IPython.", "ipykernel.", "async_kernel.", _OURS)
# It would take the interrupt for a failure of what it calls, and end.
_START: Final = LoopingCall.start.__code__


class _BorrowedSigint:
    """What SIGINT does while the main thread may have the reactor."""

    def __init__(self) -> None:
        # Is called when an interrupt was raised.
        self.when_raised: Callable[[], object] = int
        # A kernel's handler that calls `take`, and is left in its place.
        self.kernels: Any = object()
        self._before: Any = None
        self._stands = False
        # Who clears one of those below is the one who raises it.
        self._lock = threading.RLock()
        self.pending = False  # whether one came during a call that goes on
        self._postponed = False  # whether one came in the middle of a finalizer
        self._raised: BaseException | None = None

    def begin(self) -> None:
        """Take SIGINT until `end`, if this is the main thread and nobody else has it."""
        if threading.current_thread() is not threading.main_thread():
            return
        # None: a handler that is not Python's; what the user set, or nothing, stays as well.
        handler = signal.getsignal(signal.SIGINT)
        self._stands = self._stands or handler in (signal.default_int_handler, self.kernels)
        if handler is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, _take)

    def end(self) -> None:
        """The cell has ended: give SIGINT back, unless somebody else has it.  Thread: any."""
        if not self._stands or threading.current_thread() is not threading.main_thread():
            return
        with self._lock:
            self._stands = False
            self._forget()
        if signal.getsignal(signal.SIGINT) is _take:
            signal.signal(signal.SIGINT, self._before)
        self._forget()  # what came meanwhile came too late

    def translate(self, kernels: type[Exception]) -> Callable[[], None]:
        """Have a handler that raises ``kernels`` raise KeyboardInterrupt; returns the undo."""
        own = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(own):
            return lambda: None

        def take(number: int, frame: FrameType | None) -> None:
            try:
                own(number, frame)
                return
            except kernels:
                pass
            self.take(frame)

        def put_back() -> None:
            if signal.getsignal(signal.SIGINT) is take:
                signal.signal(signal.SIGINT, own)
                self.kernels = before

        before, self.kernels = self.kernels, take
        signal.signal(signal.SIGINT, take)
        return put_back

    def void(self) -> None:
        """This is a forked process.  In its only thread."""
        self._lock = threading.RLock()
        self.end()

    def _forget(self) -> None:
        self.pending = self._postponed = False
        self._raised = None

    def take(self, frame: FrameType | None) -> None:
        """SIGINT came, at that frame: raise KeyboardInterrupt if it may be raised there."""
        held = _held(frame)
        if held == "" or (held and not self.pending):
            self.pending = True
        elif not self._postponed and _finalizes(frame):
            self._postponed = True
        else:
            error = KeyboardInterrupt()
            if held:
                error.add_note(BROKEN_OFF.format(name=held))
            self._raise(error)
        self.when_raised()

    def _raise(self, error: KeyboardInterrupt) -> NoReturn:
        self.pending = self._postponed = False
        if self._stands:
            self._raised = error
            self.when_raised()
        raise error

    def raise_pending(self) -> None:
        """Raise KeyboardInterrupt for what came during a call that has returned.  Thread: any."""
        if self.pending and threading.current_thread() is threading.main_thread():
            outer = (one for one in callers(sys._getframe(1)) if module_of(one) not in _HOLD)
            frame = next(outer, None)
            with self._lock:
                if _held(frame) is None and self.pending:
                    self._raise(KeyboardInterrupt())

    def needs_check(self) -> bool:
        """Whether it is to be checked what became of an interrupt.  Thread: any."""
        return self.pending or self._postponed or self._raised is not None

    def check(self) -> None:
        """Interrupt again if nothing came of an interrupt.  In the thread that checks loans."""
        if not self.needs_check():
            return
        main = threading.main_thread().ident or 0
        now = frame_of(main)
        with self._lock:  # or it might come when the cell has ended
            if self._is_due(now):
                self._forget()
                # A real one: it ends what the thread waits for.
                signal.pthread_kill(main, signal.SIGINT)

    def _is_due(self, now: FrameType | None) -> bool:
        """Whether the main thread, which is at that frame, is to be interrupted again."""
        if self.pending:
            return _held(now) is None
        if self._postponed:
            return not _finalizes(now)
        return self._was_swallowed(now)

    def _was_swallowed(self, now: FrameType | None) -> bool:
        """Whether what was raised has ended in a library's code, which has returned."""
        error = self._raised
        if error is None:
            return False
        # A Deferred takes the traceback off what it keeps.
        reached = None if error.__traceback__ is None else error.__traceback__.tb_frame
        raising = _BorrowedSigint._raise.__code__
        if any(one is reached or one.f_code is raising for one in callers(now)):
            return False  # it is on its way, or the frame goes on
        return reached is None or not (
            is_user_frame(reached) or module_of(reached).startswith(_ENDS)
        )

    def delivered(self) -> None:
        """An exception ends the cell, whatever became of what was raised.  Thread: any."""
        if threading.current_thread() is threading.main_thread():
            with self._lock:
                self._raised = None

    def end_statement(self) -> None:
        """Raise KeyboardInterrupt if one came and a library swallowed it.  Thread: any."""
        if self.needs_check() and threading.current_thread() is threading.main_thread():
            self.raise_pending()
            with self._lock:
                error = self._raised
                if self._was_swallowed(sys._getframe(1)) and error is not None:
                    self._raised = None
                    raise error


# One in the process, as the handler of SIGINT is.
sigint: Final = _BorrowedSigint()


def give_back() -> None:
    """End the loan of this thread, which will wait; raises a pending Ctrl-C.  Thread: any."""
    if loans.current is not None:
        loans.give_back()
        sigint.raise_pending()


def _take(_: int, frame: FrameType | None) -> None:
    sigint.take(frame)


def _held(frame: FrameType | None) -> str | None:
    """The method of the reactor's that a frame is in, "" for our own code; None if in neither."""
    name = ""
    for one in callers(frame):
        module = module_of(one)
        if module in _HOLD or one.f_code is _START:
            return name
        if is_user_frame(one):
            return None
        if not module.startswith(_OURS):
            name = one.f_code.co_name
    return None


def _finalizes(frame: FrameType | None) -> bool:
    """Whether a frame runs for a finalizer, which would swallow what is raised in it."""
    for one in callers(frame):
        if one.f_code.co_name == "__del__":
            return True
        if is_user_frame(one):
            break
    return False
