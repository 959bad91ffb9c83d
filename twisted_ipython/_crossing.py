"""
One call that another thread makes in the reactor thread, and waits for.

The goal.  The caller blocks for as long as the call takes, which is next to
nothing, and gets what it returns or raises.  It never blocks for good.

What fails.  The reactor may be stuck in somebody's code, may be waiting for
this very thread, may stop before it comes to the call, or may live in the
process that this one was forked from.

What we do.  A thread that runs cells waits as for an awaiting cell: it runs
what the reactor thread sends it meanwhile (``input()``, `in_main_thread`), and
Ctrl-C ends the wait and breaks what holds the reactor.  Other threads only
wait.  A call is taken once: by the reactor thread, which makes it, or by the
one who waits no longer, and then it is never made.

What can still go wrong.  Whoever holds a lock that code in the reactor thread
waits for waits until Ctrl-C: after 5 s a line says where both are.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Final, TypeVar, cast

from twisted_ipython._crochet import FORKED, STOPPED
from twisted_ipython._home import BlockingHome, run_blocking
from twisted_ipython._reactor_thread import ReactorThread
from twisted_ipython._stack import Label, Place, of_thread
from twisted_ipython._traceback import tidy
from twisted_ipython._waited import LOOK, Typed, Waited

__all__ = ["cross"]

_T = TypeVar("_T")

SO_WAITS: Final = "{reactor}, and this thread waits for it at {caller}"
# Seconds that a call which runs gets to end after Ctrl-C, and a reactor to answer
# once the main thread has ended.
_GRACE: Final = 1.0


def cross(thread: ReactorThread, function: Callable[[], _T]) -> _T:
    """
    Call ``function`` in the reactor thread, in a copy of this context, and wait for it.

    Any thread but the reactor's.

    Raises:
        RuntimeError: the reactor is stopped or stopping, or this process was forked
            from the one that has it.
        KeyboardInterrupt: Ctrl-C, in the main thread or that of a subshell; a call
            that had not begun is not made.
        BaseException: what ``function`` raises.
    """
    if thread.process != os.getpid():
        raise RuntimeError(FORKED)
    if _is_stopping(thread):
        raise RuntimeError(STOPPED)
    home = BlockingHome()
    call = _Call(thread, home, function)
    if _runs_cells():
        run_blocking(call.wait())
        if home.interrupted:
            raise KeyboardInterrupt
    else:
        call.wait_plainly()
    return cast(_T, call.result())


def _is_stopping(thread: ReactorThread) -> bool:
    """Whether the reactor was told to stop.  Any thread."""
    # Twisted's own (24.10 to 26.10): `running` stays true until all triggers have run.
    return bool(thread.reactor._stopped)


def _runs_cells() -> bool:
    """Whether cells are typed in this thread: the main one, or one with a loop of its own."""
    main = threading.current_thread() is threading.main_thread()
    return main or asyncio._get_running_loop() is not None


def _of_both(label: Label) -> Label:
    """How to write where the reactor is and where the thread that waits for it is."""

    def both(reactor: Place) -> str:
        mine = next((place for place in of_thread(get_ident()) if place.users), None)
        if mine is None:
            return label(reactor)
        return SO_WAITS.format(reactor=label(reactor), caller=label(mine))

    return both


class _Call(Waited):
    """
    The call, as what a home waits for.

    Its context keeps the numbers of the work that makes the call.
    """

    def __init__(
        self, thread: ReactorThread, home: BlockingHome, function: Callable[[], Any]
    ) -> None:
        super().__init__(thread, home, Typed(label=_of_both(thread.label)))
        self._todo = [function]
        self._value: Any = None
        self._error: BaseException | None = None
        self._interrupted: float | None = None

    def wait_plainly(self) -> None:
        """Wait in a thread that runs no cells."""
        done = threading.Event()
        self.begin()
        self.when_done(done.set)
        while not done.wait(self.look()):
            pass

    def result(self) -> Any:
        """See `Waited`."""
        error = self._error
        if self._interrupted is not None:
            error = KeyboardInterrupt()
            if self.given_up:
                error.add_note(self._pulse.stuck_at() or "")
        if error is not None:
            tidy(error)
            raise error
        return self._value

    # ---- whoever takes it

    def _take(self) -> Callable[[], Any] | None:
        """The function, for the first who asks."""
        try:
            return self._todo.pop()
        except IndexError:
            return None

    def _run(self) -> None:
        """Make the call; in the reactor thread."""
        function = self._take()
        if function is None:
            return
        try:
            self._value = self._context.run(function)
        except BaseException as error:
            self._error = error
        self._end_wait()

    def _withdraw(self, error: BaseException) -> bool:
        """End without the call, unless it has begun; the waiting thread."""
        if self._take() is None:
            return False
        self._error = error
        self._end_wait()
        return True

    def stop(self) -> None:
        """See `Waited`."""
        self._withdraw(RuntimeError(STOPPED))

    # ---- what the home calls

    def begin(self) -> None:
        """See `_home.Waits`."""
        self._reactor.call(self._run)

    def look(self) -> float:
        """See `_home.Waits`: whether the reactor answers, and goes on."""
        self._pulse.look()
        main = threading.main_thread()
        if _is_stopping(self._reactor) or not main.is_alive():
            self._withdraw(RuntimeError(STOPPED))
        elif self._interrupted is not None and monotonic() - self._interrupted > _GRACE:
            self._give_up_waiting()
        return LOOK

    def interrupt(self) -> None:
        """Do not make the call; break it if it runs; the second time, stop waiting for it."""
        if self._interrupted is not None:
            self._give_up_waiting()
            return
        self._interrupted = monotonic()
        self._pulse.free()
        self._withdraw(KeyboardInterrupt())

    def _give_up_waiting(self) -> None:
        self.given_up = True
        self._end_wait()
