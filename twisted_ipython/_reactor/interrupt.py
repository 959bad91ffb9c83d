"""
Break synchronous code that holds the reactor thread.

The goal.  Ctrl-C ends ``while True: pass`` in the reactor thread too, whether
the cell's own code runs it or a callback that the cell is stuck behind, and the
reactor works afterwards.

What fails.  Cancelling needs the reactor to turn.  A signal is handled in the
main thread only.  `PyThreadState_SetAsyncExc` makes another thread raise, but
wherever it stands: thrown without a look, the first one killed the reactor's
loop.  KeyboardInterrupt and SystemExit leave asyncio's ``run_forever`` by
design.

What we do.  We throw a BaseException of our own, and only while the thread
stands in the user's code, or in a library that the user's code called, but
neither in asyncio, Twisted and crochet nor in this package: there, an exception
between two lines would leave a task entered or a callback lost.  The look and
the throw happen without another thread running in between, as far as Python
lets us: `_base.switch_interval` keeps the interpreter lock here meanwhile.  A
thread that waits for that lock raises at the very line we saw.  A thread that
is inside C code (``time.sleep``, a lock) would raise some time later, elsewhere:
what has not been raised after `_DELIVERY` seconds is taken back.

What can still go wrong.  The thread may return from C code between the throw
and the taking back, and leave the user's code before it raises.  As a second
line, our own loop has a ``run_forever`` that goes on (`_bridge.call_soon.resuming`).
Code in C that never returns cannot be broken: `Breaker.stuck_at` says where it
is.

Thread: any but the reactor's, unless a docstring says otherwise.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import monotonic, sleep
from typing import Final, Protocol

from twisted.python.threadable import isInIOThread

from twisted_ipython._base import frames
from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.exceptions import ReactorInterrupt
from twisted_ipython._base.formatting import say
from twisted_ipython._base.loans import loans
from twisted_ipython._base.running_loop import shared_off
from twisted_ipython._base.switch_interval import turns_of

FORKED: Final = (
    "This process was forked from the one whose reactor it would need, and a fork has no reactor"
    " thread: run the script in a cell, where it can run again and again, or have multiprocessing"
    " `spawn` the process."
)
STOPPED: Final = (
    "The reactor was stopped, and a reactor cannot be started again in the same process."
    " Restart the kernel (or this program) and load twisted_ipython again."
)
SILENT: Final = "The reactor has not answered for {seconds:g} s; it is at {place}"
STUCK: Final = "The reactor thread is stuck at {place}, in code that cannot be broken."
LEFT_STUCK: Final = (
    "{stuck} The cell was given up. Nothing else runs in the reactor until that code returns; if it"
    " never does, only a restart helps."
)
# Seconds from one check of somebody who waits to the next.  A SIGINT that comes just as the main
# thread begins to block is only handled then.
CHECK_INTERVAL: Final = 0.25
# Steps within which a thread raises what it has set for itself: it does in the first.
_STEPS: Final = 1000
# Seconds without an answer after which a waiting cell says so.
_SILENCE: Final = 5.0
# Seconds that a reactor gets to answer before what holds it is broken, and for how long.
_PATIENCE: Final = 0.1
_BOUND: Final = 2.0

# Seconds for which no other thread gets the interpreter: far more than a look takes.  One that
# had asked for it before gets it all the same, and a loop then keeps it for so long.
_ALONE: Final = 0.1
# Seconds that a throw gets to be raised before it is taken back.
_DELIVERY: Final = 0.05
# Seconds between two checks of a thread that stands where nothing may be thrown.
_INTERVAL: Final = 0.002
# Modules in whose frames an exception between two lines would do harm.
_FRAGILE: Final = ("asyncio", "twisted.internet", "twisted.python", "crochet", "twisted_ipython")


class Reached(Protocol):
    """What is needed of the reactor thread, as `_reactor.thread.ReactorThread` says."""

    ident: int
    process: int
    stopped: bool

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call ``function`` in the reactor thread soon."""


def throw(ident: int, may_break: Callable[[], bool] = lambda: True) -> bool:
    """
    Throw `ReactorInterrupt` into the thread ``ident`` if the user's code holds it.

    Args:
        may_break: whether what it runs now may be broken.

    Returns:
        whether it was raised there; False too if that could not be done without harm.

    Thread: any but the reactor's.
    """
    raised = threading.Event()

    class Thrown(ReactorInterrupt):
        def __init__(self) -> None:
            raised.set()

    # What a log or a traceback calls it is what the user did.
    Thrown.__name__ = Thrown.__qualname__ = "KeyboardInterrupt"
    Thrown.__module__ = "builtins"
    with turns_of(_ALONE):
        if not (may_break() and _may_throw(ident)):
            return False
        set_exception(ident, Thrown)
    if raised.wait(_DELIVERY):
        return True
    take_back(ident)
    # It may have been raised just before it was taken back.
    return raised.wait(_INTERVAL)


def _may_throw(ident: int) -> bool:
    """Whether the thread stands in the user's code, or in what that called and is not fragile."""
    for frame in frames.callers(frames.frame_of(ident)):
        if frames.is_user_frame(frame):
            return True
        if frames.module_of(frame).startswith(_FRAGILE):
            return False
    return False


def set_exception(ident: int, kind: type[BaseException] | None) -> None:
    """Set the exception that a thread is to raise, or none; the interpreter lock is kept."""
    exception = ctypes.py_object() if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), exception)


class _Raised(BaseException):
    """Is raised here and caught, see `take_back`."""


def take_back(ident: int) -> None:
    """
    Take back the exception that a thread was to raise.

    Before Python 3.13 the interpreter notes that some thread has one to raise until one is
    raised.  That note is left when it is taken back: Python 3.11 then loops for ever in the next
    call that is traced, as a debugger's, and both become slower.  So one is raised here.

    Args:
        ident: of the thread.

    Thread: any.
    """
    set_exception(ident, None)
    if sys.version_info < (3, 13):
        with suppress(_Raised):
            set_exception(threading.get_ident(), _Raised)
            for _ in range(_STEPS):
                pass


def break_until(ident: int, answered: Callable[[], bool], patience: float, bound: float) -> None:
    """
    Break what holds the thread ``ident`` until it answers.

    Args:
        answered: whether the reactor turns again.
        patience: seconds that it gets before the first throw.
        bound: seconds after which to stop trying.

    Thread: any but the reactor's.
    """
    begun = monotonic()
    while not answered() and monotonic() - begun < bound:
        if monotonic() - begun >= patience:
            throw(ident)
        sleep(_INTERVAL)


def place_of(ident: int, label: frames.Label) -> str:
    """Where a thread is, at a line of the user's if there is one.  Thread: any."""
    places = frames.of_thread(ident)
    place = next((place for place in places if place.users), places[0] if places else None)
    return "an unknown place" if place is None else label(place)


def wait_for(done: threading.Event, check: Callable[[], float]) -> None:
    """Block until ``done``, or until ``check`` leaves no seconds.  Thread: any."""
    with shared_off():
        while (seconds := check()) > 0 and not done.wait(seconds):
            pass


class Heartbeat:
    """
    Whether the reactor turns, for somebody who waits for it.

    Args:
        thread: the reactor thread.
        label: how to write where it is.
    """

    def __init__(self, thread: Reached, label: frames.Label) -> None:
        self._thread = thread
        self._label = label
        self._checks = 0
        self._asked: float | None = None
        self._said = False

    def begin(self, in_reactor: str) -> None:
        """
        Give the reactor back, which somebody will wait for.

        Args:
            in_reactor: what to say in the reactor thread.

        Raises:
            RuntimeError: in that thread, in a fork, or where the reactor has stopped.

        Thread: any.
        """
        give_back()
        if isInIOThread() or loans.inside == threading.get_ident():
            raise RuntimeError(in_reactor)
        if os.getpid() != self._thread.process:
            raise RuntimeError(FORKED)
        if self._thread.stopped:
            raise RuntimeError(STOPPED)

    def check(self, deadline: float = inf) -> float:
        """Ask, or say that there is no answer; gives the seconds until the next.  Thread: cell."""
        self._checks += 1
        asked = self._asked
        if self._checks == 1:
            pass  # most waits end before the second
        elif asked is None:
            self._ask()
        elif monotonic() - asked > _SILENCE and not self._said:
            self._said = True
            place = place_of(loans.holder(self._thread.ident), self._label)
            say(SILENT.format(seconds=_SILENCE, place=place))
        return min(CHECK_INTERVAL, deadline - monotonic())

    def extend_deadline(self) -> None:
        """Forget that there was no answer.  Thread: cell."""
        self._asked = None

    def free(self) -> None:
        """Break what holds the reactor, if anything does.  Thread: any but the reactor's."""
        self._ask()
        args = self._thread.ident, lambda: self._asked is None, _PATIENCE, _BOUND
        name = "twisted_ipython break"
        threading.Thread(target=break_until, args=args, name=name, daemon=True).start()

    def stuck_at(self) -> str | None:
        """Where the reactor is stuck, in a sentence; None if it turns.  Any other thread."""
        asked = self._asked
        if asked is None or monotonic() - asked < _PATIENCE or loans.current is not None:
            return None
        return STUCK.format(place=place_of(loans.holder(self._thread.ident), self._label))

    def _ask(self) -> None:
        self._asked = monotonic()
        self._thread.call(self._answer)

    def _answer(self) -> None:
        self._asked = None
