"""One coroutine awaits Deferreds and asyncio objects: values, failures and mixtures."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import crochet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactor_thread import Oops, in_reactor, later, logged, reactor, turns
from twisted.internet import defer, task
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher

Make = Callable[[Any], Awaitable[Any]]


def _value(result: Any) -> Any:
    """A function's own outcome: return, or raise what is an exception."""
    if isinstance(result, BaseException):
        raise result
    return result


async def _coroutine(result: Any) -> Any:
    return _value(await later(result))


@defer.inlineCallbacks
def _inline(result: Any) -> Iterator[Any]:
    value = yield later(result)
    return value


def _chained(result: Any) -> Deferred[Any]:
    return succeed(None).addCallback(lambda _: later(result))


class _OwnDeferred(Deferred[Any]):
    """A subclass of Deferred."""


def _own_deferred(result: Any) -> Deferred[Any]:
    return later(result).addBoth(lambda value: value).chainDeferred(own := _OwnDeferred()) and own


def _fired(result: Any) -> Deferred[Any]:
    return fail(result) if isinstance(result, BaseException) else succeed(result)


def _set(future: asyncio.Future[Any], result: Any) -> asyncio.Future[Any]:
    done = future.set_exception if isinstance(result, BaseException) else future.set_result
    asyncio.get_running_loop().call_soon(done, result)
    return future


async def _queue(result: Any) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    reactor().callLater(0, queue.put_nowait, result)
    return _value(await queue.get())


async def _iterated(result: Any) -> Any:
    async def values() -> AsyncIterator[Any]:
        yield await later(None)
        yield await _coroutine(result)

    return [value async for value in values()][1]


async def _entered(result: Any) -> Any:
    @asynccontextmanager
    async def context() -> AsyncIterator[Any]:
        value = await later(result)
        yield value
        await later()

    async with context() as value:
        return value


async def _timeout(result: Any) -> Any:
    async with asyncio.timeout(20):
        return await later(result)


async def _slept(result: Any) -> Any:
    await asyncio.sleep(0.001)
    return _value(result)


# What gives its outcome at every await.
LASTING: dict[str, Make] = {
    "fired Deferred": _fired,
    "pending Deferred": later,
    "inlineCallbacks": _inline,
    "ensureDeferred": lambda result: ensureDeferred(_coroutine(result)),
    "chained Deferred": _chained,
    "subclass of Deferred": _own_deferred,
    "deferToThread": lambda result: deferToThread(_value, result),
    "Deferred.fromFuture": lambda result: Deferred.fromFuture(
        asyncio.ensure_future(_coroutine(result))
    ),
    "EventualResult": lambda result: crochet.run_in_reactor(later)(result),
    "fired EventualResult": lambda result: crochet.run_in_reactor(_fired)(result),
    "EventualResult of a coroutine": lambda result: crochet.run_in_reactor(_coroutine)(result),
    "loop.create_future": lambda result: _set(asyncio.get_running_loop().create_future(), result),
    "asyncio.Future": lambda result: _set(asyncio.Future(), result),
    "task": lambda result: asyncio.create_task(_coroutine(result)),
    "ensure_future of a Deferred": lambda result: asyncio.ensure_future(later(result)),
    "shield": lambda result: asyncio.shield(later(result)),
}
# What can be awaited once.
PASSING: dict[str, Make] = {
    "coroutine": _coroutine,
    "asyncio.sleep": _slept,
    "Queue": _queue,
    "async for": _iterated,
    "async with": _entered,
    "timeout": _timeout,
    "wait_for of a Deferred": lambda result: asyncio.wait_for(later(result), 20),
    "wait_for of a coroutine": lambda result: asyncio.wait_for(_coroutine(result), 20),
    "to_thread": lambda result: asyncio.to_thread(_value, result),
    "anyio's to_thread": lambda result: anyio.to_thread.run_sync(_value, result),
}
ALL = LASTING | PASSING


def by_name(kinds: dict[str, Make]) -> Any:
    """Parametrise a test by what is awaited."""
    return pytest.mark.parametrize("make", kinds.values(), ids=kinds.keys())


# ---- values and failures


@by_name(ALL)
@in_reactor
async def test_value(make: Make) -> None:
    """An await gives the value, whatever is awaited."""
    value = object()
    assert await make(value) is value


@by_name(ALL)
@in_reactor
async def test_failure(make: Make) -> None:
    """An await raises the very exception, which says where it was raised and is not logged."""
    error = Oops()
    with logged() as errors:
        with pytest.raises(Oops) as caught:
            await make(error)
        assert caught.value is error
    assert errors == []


@by_name(LASTING)
@in_reactor
async def test_value_again(make: Make) -> None:
    """A success can be awaited again, also by another task, and gives its value again."""
    value = object()
    lasting = make(value)
    assert await lasting is value
    assert await lasting is value
    assert await asyncio.gather(lasting, lasting) == [value, value]
    assert await lasting is value


@by_name(LASTING)
@pytest.mark.parametrize("debug", [False, True], ids=["", "Deferred.debug"])
@in_reactor
async def test_failure_again(make: Make, debug: bool) -> None:
    """A failure raises at every await, counts as handled, and is never logged."""
    error = Oops()
    defer.setDebugging(debug)
    try:
        with logged() as errors:
            lasting = make(error)
            for _ in range(3):
                with pytest.raises(Oops) as caught:
                    await lasting
                assert caught.value is error
            del lasting
        assert errors == []
    finally:
        defer.setDebugging(False)


@by_name(ALL)
@in_reactor
async def test_inside_gather_and_tasks(make: Make) -> None:
    """What can be awaited can be awaited inside gather, wait, and tasks of every making."""

    async def one() -> Any:
        return await make(7)

    assert await asyncio.gather(make(7), one(), later(7)) == [7, 7, 7]
    assert await asyncio.create_task(one()) == 7
    assert await asyncio.ensure_future(one()) == 7
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(3)]
    assert [done.result() for done in tasks] == [7, 7, 7]
    done, pending = await asyncio.wait([asyncio.create_task(one())])
    assert [each.result() for each in done] == [7]
    assert not pending


@in_reactor
async def test_as_completed() -> None:
    """asyncio.as_completed gives Deferreds and coroutines in the order in which they end."""
    waits = [later("slow", 0.05), _coroutine("quick")]
    assert [await each for each in asyncio.as_completed(waits)] == ["quick", "slow"]


@in_reactor
async def test_gatherResults_and_DeferredList() -> None:
    """Twisted's ways to wait for several Deferreds give their lists and failures."""
    assert await defer.gatherResults([later(1), succeed(2)]) == [1, 2]
    error = Oops()
    (good, value), (bad, failure) = await DeferredList([later(1), later(error)], consumeErrors=True)
    assert (good, value, bad, failure.value) == (True, 1, False, error)
    with pytest.raises(defer.FirstError) as caught:
        await defer.gatherResults([later(1), later(error)], consumeErrors=True)
    assert caught.value.subFailure.value is error


@pytest.mark.parametrize("make", [fail, later], ids=["failed", "failing later"])
@in_reactor
async def test_new_failure_of_a_later_callback_is_logged(make: Callable[..., Any]) -> None:
    """What a callback raises after the await is logged if nobody handles it; the old one is not."""

    async def fail_anew() -> None:
        deferred = make(Oops("old"))
        with pytest.raises(Oops, match="old"):
            await deferred
        deferred.addErrback(lambda _: _value(Oops("new")))

    with logged() as errors:
        await fail_anew()
        await turns(2)  # the reactor has let go of the Deferred by then
    assert errors == ["Oops('new')"]


@in_reactor
async def test_debug_information_is_kept() -> None:
    """With Deferred.debug, a later failure is still logged with where the Deferred was made."""
    infos: list[str] = []

    def observe(event: LogEvent) -> None:
        infos.append(event.get("debugInfo", ""))

    async def fail_anew() -> None:
        deferred = later(Oops())
        with pytest.raises(Oops):
            await deferred
        deferred.addErrback(lambda _: _value(Oops()))

    defer.setDebugging(True)
    globalLogPublisher.addObserver(observe)
    try:
        await fail_anew()
        await turns(2)
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
        defer.setDebugging(False)
    [info] = filter(None, infos)
    assert "Deferred was created" in info
    assert "fail_anew" in info


@in_reactor
async def test_unawaited_failure_is_logged() -> None:
    """A failure that nobody awaits is logged by Twisted, as ever."""
    with logged() as errors:
        later(Oops())
        await turns(3)
    assert errors == ["Oops()"]


@pytest.mark.parametrize("make", [fail, later], ids=["failed", "failing later"])
@in_reactor
async def test_a_failure_without_traceback_has_the_users_lines(make: Callable[..., Any]) -> None:
    """The traceback of an await of a Deferred goes through the lines that awaited it."""

    async def awaits() -> None:
        await make(Oops())

    with pytest.raises(Oops) as caught:
        await awaits()
    assert "awaits" in [entry.name for entry in caught.traceback]


def _raises() -> None:
    raise Oops


@in_reactor
async def test_a_failure_keeps_the_traceback_of_where_it_was_raised() -> None:
    """Raised at the second await too, the exception still shows the line that raised it."""
    deferred = task.deferLater(reactor(), 0, _raises)
    for _ in range(2):
        with pytest.raises(Oops) as caught:
            await deferred
        assert caught.traceback[-1].name == "_raises"


@in_reactor
async def test_callbacks_before_and_after_the_await() -> None:
    """The await gives what the callbacks before it made; those after it get the same."""
    after: list[Any] = []
    deferred = later(1).addCallback(lambda value: value + 1)
    reactor().callLater(0, deferred.addCallback, after.append)
    assert await deferred == 2
    await turns(3)
    assert after == [2]


@in_reactor
async def test_paused_deferred() -> None:
    """A Deferred that has fired but is paused is waited for."""
    deferred = succeed(7)
    deferred.pause()
    reactor().callLater(0, deferred.unpause)
    assert await deferred == 7


@in_reactor
async def test_results_are_not_kept_alive() -> None:
    """What a task returned, or failed with, goes with the last reference, without the collector."""

    class Big:
        alive = 0

        def __init__(self) -> None:
            Big.alive += 1

        def __del__(self) -> None:
            Big.alive -= 1

    async def returns() -> Big:
        await later()
        return Big()

    async def fails(wait: Awaitable[Any]) -> None:
        big = Big()
        await wait
        raise Oops(big)

    gc.disable()
    try:
        await asyncio.create_task(returns())
        await (await _coroutine(returns()))
        for wait in [later(), asyncio.sleep(0), _slept(None)]:
            with pytest.raises(Oops):
                await asyncio.create_task(fails(wait))
        await turns(2)
        assert Big.alive == 0
    finally:
        gc.enable()


# ---- mixtures


def _sum_of(parts: list[Any]) -> int:
    return sum(part[0] if isinstance(part, tuple) else 1 for part in parts)


_KINDS = st.sampled_from(sorted(ALL))
_GROUPS = st.sampled_from(["sequence", "gather", "TaskGroup", "Twisted", "anyio"])
_PLANS = st.recursive(
    _KINDS, lambda plans: st.tuples(_GROUPS, st.lists(plans, max_size=4)), max_leaves=12
)


async def _mixed(plan: Any) -> int:
    """Await everything that a plan names; give how many that were."""
    if isinstance(plan, str):
        return int(await ALL[plan](1))
    group, plans = plan
    return sum([value async for value in _GROUP[group](map(_mixed, plans))])


async def _sequence(waits: Iterator[Coroutine[Any, Any, int]]) -> AsyncIterator[int]:
    for each in waits:
        yield await each


async def _gather(waits: Iterator[Coroutine[Any, Any, int]]) -> AsyncIterator[int]:
    for value in await asyncio.gather(*waits):
        yield value


async def _task_group(waits: Iterator[Coroutine[Any, Any, int]]) -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in waits]
    for each in tasks:
        yield await each


async def _twisted(waits: Iterator[Coroutine[Any, Any, int]]) -> AsyncIterator[int]:
    """Driven by Twisted, in which each part is a task, as it may need one."""

    async def driven(each: Coroutine[Any, Any, int]) -> int:
        return await asyncio.create_task(each)

    for value in await defer.gatherResults([ensureDeferred(driven(each)) for each in waits]):
        yield value


async def _anyio(waits: Iterator[Coroutine[Any, Any, int]]) -> AsyncIterator[int]:
    values = []

    async def note(each: Coroutine[Any, Any, int]) -> None:
        values.append(await each)

    async with anyio.create_task_group() as group:
        for each in waits:
            group.start_soon(note, each)
    for value in values:
        yield value


_GROUP = {
    "sequence": _sequence,
    "gather": _gather,
    "TaskGroup": _task_group,
    "Twisted": _twisted,
    "anyio": _anyio,
}


def _leaves(plan: Any) -> int:
    return 1 if isinstance(plan, str) else sum(map(_leaves, plan[1]))


@settings(max_examples=60, deadline=None)
@given(plan=_PLANS)
@in_reactor
async def test_any_mixture(plan: Any) -> None:
    """Whatever is awaited, in whatever mixture and depth, gives its value."""
    assert await _mixed(plan) == _leaves(plan)


@in_reactor
async def test_comprehensions() -> None:
    """Comprehensions that await, and iterate over what awaits, mix both worlds."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            await (later() if number % 2 else asyncio.sleep(0))
            yield number

    assert [await later(n) async for n in numbers() if await _coroutine(n)] == [1, 2, 3]
    assert {n: await make(n) for n, make in enumerate([later, _coroutine])} == {0: 0, 1: 1}
    assert {await succeed(n) async for n in numbers()} == {0, 1, 2, 3}


@in_reactor
async def test_closing_an_async_generator() -> None:
    """A generator that is abandoned awaits Deferreds in its finally, as the loop closes it."""
    closed: Deferred[str] = Deferred()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.callback(await later("closed"))

    async for _ in numbers():
        break
    gc.collect()
    assert await closed == "closed"


@in_reactor
async def test_twisted_in_task_in_twisted() -> None:
    """Coroutines driven by Twisted and tasks contain each other, four deep."""

    async def deep(level: int) -> int:
        await later()
        await asyncio.sleep(0)
        if level == 0:
            return 0
        inner = deep(level - 1)
        if level % 2:
            return 1 + await ensureDeferred(inner)
        return 1 + await asyncio.create_task(inner)

    assert await deep(4) == 4
