"""Who has the reactor, and when it goes back: `_base.loans`, in memory."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from time import sleep

import pytest
from session import SECONDS, Session, eventually, in_reactor_thread
from standing import Standing
from twisted.python import threadable

from twisted_ipython._base.frames import is_debugged
from twisted_ipython._base.loans import Loan, Loans, loans
from twisted_ipython._plain.returning import Watch


class Reactor:
    """A thread that runs what it is sent, as a reactor thread does, ended with the ``with``."""

    def __init__(self) -> None:
        self.loans = Loans()
        self.ended: list[BaseException] = []
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Reactor:
        self._owner = threadable.ioThread
        self._thread.start()
        self.ident = self._thread.ident or 0
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.put(None)
        self._thread.join(SECONDS)
        threadable.ioThread = self._owner
        assert not self._thread.is_alive()
        assert self.ended == []

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:
                self.ended.append(error)

    def call(self, function: Callable[[], object]) -> None:
        """Run it there soon."""
        self._calls.put(function)

    def answers(self, seconds: float = SECONDS) -> bool:
        """Whether it runs anything within a time."""
        answered = threading.Event()
        self.call(answered.set)
        return answered.wait(seconds)

    def lend(self, *, kept: bool) -> Loan:
        """Ask for it, and wait."""
        loan, lent = Loan(threading.get_ident(), kept=kept), threading.Event()
        self.call(lambda: self.loans.lend(loan, lambda: True, lent.set))
        assert lent.wait(SECONDS)
        return loan


@pytest.fixture
def lender() -> Iterator[Reactor]:
    """A thread that lends itself."""
    with Reactor() as one:
        yield one


# ---- the state


def test_kept(lender: Reactor) -> None:
    """A loan that is kept stays until it is given back, which no call of the thread is cut by."""
    its = lender.loans
    loan = lender.lend(kept=True)
    assert its.inside == loan.ident == threading.get_ident()
    assert threadable.isInIOThread()
    assert its.holder(lender.ident) == loan.ident
    its.give_back()  # in the middle of the call: it goes on
    assert not loan.ended
    its.leave(loan)
    assert its.inside is None
    assert not lender.answers(0.02)
    assert its.enter() is loan
    its.leave(loan)
    its.give_back()
    assert lender.answers()
    assert loan.ended
    assert (its.enter(), its.current, loan.calls) == (None, None, 2)
    assert threadable.ioThread == lender.ident
    assert its.holder(lender.ident) == lender.ident


def test_one_call(lender: Reactor) -> None:
    """A loan that is not kept ends with its call."""
    loan = lender.lend(kept=False)
    assert lender.loans.are_needed() is False  # not switched on
    lender.loans.leave(loan)
    assert lender.answers()
    lender.loans.on = True
    assert lender.loans.are_needed()


def test_not_wanted(lender: Reactor) -> None:
    """Nothing is lent to somebody who waits no longer."""
    loan = Loan(threading.get_ident(), kept=True)
    lender.call(lambda: lender.loans.lend(loan, lambda: False, pytest.fail))
    assert lender.answers()
    assert lender.loans.current is None


def test_other_thread(lender: Reactor) -> None:
    """A loan is its thread's: another one neither enters it nor gives it back."""
    loan = lender.lend(kept=True)
    lender.loans.leave(loan)
    entered: list[Loan | None] = []

    def tries() -> None:
        lender.loans.give_back()
        entered.append(lender.loans.enter())

    thread = threading.Thread(target=tries)
    thread.start()
    thread.join(SECONDS)
    assert entered == [None]
    assert not loan.ended
    lender.loans.give_back()


def test_longest(lender: Reactor) -> None:
    """A loan that lasts goes back between two calls, for a turn of the reactor."""
    loan = lender.lend(kept=True)
    lender.loans.leave(loan)
    loan.since -= 2.5
    assert lender.loans.enter() is None
    assert loan.ended
    assert lender.answers()


def test_thread_that_is_gone(lender: Reactor) -> None:
    """At the end of the process the loan of a thread that has ended ends; others stay."""
    thread = threading.Thread(target=lambda: lender.lend(kept=True))
    thread.start()
    thread.join(SECONDS)
    assert lender.loans.inside is not None
    lender.loans.end_of_gone()
    assert lender.answers()
    loan = lender.lend(kept=True)
    lender.loans.end_of_gone()
    assert not loan.ended
    lender.loans.end(loan)
    assert lender.answers()


def test_late_leave(lender: Reactor) -> None:
    """Whoever leaves a loan that was ended meanwhile does not end the call of another."""
    first = lender.lend(kept=True)
    lender.loans.end(first)
    second = lender.lend(kept=True)
    lender.loans.leave(first)
    assert lender.loans.inside == second.ident
    lender.loans.leave(second)
    lender.loans.give_back()


def test_in_reactor(lender: Reactor) -> None:
    """While it stands aside the reactor's thread runs what is asked, and gives what it raises."""
    loan = lender.lend(kept=True)
    assert lender.loans.in_reactor(threading.get_ident) == lender.ident
    with pytest.raises(ZeroDivisionError):
        lender.loans.in_reactor(lambda: 1 / 0)
    lender.loans.leave(loan)
    lender.loans.give_back()


@contextmanager
def quick_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Load:
    """
    A reactor that turns all the time, and threads that borrow it again and again.

    Attributes:
        wrong: how often one of them ran while the other did.
    """

    def __init__(self, lender: Reactor) -> None:
        self.wrong: list[str] = []
        self.turns = self.calls = 0
        self._ends = threading.Event()
        self._lender = lender

    def turn(self) -> None:
        """One callback of the reactor's."""
        self.turns += 1
        if self._lender.loans.inside is not None:
            self.wrong.append("a callback ran beside a call")
        if not self._ends.is_set():
            self._lender.call(self.turn)

    def takes_back(self) -> None:
        """End each loan as soon as nobody is inside."""
        its = self._lender.loans
        while not self._ends.is_set():
            its.end_unless(lambda _: its.inside is not None)

    def works(self) -> None:
        """Call the reactor many times."""
        its = self._lender.loans
        for _ in range(5000):
            loan = its.enter() or self._lender.lend(kept=True)
            before = self.turns
            for _ in range(20):
                pass
            if self.turns != before:
                self.wrong.append("the reactor turned beside a call")
            its.leave(loan)
            self.calls += 1
        its.give_back()

    def run(self) -> None:
        """Do it."""
        self._lender.call(self.turn)
        taker = threading.Thread(target=self.takes_back)
        taker.start()
        workers = [threading.Thread(target=self.works) for _ in range(2)]
        for each in workers:
            each.start()
        for each in workers:
            each.join(60)
        self._ends.set()
        taker.join(SECONDS)


def test_nobody_is_inside(lender: Reactor) -> None:
    """No callback of the reactor's runs while a thread is in a borrowed call (R1)."""
    load = Load(lender)
    with quick_switches():
        load.run()
    assert lender.answers()
    assert load.wrong == []
    assert load.calls > 9000  # two threads count, and may count as one
    assert load.turns > 100


# ---- who may not wait


def test_in_the_middle(session: Session) -> None:
    """What comes in the middle of a loan's change (a finalizer, a signal) has its call posted."""
    seen: list[object] = []
    reactor = session.ok("reactor")

    def stays(_: Loan) -> bool:
        assert loans.may_not_wait()
        seen.append(reactor.callLater(0, seen.append, "called"))
        return False

    reactor.callLater(60, int).cancel()
    assert loans.current is not None
    loans.end_unless(stays)
    eventually(lambda: seen == [None, "called"])


def test_signal_while_it_waits(session: Session) -> None:
    """A signal's handler that calls the reactor while its thread waits for it hangs nobody."""
    seen: list[object] = []
    reactor = session.ok("reactor")
    loans.give_back()
    before = signal.signal(signal.SIGALRM, lambda *_: reactor.callLater(0, seen.append, "alarm"))
    try:
        reactor.callFromThread(sleep, 0.3)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert reactor.callLater(0, seen.append, "call") is not None
    finally:
        signal.signal(signal.SIGALRM, before)
    eventually(lambda: sorted(map(str, seen)) == ["alarm", "call"])


def test_finalizer_in_the_loans_thread(session: Session) -> None:
    """A finalizer that calls the reactor in the thread that checks loans holds nobody (R14)."""
    seen: list[object] = []
    reactor = session.ok("reactor")

    dropped = threading.Event()

    class Closes:
        def __del__(self) -> None:
            seen.append(threading.current_thread().name)
            reactor.callLater(0, seen.append, "closed")
            dropped.set()

    # That thread prints what stands there, and drops it.
    watch = loans.when_kept
    assert isinstance(watch, Watch)
    watch._lines.append(Closes())  # type: ignore[arg-type]
    reactor.callLater(60, int).cancel()
    assert dropped.wait(SECONDS)
    eventually(lambda: seen == ["twisted_ipython loans", "closed"])


def test_broken_off_between(session: Session) -> None:
    """A loan whose thread has left its call by an exception of its own goes back all the same."""
    session.ok("reactor.callLater(60, int).cancel()")
    reactor = session.ok("reactor")
    reactor.callLater(60, int).cancel()
    assert loans.enter() is not None  # and nobody leaves it
    eventually(lambda: loans.current is None)
    assert in_reactor_thread(threading.get_ident) != threading.get_ident()


def test_sent_to_main_thread(session: Session) -> None:
    """What was sent to a thread that waits gives the reactor back when it has ended, at once."""
    session.ok("from twisted_ipython import in_main_thread\ntook = []\n%autoawait twisted")
    session.ok(
        "for _ in range(20):\n    began = time.monotonic()\n"
        "    await in_main_thread(lambda: reactor.callLater(60, int).cancel())\n"
        "    took.append(time.monotonic() - began)"
    )
    assert min(session.names["took"]) < 0.015  # else somebody has to find out, each 20 ms


def test_debugger() -> None:
    """A thread that stands in a debugger is known by its frames (R18)."""
    with Standing("_pydevd_bundle.pydevd") as ident:
        assert is_debugged(ident)
    with Standing("pandas") as ident:
        assert not is_debugged(ident)
    assert not is_debugged(ident)
