"""The task of a cell or a job takes its first step at once, also where Python cannot do that."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

import pytest
from reactor_thread import Oops, in_reactor, later, turns
from twisted.internet.defer import Deferred, succeed

from twisted_ipython._bridge.task_factory import begin_task


def _begun(coro: Any) -> asyncio.Task[Any]:
    return begin_task(coro, asyncio.get_running_loop(), copy_context())


def _soon() -> asyncio.Future[Any]:
    """A future of the loop that is done in its next iteration."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: future.done() or future.set_result(None))
    return future


WAITS = {
    "fired": lambda: succeed(None),
    "pending": later,
    "a turn": lambda: asyncio.sleep(0),
    "sleep": lambda: asyncio.sleep(0.01),
    "future": _soon,
    "plain future": lambda: asyncio.ensure_future(later()),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@in_reactor
async def test_begins_at_once(wait: Callable[[], Awaitable[Any]]) -> None:
    """It has come to its first await when the call returns, as itself, and goes on from there."""
    seen: list[Any] = []
    outer = current_task()

    async def body() -> str:
        seen.append(current_task())
        await wait()
        await later()
        await asyncio.sleep(0)
        seen.append(current_task())
        return "value"

    task = _begun(body())
    assert seen == [task]
    assert current_task() is outer
    assert await task == "value"
    assert seen == [task, task]


@pytest.mark.parametrize("error", [Oops(), SystemExit(3), KeyboardInterrupt(), None], ids=repr)
@in_reactor
async def test_ends_at_once(error: BaseException | None) -> None:
    """What returns or fails before it awaits anything pending does so as any other."""

    async def body() -> str:
        await succeed(None)
        if error is not None:
            raise error
        return "value"

    task = _begun(body())
    if error is None:
        assert await task == "value"
    else:
        with pytest.raises(type(error)):
            await task
        assert task.exception() is error


@pytest.mark.parametrize("wait", list(WAITS.values())[1:], ids=list(WAITS)[1:])
@pytest.mark.parametrize("goes_on", [False, True])
@in_reactor
async def test_cancelled_at_its_first_await(
    wait: Callable[[], Awaitable[Any]], goes_on: bool
) -> None:
    """Cancelled before the loop turns, it gets one CancelledError where it awaits."""
    seen: list[Any] = []

    async def body() -> str:
        try:
            await wait()
        except asyncio.CancelledError as error:
            seen.append(error.args)
            if not goes_on:
                raise
        await later()
        await asyncio.sleep(0)
        return "value"

    task = _begun(body())
    assert task.cancel("message")
    assert task.cancel("message")
    if goes_on:
        assert await task == "value"
    else:
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task
    assert seen == [("message",)]


@in_reactor
async def test_cancelled_after_its_end() -> None:
    """One that returned or failed at once is done, and cannot be cancelled."""

    async def body(error: Exception | None) -> None:
        if error is not None:
            raise error

    returned, failed = _begun(body(None)), _begun(body(Oops()))
    for task in (returned, failed):
        assert task.done()
        assert not task.cancel("message")
    assert isinstance(failed.exception(), Oops)


@in_reactor
async def test_canceller_of_its_first_deferred() -> None:
    """The Deferred that it awaits is cancelled; one that takes its time is waited for."""
    cancelled: list[Any] = []
    deferreds = [Deferred[Any](cancelled.append) for _ in range(2)]
    deferreds[1].addErrback(lambda failure: later().addCallback(lambda _: failure))

    async def body(deferred: Deferred[Any]) -> None:
        await deferred

    for deferred in deferreds:
        task = _begun(body(deferred))
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task
    assert cancelled == deferreds


@in_reactor
async def test_two_cancellations_in_one_turn() -> None:
    """A task that is cancelled twice before it wakes gets one CancelledError, as in asyncio."""
    seen: list[str] = []

    async def body() -> str:
        try:
            await Deferred()
        except asyncio.CancelledError as error:
            seen.append(str(error))
        await later()
        await asyncio.sleep(0)
        return "value"

    task = asyncio.create_task(body())
    await turns(2)
    assert task.cancel("one")
    assert task.cancel("two")
    assert await task == "value"
    assert seen == ["one"]
