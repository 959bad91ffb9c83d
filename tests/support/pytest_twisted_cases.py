"""What `test_bridge_twisted.py` has pytest-twisted run, in a process and a reactor of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from threading import get_ident
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from twisted_ipython._bridge import task_factory
from twisted_ipython._reactor.delayed_calls import Timers
from twisted_ipython._reactor.overrides import Overrides, of_timers


@pytest_twisted.async_yield_fixture(scope="module", autouse=True)
async def attached() -> AsyncIterator[None]:
    """What the extension sets on the reactor and its loop."""
    from twisted.internet import reactor

    loop = asyncio.get_running_loop()
    timers = of_timers(Timers(reactor, loop, get_ident()))
    undo = [task_factory.attach(loop), Overrides().add("_reactor", (reactor, timers))]
    yield
    for each in undo:
        each()


def _later(value: Any) -> Deferred[Any]:
    from twisted.internet import reactor

    deferred: Deferred[Any] = Deferred()
    reactor.callLater(0, deferred.callback, value)  # type: ignore[attr-defined]  # zope's
    return deferred


@pytest_twisted.ensureDeferred
async def test_mixture() -> None:
    """sleep, futures, tasks and Deferreds in one coroutine."""
    await asyncio.sleep(0.001)
    assert await _later(1) == 1
    assert await asyncio.to_thread(int, "2") == 2
    assert await asyncio.ensure_future(_later(3)) == 3


@pytest_twisted.ensureDeferred
async def test_queue() -> None:
    """A task feeds a queue."""
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def feed() -> None:
        for number in range(5):
            await queue.put(number)
            await _later(None)

    task = asyncio.create_task(feed())
    assert [await queue.get() for _ in range(5)] == list(range(5))
    await task


@pytest_twisted.ensureDeferred
async def test_streams() -> None:
    """Streams, on the loop that runs the reactor."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        assert await reader.read() == b"line\n"
        writer.close()
        await writer.wait_closed()


@pytest_twisted.ensureDeferred
async def test_needs_a_task() -> None:
    """What needs a task fails, and works as a task."""

    async def waits() -> list[int]:
        return await asyncio.gather(_later(1), _later(2))

    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        await waits()
    assert await asyncio.create_task(waits()) == [1, 2]


@pytest_twisted.inlineCallbacks
def test_inline_callbacks() -> Iterator[Any]:
    """What inlineCallbacks yields may be a coroutine that awaits asyncio's objects."""

    async def waits() -> int:
        await asyncio.sleep(0.001)
        return 1

    value = yield waits()
    assert value == 1
