"""The methods of a loop for plain cells: `_plain.loop_methods`, on a loop that does not run."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from types import SimpleNamespace
from typing import Any

import pytest

from twisted_ipython._base.loans import loans
from twisted_ipython._base.work_id import new_work, set_work
from twisted_ipython._plain.loop_methods import NOBODY_RUNS, LoopMethods


class Thread:
    """A reactor thread that this one is not, but for `is_here`."""

    ident = -1

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.cells: set[int] = set()
        self.borrowed: list[str] = []
        self.is_here = False

    def here(self) -> bool:
        """Whether the caller is in it."""
        return self.is_here

    def of(self, _: object) -> Any:
        """The scripts, which know the plain cells."""
        return SimpleNamespace(is_cell=self.cells.__contains__)

    # ---- as what borrows it

    def call(self, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a method with the reactor borrowed."""
        self.borrowed.append(own.__name__)
        return own(*args, **kwargs)

    def hold(self) -> None:
        """Borrow it for what comes."""
        self.borrowed.append("held")


@pytest.fixture
def thread() -> Iterator[Thread]:
    """A reactor thread that is not there, while other threads are to borrow."""
    one, before = Thread(), loans.on
    loans.on = True
    yield one
    loans.on = before
    one.loop.close()


@pytest.fixture
def methods(thread: Thread) -> Iterator[LoopMethods]:
    """The methods on its loop."""
    one = LoopMethods(thread, thread)  # type: ignore[arg-type]
    undo = one.attach()
    yield one
    undo()
    assert "close" not in vars(thread.loop)


def in_cell(function: Callable[[], object], work: int = 0) -> int:
    """Call a function in the context of a plain cell, new or of that number; gives the number."""

    def run() -> int:
        work_id = new_work(1) if not work else SimpleNamespace(work=work, cell=1)
        set_work(work_id)  # type: ignore[arg-type]
        function()
        return work_id.work

    return Context().run(run)


def test_while_a_statement_runs(methods: LoopMethods, thread: Thread) -> None:
    """What schedules borrows the reactor, until the last of several statements has ended."""
    loop = thread.loop
    loop.call_soon(int)
    assert thread.borrowed == []
    methods.begin()
    methods.begin()
    loop.call_soon(int)
    loop.call_at(0, int)
    methods.end()
    loop.call_soon(int)
    assert thread.borrowed == ["call_soon", "call_at", "call_soon"]
    methods.end()
    loop.call_soon(int)
    assert len(thread.borrowed) == 3


def test_own_methods_stay(thread: Thread) -> None:
    """What is set on the loop for tasks is never off it: the reactor thread calls it meanwhile."""
    deleted: list[str] = []

    class Loop(asyncio.SelectorEventLoop):
        def __delattr__(self, name: str) -> None:
            deleted.append(name)
            super().__delattr__(name)

    thread.loop.close()
    thread.loop = loop = Loop()
    own = {"call_soon": lambda *_: None, "create_task": lambda *_: None}
    for name, method in own.items():
        setattr(loop, name, method)
    one = LoopMethods(thread, thread)  # type: ignore[arg-type]
    undo = one.attach()
    one.begin()
    one.end()
    undo()
    assert {name: getattr(loop, name) for name in own} == own
    assert "call_later" in deleted
    assert not own.keys() & set(deleted)


def test_switched_off(methods: LoopMethods, thread: Thread) -> None:
    """Where nobody is to borrow the reactor, the loop is called as it is."""
    methods.begin()
    loans.on = False
    thread.loop.call_soon(int)
    methods.end()
    assert thread.borrowed == []


def test_debug_mode(methods: LoopMethods, thread: Thread) -> None:
    """asyncio's debug mode refuses who has not borrowed, and nobody inside of a call."""
    thread.loop.set_debug(True)
    methods.begin()
    with pytest.raises(RuntimeError, match="Non-thread-safe"):
        thread.loop.call_soon(int)
    loans.inside = threading.get_ident()
    try:
        thread.loop.call_soon(int)
    finally:
        loans.inside = None
    methods.end()


def test_nobody_runs(
    methods: LoopMethods, thread: Thread, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stop for which nobody waits, and a close, end nothing and say so."""
    assert methods is not None
    in_cell(thread.loop.stop)
    thread.loop.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [NOBODY_RUNS.format(name=name) for name in ("stop", "close")]
    assert not thread.loop.is_closed()


def test_stopped_before_it_waits(
    methods: LoopMethods, thread: Thread, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain cell's stop is kept for its wait; at the end of the cell it was for nobody."""
    work = in_cell(int)
    thread.cells.add(work)
    in_cell(thread.loop.stop, work)
    assert capsys.readouterr().out == ""
    for said in (NOBODY_RUNS.format(name="stop") + "\n", ""):
        methods.end_cell(work)
        assert capsys.readouterr().out == said


def test_in_the_reactors_thread(methods: LoopMethods, thread: Thread) -> None:
    """There the loop runs, and a method of its class stops it."""
    assert methods is not None
    thread.is_here = True
    thread.loop.call_soon(type(thread.loop).stop, thread.loop)
    thread.loop.run_forever()
    assert thread.borrowed == []


def test_signals(methods: LoopMethods, thread: Thread) -> None:
    """A handler of a signal is the cell's, and what stood there is put back with the cell."""
    before = signal.getsignal(signal.SIGUSR1)
    methods.begin()
    work = in_cell(lambda: thread.loop.add_signal_handler(signal.SIGUSR1, int))
    assert signal.getsignal(signal.SIGUSR1) is not before
    methods.end_cell(work + 1)
    assert signal.getsignal(signal.SIGUSR1) is not before
    methods.end_cell(work)
    assert signal.getsignal(signal.SIGUSR1) is before
    assert thread.loop.remove_signal_handler(signal.SIGUSR1) is False
    methods.end()
    assert thread.borrowed == ["held"]
