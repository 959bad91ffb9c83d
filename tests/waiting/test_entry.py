"""The outermost entry into a thread that runs cells: `_waiting.entry`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from twisted_ipython._waiting.cell_thread import run_blocking
from twisted_ipython._waiting.entry import begin_entry, end_entry, entry, runs_cells


@pytest.fixture(autouse=True)
def _ended() -> None:
    end_entry()


def in_thread(work: Callable[[], bool]) -> bool:
    """What a function gives in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10)


def test_threads_that_run_cells() -> None:
    """The main thread runs cells, and a thread with a loop of its own; no other does."""

    async def on_a_loop() -> bool:
        return runs_cells()

    assert runs_cells()
    assert not in_thread(runs_cells)
    assert in_thread(lambda: asyncio.run(on_a_loop()))


def test_a_loop_tells_of_the_end() -> None:
    """An entry of what a loop runs ends at the loop's next turn; it begins once."""

    async def message() -> None:
        begin_entry()
        begin_entry()
        assert entry.begun
        await asyncio.sleep(0)
        assert not entry.begun

    asyncio.run(message())


def test_the_runner_tells_of_the_end() -> None:
    """Where no loop runs, or our runner drives a cell in one, the loop is not asked."""

    async def cell() -> None:
        begin_entry()
        assert not entry.begun

    async def message() -> None:
        run_blocking(cell())

    begin_entry()
    assert not entry.begun
    run_blocking(cell())
    asyncio.run(message())


def test_each_thread_has_its_own() -> None:
    """What a thread waits for is nothing to another."""
    entry.waits = True
    try:
        assert not in_thread(lambda: entry.waits)
    finally:
        entry.waits = False
