"""Cancelling tasks that await Deferreds does what it does with futures on a plain loop."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from reactor_thread import Oops, in_reactor, later
from twisted.internet.defer import Deferred, inlineCallbacks

Wait = Callable[..., Awaitable[Any]]
Note = Callable[[Any], None]


def this() -> asyncio.Task[Any]:
    """The task that runs."""
    task = current_task()
    assert task is not None
    return task


# ---- the same scenario on a plain asyncio loop and here


async def before_a_wait(wait: Wait, note: Note) -> None:
    """It cancels itself, then awaits something."""
    this().cancel("message")
    note(this().cancelling())
    await wait(9)


async def before_sleep(wait: Wait, note: Note) -> None:
    """It cancels itself, then awaits something of asyncio's."""
    this().cancel("message")
    await asyncio.sleep(0)


async def before_a_future(wait: Wait, note: Note) -> None:
    """It cancels itself, then awaits a future, which is cancelled too."""
    future = asyncio.get_running_loop().create_future()
    this().cancel("message")
    try:
        await future
    finally:
        note(future.cancelled())


async def before_returning(wait: Wait, note: Note) -> str:
    """It cancels itself, then returns."""
    this().cancel("message")
    return "value"


async def before_raising(wait: Wait, note: Note) -> None:
    """It cancels itself, then fails."""
    this().cancel("message")
    raise Oops


async def taken_back(wait: Wait, note: Note) -> str:
    """It cancels itself and takes that back at once."""
    this().cancel("message")
    note(this().uncancel())
    await wait()
    note("first")
    await asyncio.sleep(0)
    return "value"


async def taken_back_before_sleep(wait: Wait, note: Note) -> str:
    """It cancels itself, takes that back, and awaits something of asyncio's."""
    this().cancel("message")
    note(this().uncancel())
    await asyncio.sleep(0)
    return "value"


async def twice(wait: Wait, note: Note) -> None:
    """It cancels itself twice, and awaits on in between."""
    for _ in range(2):
        this().cancel("message")
        try:
            await wait(9)
        except asyncio.CancelledError as error:
            note((error.args, this().cancelling()))
    note(await wait(0, "after"))


async def caught(wait: Wait, note: Note) -> str:
    """It catches its cancellation, takes it back and goes on."""
    this().cancel("message")
    with suppress(asyncio.CancelledError):
        await wait(9)
    this().uncancel()
    await wait()
    return "value"


async def cleaned_up(wait: Wait, note: Note) -> None:
    """It awaits more on its way out."""
    this().cancel("message")
    try:
        await wait(9)
    finally:
        note(await wait(0, "cleaned"))
        await asyncio.sleep(0)
        note(await wait(0, "up"))


async def timeout(wait: Wait, note: Note) -> None:
    """asyncio.timeout strikes."""
    try:
        async with asyncio.timeout(0.01) as limit:
            await wait(9)
    finally:
        note((limit.expired(), this().cancelling()))


async def timeout_in_time(wait: Wait, note: Note) -> Any:
    """asyncio.timeout does not strike."""
    async with asyncio.timeout(9) as limit:
        value = await wait(0, "value")
    note((limit.expired(), this().cancelling()))
    return value


async def timeout_of_nothing(wait: Wait, note: Note) -> None:
    """asyncio.timeout strikes at the first await."""
    async with asyncio.timeout(0):
        note("entered")
        await wait(9)


async def timeouts(wait: Wait, note: Note) -> None:
    """The inner one of two timeouts strikes, then the outer one."""
    try:
        async with asyncio.timeout(60) as outer:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await wait(9)
            note(this().cancelling())
            outer.reschedule(asyncio.get_running_loop().time() + 0.01)
            await wait(9)
    finally:
        note(this().cancelling())


async def rescheduled(wait: Wait, note: Note) -> None:
    """A timeout is put off, then strikes."""
    async with asyncio.timeout(0.01) as limit:
        limit.reschedule(asyncio.get_running_loop().time() + 60)
        await wait(0.02)
        note("put off")
        limit.reschedule(asyncio.get_running_loop().time())
        await wait(9)


async def cancelled_in_timeout(wait: Wait, note: Note) -> None:
    """A cancellation that is not the timeout's goes through it."""
    async with asyncio.timeout(9):
        this().cancel("message")
        await wait(9)


async def waited_for(wait: Wait, note: Note) -> None:
    """wait_for gives up."""
    try:
        await asyncio.wait_for(wait(9), 0.01)
    finally:
        note(this().cancelling())


async def group(wait: Wait, note: Note) -> None:
    """A child of a TaskGroup fails, and the others are cancelled, the waiting parent too."""

    async def waits() -> None:
        try:
            await wait(9)
        except asyncio.CancelledError as error:
            note(("child", error.args, this().cancelling()))
            raise

    async def fails() -> None:
        await wait()
        raise Oops

    try:
        async with asyncio.TaskGroup() as children:
            children.create_task(waits())
            children.create_task(fails())
            await wait(9)
    except* Oops as errors:
        note((len(errors.exceptions), this().cancelling()))


async def group_cancelled(wait: Wait, note: Note) -> None:
    """The parent of a TaskGroup is cancelled, and with it the children."""
    async with asyncio.TaskGroup() as children:
        children.create_task(wait_and_note(wait, note))
        children.create_task(wait_and_note(wait, note))
        await wait()
        this().cancel("message")
        await wait(9)


async def wait_and_note(wait: Wait, note: Note) -> None:
    """A part of other scenarios: it notes its cancellation."""
    try:
        await wait(9)
    except asyncio.CancelledError as error:
        note(error.args)
        raise


async def gathered(wait: Wait, note: Note) -> None:
    """What gather waits for is cancelled with it."""
    this().cancel("message")
    await asyncio.gather(wait_and_note(wait, note), wait_and_note(wait, note))


async def other(wait: Wait, note: Note) -> None:
    """A task cancels another one, twice, before and after that has begun."""
    unbegun = asyncio.create_task(wait_and_note(wait, note))
    unbegun.cancel("unbegun")
    begun = asyncio.create_task(wait_and_note(wait, note))
    await asyncio.sleep(0)
    begun.cancel("first")
    begun.cancel("second")
    for task in (unbegun, begun):
        try:
            await task
        except asyncio.CancelledError as error:
            note((error.args, task.cancelled(), task.cancelling()))


async def through_a_task(wait: Wait, note: Note) -> str:
    """A task that awaits another one is cancelled; that one goes on, and gives its value."""

    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await wait(9)
        await wait()
        return "stubborn"

    inner = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    this().cancel("message")
    return await inner


SCENARIOS = [
    before_a_wait, before_sleep, before_a_future, before_returning, before_raising, taken_back,
    taken_back_before_sleep, twice, caught, cleaned_up, timeout, timeout_in_time,
    timeout_of_nothing, timeouts, rescheduled, cancelled_in_timeout, waited_for, group,
    group_cancelled, gathered, other, through_a_task,
]  # fmt: skip


async def future_later(seconds: float = 0.0, value: Any = None) -> Any:
    """What `later` gives, but asyncio's."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(
        seconds, lambda: None if future.done() else future.set_result(value)
    )
    return await future


def deferred_later(seconds: float = 0.0, value: Any = None) -> Deferred[Any]:
    """`later`, with the arguments in another order."""
    return later(value, seconds)


async def through_coroutines(seconds: float = 0.0, value: Any = None) -> Any:
    """`later` under two coroutines."""
    return await _under(later(value, seconds))


async def _under(deferred: Deferred[Any]) -> Any:
    return await deferred


@inlineCallbacks
def through_inline(seconds: float = 0.0, value: Any = None) -> Iterator[Any]:
    """`later` under inlineCallbacks."""
    result = yield later(value, seconds)
    return result


async def trace(scenario: Any, wait: Wait, first: Wait | None) -> list[Any]:
    """What a task notes, and what becomes of it."""
    seen: list[Any] = []

    async def body() -> Any:
        if first is not None:
            await first()
        return await scenario(wait, seen.append)

    task = asyncio.create_task(body())
    try:
        seen.append(("returned", await task))
    except (asyncio.CancelledError, Exception) as error:
        seen.append(("raised", type(error), error.args))
    return [*seen, task.cancelled(), task.cancelling()]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("wait", [deferred_later, through_coroutines, through_inline, future_later])
@pytest.mark.parametrize("first", [None, deferred_later, future_later])
def test_as_on_a_plain_loop(scenario: Any, wait: Wait, first: Wait | None) -> None:
    """
    A scenario with Deferreds does what it does with futures on a loop of asyncio's own.

    It begins in a step of the task's, or in one that a Deferred brings about.
    """
    here: list[Any] = []

    @in_reactor
    async def run() -> None:
        here.extend(await trace(scenario, wait, first))

    run()
    assert here == asyncio.run(trace(scenario, future_later, first and future_later))
