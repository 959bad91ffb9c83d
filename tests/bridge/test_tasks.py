"""A task comes to its Bridge before it awaits a Deferred: when it is interrupted, or at unload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import anyio
import pytest
from reactor_thread import in_reactor, later, turns
from twisted.internet.defer import Deferred

from twisted_ipython._bridge import task_factory
from twisted_ipython._bridge.tasks import LoopTask, take_over


class _Bad:
    def __await__(self) -> Generator[Any, Any, None]:
        yield "bad"


async def _future(future: asyncio.Future[Any]) -> None:
    assert await future == "value"


async def _turn(_: object) -> None:
    await asyncio.sleep(0)


async def _bad(_: object) -> None:
    with pytest.raises(RuntimeError, match="bad yield: 'bad'"):
        await _Bad()


# What a task awaits, after how many turns it is taken over, and whether its future is done then.
STATES = {
    "just made": (_turn, 0, False),
    "waits": (_future, 1, False),
    "about to wake": (_future, 1, True),
    "between two turns": (_turn, 1, False),
    "about to fail": (_bad, 1, False),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("cancels", [False, True])
@in_reactor
async def test_taken_over(state: str, cancels: bool) -> None:
    """It goes on where it is, once, in its own context and as itself; or it is cancelled there."""
    wait, after, done = STATES[state]
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    seen: list[Any] = []

    async def body() -> str:
        seen.append(asyncio.current_task())
        try:
            await wait(future)
        finally:
            seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        assert await later(1) == 1
        return "value"

    task: Any = asyncio.create_task(body())
    await turns(after)
    if done:
        future.set_result("value")
    bridge = take_over(task)
    assert bridge is task.bridge
    assert bridge is not None
    if cancels:
        assert task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task
    else:
        if not future.done():
            future.set_result("value")
        assert await task == "value"
    assert set(seen) <= {task}
    assert len(seen) == (0 if cancels and state == "just made" else 2)
    assert task.cancelling() == cancels
    assert task.bridge is None


@in_reactor
async def test_taken_over_while_it_runs() -> None:
    """A task whose step runs stays asyncio's; so does what others have scheduled for it."""

    async def body() -> None:
        task: Any = asyncio.current_task()
        assert take_over(task) is None
        await asyncio.sleep(9)

    async def turn() -> None:
        while True:
            await asyncio.sleep(0)

    for coro in (body(), turn()):
        task: Any = asyncio.create_task(coro)
        await turns(1)
        asyncio.get_running_loop().call_soon(task.cancel)
        assert take_over(task) is not None
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("begins", [True, False])
def test_unload_with_tasks(begins: bool) -> None:
    """Tasks that exist when the bridge is taken off a loop may await Deferreds afterwards."""
    loop = asyncio.new_event_loop()
    undo = task_factory.attach(loop)
    fired: Deferred[str] = Deferred()

    async def body() -> str:
        await asyncio.sleep(0.01)
        loop.call_soon(fired.callback, "value")
        return await fired

    task = loop.create_task(body())
    if begins:
        loop.run_until_complete(asyncio.sleep(0))
    undo()
    assert type(loop.create_task) is type(loop.run_forever)
    assert loop.run_until_complete(task) == "value"
    loop.close()


@in_reactor
async def test_anyio_keeps_what_has_come() -> None:
    """A task that has a Bridge, and for which an item has come, is cancelled by anyio after it."""
    send, receive = anyio.create_memory_object_stream[str]()
    seen: list[str] = []
    scope = anyio.CancelScope()

    async def body() -> None:
        await later()
        with scope:
            seen.append(await receive.receive())
            await asyncio.sleep(9)

    task = asyncio.create_task(body())
    await turns(5)
    send.send_nowait("item")
    scope.cancel()
    await task
    assert seen == ["item"]
    send.close()
    receive.close()


@in_reactor
async def test_anyio_cancels_what_cancelled_itself() -> None:
    """A task that cancelled itself before its first Deferred is cancelled by anyio's scopes too."""

    async def body() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await later(seconds=9)
        task.uncancel()
        with anyio.move_on_after(0.01) as scope:
            await Deferred()
        return "moved on" if scope.cancelled_caught else ""

    assert await asyncio.create_task(body()) == "moved on"


@in_reactor
async def test_canceller_taken_before() -> None:
    """`task.cancel` that somebody took before the task had a Bridge cancels it all the same."""
    cancelled: list[Any] = []
    deferred: Deferred[Any] = Deferred(cancelled.append)

    async def body() -> None:
        await asyncio.sleep(0)
        await deferred

    task = asyncio.create_task(body())
    cancel: Callable[[], bool] = task.cancel
    await turns(3)
    assert isinstance(task, LoopTask)
    assert cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [deferred]
