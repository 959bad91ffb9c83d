"""A thread borrows the reactor for its calls: `_plain.borrow`, of a thread that lends itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from session import SECONDS
from twisted.python import threadable

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.frames import in_files
from twisted_ipython._base.loans import loans
from twisted_ipython._plain.borrow import Borrow
from twisted_ipython._reactor.interrupt import STOPPED

_T = TypeVar("_T")


class Lender(threading.Thread):
    """A reactor thread: it makes the calls that it is sent, and counts them."""

    process, stopped, label = os.getpid(), False, staticmethod(in_files)

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.on_stop: list[Callable[[], object]] = []
        self.reactor = SimpleNamespace(running=True)
        self.asked = 0
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

    def run(self) -> None:
        """Make the calls."""
        while (call := self._calls.get()) is not None:
            call()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call it soon."""
        self.asked += 1
        self._calls.put(lambda: function(*args))

    def of(self, _: object) -> Any:
        """What looks after loans that are kept: here nobody does."""

        class Nobody:
            __call__ = begin = lambda _: None

        return Nobody()

    def end(self) -> None:
        """Have it end."""
        self._calls.put(None)
        self.join(SECONDS)
        assert not self.is_alive()


@pytest.fixture
def lender() -> Iterator[Lender]:
    """One that runs."""
    before = loans.when_kept, sigint.when_raised, threadable.ioThread, loans.on
    one = Lender()
    one.start()
    yield one
    one.end()
    loans.when_kept, sigint.when_raised, threadable.ioThread, loans.on = before
    assert loans.current is None


def in_thread(function: Callable[[], _T]) -> _T:
    """What a function gives or raises in a thread that runs no cells."""
    given: list[_T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(function())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
    if raised:
        raise raised[0]
    return given[0]


def test_one_call(lender: Lender) -> None:
    """It is made in the thread that asks, which is the reactor's meanwhile and no longer."""
    borrow = Borrow(lender)  # type: ignore[arg-type]

    def called(*args: int, **kwargs: int) -> Any:
        return threadable.isInIOThread(), loans.inside == threading.get_ident(), args, kwargs

    def call() -> Any:
        made = borrow.call(called, (1,), {"two": 2})
        return made, threadable.isInIOThread()

    assert in_thread(call) == ((True, True, (1,), {"two": 2}), False)
    assert lender.asked == 1


def test_inside_of_a_call(lender: Lender) -> None:
    """What a call calls needs no other loan, and what it raises leaves none."""
    borrow = Borrow(lender)  # type: ignore[arg-type]

    def fails() -> None:
        borrow.call(int, (), {})
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        in_thread(lambda: borrow.call(fails, (), {}))
    assert lender.asked == 1
    assert loans.current is None


def test_kept(lender: Lender) -> None:
    """`hold` keeps the reactor for the calls that follow, until it is given back."""
    borrow = Borrow(lender)  # type: ignore[arg-type]

    def calls() -> tuple[bool, int]:
        loans.on = True
        borrow.hold()
        keeps = loans.current is not None
        for _ in range(3):
            borrow.call(int, (), {})
        asked = lender.asked
        loans.give_back()
        return keeps, asked

    assert in_thread(calls) == (True, 1)


def test_switched_off(lender: Lender) -> None:
    """Where nobody is to borrow it, `hold` asks for nothing."""
    loans.on = False
    in_thread(Borrow(lender).hold)  # type: ignore[arg-type]
    assert lender.asked == 0


def test_stops(lender: Lender) -> None:
    """From a reactor that stops while it is asked nothing is borrowed, then or later."""
    borrow = Borrow(lender)  # type: ignore[arg-type]
    goes_on = threading.Event()
    lender.call(goes_on.wait)
    lender.reactor.running = False
    with pytest.raises(RuntimeError, match=STOPPED[:30]):
        in_thread(lambda: borrow.call(int, (), {}))
    goes_on.set()
    lender.call(goes_on.clear)


def test_cannot_wait(lender: Lender) -> None:
    """In the middle of a loan's change the call is left to the reactor's thread."""
    borrow = Borrow(lender)  # type: ignore[arg-type]
    made = threading.Event()
    watcher, loans.watcher = loans.watcher, threading.get_ident()
    try:
        assert borrow.call(made.set, (), {}) is None
    finally:
        loans.watcher = watcher
    assert made.wait(SECONDS)
