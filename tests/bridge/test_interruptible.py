"""What is thrown into a coroutine in place of CancelledError: `_bridge.interruptible`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from reactor_thread import in_reactor
from twisted.internet.defer import Deferred, ensureDeferred

from twisted_ipython._bridge.interruptible import Interruptible


class Oops(BaseException):
    """What is thrown in instead."""


async def cancelled(coro: Coroutine[Any, Any, Any], instead: BaseException | None) -> Any:
    """What comes of a coroutine that is cancelled in a task, once it waits."""
    interruptible = Interruptible(coro)

    async def main() -> Any:
        return await interruptible

    task = asyncio.create_task(main())
    await asyncio.sleep(0.01)
    if instead is not None:
        interruptible.interrupt(instead, replaces=True)
    task.cancel()
    return await task


async def on_deferred() -> None:
    """A coroutine that waits on a Deferred."""
    await Deferred()


async def on_future() -> None:
    """A coroutine that waits on an asyncio future."""
    await asyncio.get_running_loop().create_future()


async def inner() -> None:
    """A coroutine that waits in another one."""
    await on_deferred()


@pytest.mark.parametrize("work", [on_deferred, on_future, inner])
@in_reactor
async def test_instead(work: Any) -> None:
    """Where the user's code awaits a Deferred or a future, the other exception goes in."""
    error = Oops()
    with pytest.raises(Oops) as caught:
        await cancelled(work(), error)
    assert caught.value is error


@pytest.mark.parametrize(
    "work",
    [
        lambda: asyncio.wait_for(asyncio.create_task(on_future()), 60),
        lambda: asyncio.sleep(60),
        lambda: anyio.sleep(60),
    ],
    ids=["wait_for", "sleep", "anyio"],
)
@in_reactor
async def test_structure(work: Any) -> None:
    """Where a frame of asyncio's or anyio's waits, CancelledError goes in."""
    with pytest.raises(asyncio.CancelledError):
        await cancelled(work(), Oops())


@in_reactor
async def test_nothing_instead() -> None:
    """Without another exception, cancelling is as ever."""
    with pytest.raises(asyncio.CancelledError):
        await cancelled(on_deferred(), None)


@in_reactor
async def test_once() -> None:
    """The exception goes in once; a task that went on after it is not cancelled any more."""

    async def work() -> Any:
        try:
            await on_deferred()
        except Oops:
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling(), await asyncio.sleep(0.01, "went on")

    assert await cancelled(work(), Oops()) == (0, "went on")


@in_reactor
async def test_other_errors() -> None:
    """What an awaited Deferred fails with goes in as it is."""
    deferred: Deferred[None] = Deferred()

    async def work() -> None:
        await deferred

    interruptible = Interruptible(work())
    result = ensureDeferred(_await(interruptible))
    interruptible.interrupt(Oops(), replaces=True)
    deferred.errback(ValueError("its own"))
    with pytest.raises(ValueError, match="its own"):
        await result


@in_reactor
async def test_driven_by_twisted() -> None:
    """The cancellation of a Deferred that Twisted's driver awaits is replaced too."""
    interruptible = Interruptible(on_deferred())
    result = ensureDeferred(_await(interruptible))
    interruptible.interrupt(Oops(), replaces=True)
    result.cancel()
    with pytest.raises(Oops):
        await result


async def _await(interruptible: Interruptible[Any]) -> Any:
    return await interruptible
