"""A cell thread whose loop goes on turning while it waits: `_waiting.loop_thread`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

import pytest

from twisted_ipython._waiting.cell_thread import CellThread, Waitable
from twisted_ipython._waiting.loop_thread import NO_LOOP, LoopThread, current_thread

SECONDS = 20
_T = TypeVar("_T")


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test's coroutine on a loop of asyncio's."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Work(Waitable):
    """
    What ends when a test says so.

    Attributes:
        begins: is called when it begins.
        checks: is set at the third check.
        interrupts: how often it was interrupted.
    """

    def __init__(self, begins: Callable[[Work], object] = lambda _: None) -> None:
        self.cell_thread: CellThread = LoopThread(asyncio.get_running_loop())
        self.begins = begins
        self.checks = asyncio.Event()
        self.interrupts = 0
        self._checked = 0
        self._done: Callable[[], object] | None = None
        self._ended = False

    @property
    def waits(self) -> bool:
        """See `Waitable`."""
        return not self._ended

    def begin(self) -> None:
        """See `Waitable`."""
        self.begins(self)

    def when_done(self, call: Callable[[], object]) -> None:
        """See `Waitable`."""
        self._done = call
        if self._ended:
            call()

    def end(self) -> None:
        """It is done."""
        self._ended = True
        if self._done is not None:
            self._done()

    def check(self) -> float:
        """See `Waitable`."""
        self._checked += 1
        if self._checked < 3:
            return 0.001
        self.checks.set()
        return 10 * SECONDS

    def interrupt(self) -> None:
        """See `Waitable`."""
        self.interrupts += 1

    def in_context(self, function: Callable[[], _T]) -> _T:
        """See `Waitable`."""
        return function()

    def extend_deadline(self, seconds: float) -> None:
        """See `Waitable`."""

    async def wait(self) -> None:
        """Wait for it as its cell thread does, for a while at most."""
        async with asyncio.timeout(SECONDS):
            await self.cell_thread.wait(self)


@on_a_loop
async def test_of_this_thread() -> None:
    """The cell thread of a cell that a loop runs turns that loop."""
    thread = current_thread()
    assert isinstance(thread, LoopThread)
    assert thread.thread == threading.get_ident()


def test_nothing_that_could_wait() -> None:
    """Where neither a loop nor our runner runs the cell, it is told what to do."""
    with pytest.raises(RuntimeError) as caught:
        current_thread()
    assert str(caught.value) == NO_LOOP


@on_a_loop
async def test_ends_before_the_loop_turns() -> None:
    """What is done at once is waited for without a turn of the loop."""
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    work = Work(Work.end)
    await work.wait()
    assert not turned
    assert not work.checks.is_set()


@on_a_loop
async def test_turns_and_checks() -> None:
    """The loop turns until it is done, and the work is looked after at the times that it says."""
    work = Work()
    waiting = asyncio.create_task(work.wait())
    await asyncio.wait_for(work.checks.wait(), SECONDS)
    assert not waiting.done()
    threading.Thread(target=work.end).start()
    await waiting
    assert work.interrupts == 0  # as one that the time limit ends is


@on_a_loop
async def test_cancellation_interrupts() -> None:
    """Who cancels the task that waits interrupts the work, each time, and the wait goes on."""
    work = Work()
    waiting = asyncio.create_task(work.wait())
    await asyncio.wait_for(work.checks.wait(), SECONDS)
    for interrupts in (1, 2):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert work.interrupts == interrupts
    assert not waiting.done()
    work.end()
    await waiting


@on_a_loop
async def test_runs_what_it_is_sent() -> None:
    """What another thread sends runs in this one, while it waits and after."""
    work, ran = Work(), asyncio.Queue[int]()

    def send() -> None:
        work.cell_thread.call(lambda: ran.put_nowait(threading.get_ident()))

    waiting = asyncio.create_task(work.wait())
    threading.Thread(target=send).start()
    assert await asyncio.wait_for(ran.get(), SECONDS) == threading.get_ident()
    work.end()
    await waiting
    threading.Thread(target=send).start()
    assert await asyncio.wait_for(ran.get(), SECONDS) == threading.get_ident()
