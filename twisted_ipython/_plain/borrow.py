"""
A thread borrows the reactor: it waits until the reactor's thread stands aside.

The goal.  ``port = reactor.listenTCP(8080, site)`` in a cell that does not
await does what it says, and so does a library that calls the reactor.

What fails.  The reactor may be stuck in somebody's code, may be waiting for
this very thread, may stop before it stands aside, or may live in the process
that this one was forked from.

What we do.  A thread that runs cells waits as for an awaiting cell: it runs
what the reactor thread sends it meanwhile (``input()``, `in_main_thread`), and
Ctrl-C ends the wait and breaks what holds the reactor.  Other threads only
wait.  A request is taken once: by the reactor thread, which lends the reactor,
or by the one who waits no longer, and then nothing is lent.  While a thread runs
what it was sent, which may wait for the reactor too, its request is put off.
A finalizer or a handler of a signal that comes while its thread waits has its
call posted, and gets None.

A cell keeps the reactor until it ends, waits for the reactor, or is found to do
something else (`_plain.returning`).  Other threads keep it for one call.

What can still go wrong.  Whoever holds a lock that code in the reactor thread
waits for waits until Ctrl-C: after 5 s a line says where both are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from time import monotonic
from typing import Any, Final

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.frames import Label, Place, is_debugged, users_place
from twisted_ipython._base.loans import Loan, loans
from twisted_ipython._base.tracebacks import tidy
from twisted_ipython._plain.returning import Watch
from twisted_ipython._private.twisted import is_stopping
from twisted_ipython._reactor.interrupt import STOPPED
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._waiting.cell_thread import BlockingThread
from twisted_ipython._waiting.entry import begin_entry, entry, runs_cells
from twisted_ipython._waiting.work import CellInfo, ReactorWork

SO_WAITS: Final = "{reactor}, and this thread waits for it at {caller}"
IN_DEBUGGER: Final = (
    "The reactor thread stands in a debugger, so nothing can be called in it from here: go on in"
    " the debugger first"
)
# Seconds that a reactor which stands in a debugger gets.
_DEBUGGED: Final = 1.0


class Borrow:
    """
    How other threads than the reactor's call its methods.

    Args:
        thread: the reactor thread.
    """

    def __init__(self, thread: ReactorThread) -> None:
        self._thread = thread
        watch = thread.of(Watch)
        loans.when_kept = sigint.when_raised = watch
        watch.begin()

    def call(self, own: Callable[..., Any], args: Any, kwargs: Any, *, keep: bool = False) -> Any:
        """
        Call a method of the reactor's, or of what it works with, with the reactor borrowed.

        Args:
            own: the method.
            args: its arguments.
            kwargs: those with names.
            keep: whether any thread keeps the reactor for what its caller does next.

        Raises:
            RuntimeError: the reactor is stopped or stopping, or this process was forked
                from the one that has it.
            KeyboardInterrupt: Ctrl-C, when the method has returned.
            BaseException: what the method raises.

        Thread: any but the reactor's.
        """
        if entry.waits or loans.may_not_wait():
            return self._thread.call(partial(own, *args, **kwargs))
        try:
            loan = loans.enter() or self._borrow(keep=keep)
            try:
                return own(*args, **kwargs)
            finally:
                loans.leave(loan)
        finally:
            if sigint.pending:
                sigint.raise_pending()

    def hold(self) -> None:
        """Borrow the reactor for what the caller does next.  Thread: any but the reactor's."""
        if loans.are_needed():
            self.call(int, (), {}, keep=True)

    def _borrow(self, *, keep: bool) -> Loan:
        """Wait for the reactor; gives a loan that is entered."""
        loan = self._ask(keep=keep)
        while loan.ended:  # this thread ran something meanwhile
            loan = self._ask(keep=keep)
        return loan

    def _ask(self, *, keep: bool) -> Loan:
        cell_thread = BlockingThread()
        entry.waits = True
        try:
            if runs_cells():
                begin_entry()
                keep = True
            loan: Loan = _Request(self._thread, cell_thread, kept=keep).wait_in_thread()
        finally:
            entry.waits = False
        if cell_thread.interrupted:
            loans.leave(loan)
            raise KeyboardInterrupt
        return loan


# ---- a request


class _Request(ReactorWork):
    """
    A request for the reactor, as what a cell thread waits for.

    Its context keeps the numbers of the work that asks.
    """

    def __init__(self, thread: ReactorThread, cell_thread: BlockingThread, *, kept: bool) -> None:
        super().__init__(thread, cell_thread, CellInfo(label=_of_both(thread.label)))
        self._loan = Loan(cell_thread.thread, kept=kept)
        # For whoever takes it: the reactor's thread, or the one that waits no longer.
        self._todo = [self._loan]
        self._began = monotonic()
        self._error: BaseException | None = None

    def result(self) -> Loan:
        """See `ReactorWork`: the loan."""
        if self._error is None:
            return self._loan
        if not self._withdrawn:
            loans.leave(self._loan)
        tidy(self._error)
        raise self._error

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """See `_waiting.cell_thread.Waitable`."""
        is_put_off = self._take()
        if not is_put_off:
            loans.end(self._loan)
        entry.waits = False
        try:
            yield
        finally:
            entry.waits = True
            if is_put_off:
                self._todo.append(self._loan)
                if self._error is None:
                    self.begin()
                else:
                    self._withdraw(self._error)

    # ---- whoever takes it

    _withdrawn = False

    def _take(self) -> bool:
        """Whether the caller is the first who asks."""
        try:
            self._todo.pop()
        except IndexError:
            return False
        return True

    def _withdraw(self, error: BaseException) -> None:
        """End without a loan, unless it was lent; the waiting thread, or the reactor's."""
        if self._take():
            self._withdrawn = True
            self._error = error
            self._end_wait()

    def stop(self) -> None:
        """See `ReactorWork`."""
        self._withdraw(RuntimeError(STOPPED))

    # ---- what the cell thread calls

    def begin(self) -> None:
        """See `_waiting.cell_thread.Waitable`."""
        self._reactor.call(loans.lend, self._loan, self._take, self._end_wait)

    def check(self) -> float:
        """See `_waiting.cell_thread.Waitable`: whether the reactor answers, and goes on."""
        seconds = self._heartbeat.check()
        if is_stopping(self._reactor.reactor) or not threading.main_thread().is_alive():
            self._withdraw(RuntimeError(STOPPED))
        elif monotonic() - self._began > _DEBUGGED and is_debugged(self._reactor.ident):
            self._withdraw(RuntimeError(IN_DEBUGGER))
        return seconds

    def interrupt(self) -> None:
        """Ask no longer, and break what holds the reactor."""
        self._error = KeyboardInterrupt()
        self._heartbeat.free()
        self._withdraw(self._error)


def _of_both(label: Label) -> Label:
    """How to write where the reactor is and where the thread that waits for it is."""
    ident = get_ident()

    def both(reactor: Place) -> str:
        mine = users_place(ident)
        if mine is None:
            return label(reactor)
        return SO_WAITS.format(reactor=label(reactor), caller=label(mine))

    return both
