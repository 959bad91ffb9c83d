"""
Who has the reactor: its own thread, or one that borrowed it.

The goal.  Another thread may call the reactor as if it were the reactor's own;
meanwhile the reactor's thread stands still between two callbacks, or both would
change the same lists and heaps.

What we do.  A loan is in one state under one lock: lent, in use or ended.  A
call enters the loan, and leaves it.  A loan ends only while nobody is inside,
which is checked under the same lock.  The reactor's thread waits in one call
of a queue meanwhile, so that it runs nothing of its own accord.  A finalizer or
a handler of a signal that comes in the middle of it must not wait
(`may_not_wait`).

What can still go wrong.  A thread that never leaves a borrowed call keeps the
reactor, as code in the reactor's thread would that never returns.

Thread: any, unless a docstring says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from threading import get_ident
from time import monotonic
from typing import Final, TypeVar

from twisted.python import threadable

from twisted_ipython._private.asyncio import owns

_T = TypeVar("_T")

BORROWED: Final = "a cell in {thread} has borrowed it"
# Seconds for which one loan may last while it is in use again and again.
_LONGEST: Final = 2.0


class Loan:
    """The reactor, lent once to a thread, which may keep it after a call."""

    def __init__(self, ident: int, *, kept: bool) -> None:
        self.ident = ident
        self.owner = ident  # soon the reactor's thread
        self.kept = kept
        self.ended = False
        self.calls = 0  # made with it
        self.since = monotonic()
        # What the reactor's thread is to run while it stands aside; None ends that.
        self.inbox: SimpleQueue[Callable[[], object] | None] = SimpleQueue()


class Loans:
    """The loans of the reactor, one at a time."""

    def __init__(self) -> None:
        # Whether other threads are to borrow the reactor; else they call it as it is.
        self.on = False
        # The thread that is in a borrowed call now, and the loan that has not ended.
        self.inside: int | None = None
        self.current: Loan | None = None
        # The thread that checks loans, which can wait for none; what is called when one is kept.
        self.watcher: int | None = None
        self.when_kept: Callable[[], object] = int
        # One that knows its owner, for what comes in the middle.
        self._lock = threading.RLock()

    # ---- the reactor's thread

    def lend(self, loan: Loan, wanted: Callable[[], bool], tell: Callable[[], object]) -> None:
        """
        Stand aside until a loan ends.

        Args:
            loan: the loan, which is entered for its thread.
            wanted: whether that thread still waits for it; asked once.
            tell: has that thread go on.

        Thread: reactor, between two callbacks.
        """
        with self._lock:
            if not wanted():
                return
            loan.since = monotonic()
            self.current = loan
            loan.owner = get_ident()
            self.inside = loan.ident
            threadable.ioThread = loan.ident  # type: ignore[assignment]  # an int
        tell()
        if loan.kept:
            self.when_kept()
        while (function := loan.inbox.get()) is not None:
            function()

    # ---- the thread that borrowed it

    def may_not_wait(self) -> bool:
        """Whether this thread can wait for no loan: it is in the middle of one, or ends them."""
        return get_ident() == self.watcher or owns(self._lock)

    def enter(self) -> Loan | None:
        """Begin a call with the loan of this thread; None if it has none."""
        with self._lock:
            loan = self.current
            if loan is None or loan.ident != get_ident():
                return None
            if monotonic() - loan.since < _LONGEST:
                self.inside = loan.ident
                return loan
            self._end(loan)
        return None

    def leave(self, loan: Loan) -> None:
        """End a call that was begun."""
        with self._lock:
            if loan.ended:
                return
            loan.calls += 1
            self.inside = None
            if not loan.kept:
                self._end(loan)

    def give_back(self) -> None:
        """End the loan of this thread, unless it is in a call."""
        loan = self.current
        if loan is not None and loan.ident == get_ident():
            self.end_unless(lambda one: one is not loan or self.inside is not None)

    def end_unless(self, stays: Callable[[Loan], bool]) -> None:
        """End the current loan unless that is to stay, which is asked under the lock."""
        with self._lock:
            loan = self.current
            if loan is not None and not stays(loan):
                self._end(loan)

    def end(self, loan: Loan) -> None:
        """End a loan, in a call or not."""
        self.end_unless(lambda one: one is not loan)

    def end_of_gone(self) -> None:
        """End the current loan if its thread has ended."""
        alive = {one.ident for one in threading.enumerate() if one.is_alive()}
        self.end_unless(lambda loan: loan.ident in alive)

    def void(self) -> None:
        """End the current loan whoever has it: this is a forked process.  In its only thread."""
        self._lock = threading.RLock()
        self.end_unless(lambda _: False)

    def _end(self, loan: Loan) -> None:
        loan.ended = True
        self.current = self.inside = None
        threadable.ioThread = loan.owner  # type: ignore[assignment]  # an int
        loan.inbox.put(None)

    def in_reactor(self, function: Callable[[], _T]) -> _T:
        """What ``function`` gives in the reactor's thread, for the one that is in a call."""
        loan = self.current
        assert loan is not None
        given: list[_T] = []
        raised: list[BaseException] = []
        done: SimpleQueue[None] = SimpleQueue()

        def run() -> None:
            try:
                given.append(function())
            except BaseException as error:
                raised.append(error)
            done.put(None)

        loan.inbox.put(run)
        done.get()
        if raised:
            raise raised[0]
        return given[0]

    # ---- what others ask

    def holder(self, ident: int) -> int:
        """The thread that has the reactor, whose own thread is ``ident``."""
        loan = self.current
        return ident if loan is None else loan.ident

    def borrower(self) -> str | None:
        """Who has borrowed the reactor, in words; None if nobody has."""
        loan = self.current
        if loan is None:
            return None
        names = [one.name for one in threading.enumerate() if one.ident == loan.ident]
        return BORROWED.format(thread=names[0] if names else loan.ident)

    def are_needed(self) -> bool:
        """Whether this thread, which is not the reactor's, has to borrow it for a call."""
        return self.on and self.inside != get_ident()


# One in the process, as the reactor is; below everything that knows its thread.
loans: Final = Loans()
