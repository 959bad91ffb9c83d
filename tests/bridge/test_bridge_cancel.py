"""Cancelling tasks that await Deferreds: as asyncio cancels tasks that await futures."""

from __future__ import annotations

import asyncio
import threading
from asyncio import current_task
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import crochet
import pytest
from reactor_thread import Oops, forwards, in_reactor, later, logged, reactor, turns
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, inlineCallbacks


def this() -> asyncio.Task[Any]:
    """The task that runs."""
    task = current_task()
    assert task is not None
    return task


async def _under(deferred: Deferred[Any]) -> Any:
    return await deferred


# ---- what the Deferred sees of it


def _canceller_that(does: str) -> tuple[Callable[[Deferred[Any]], Any] | None, list[Any]]:
    called: list[Any] = []

    def canceller(deferred: Deferred[Any]) -> None:
        called.append(deferred)
        if does == "calls back":
            deferred.callback("value")
        elif does == "errs back":
            deferred.errback(Oops())
        elif does == "raises":
            raise Oops
        elif does == "cancels the task again":
            task.cancel("again")

    task = this()
    return (None if does == "is missing" else canceller), called


CANCELLERS = [
    "is missing",
    "does nothing",
    "calls back",
    "errs back",
    "raises",
    "cancels the task again",
]


@pytest.mark.parametrize("does", CANCELLERS)
@pytest.mark.parametrize("first", [None, later, turns])
@in_reactor
async def test_canceller(does: str, first: Any) -> None:
    """Cancelling a task runs the Deferred's canceller and ends the task, whatever that does."""
    with logged() as errors:
        called: list[Any] = []

        async def waits() -> None:
            if first is not None:
                await first(1)
            canceller, calls = _canceller_that(does)
            deferred: Deferred[Any] = Deferred(canceller)
            reactor().callLater(0, this().cancel, "message")
            try:
                await deferred
            finally:
                called.append((canceller is None, calls == [deferred]))

        task = asyncio.create_task(waits())
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task
        assert task.cancelled()
        assert task.cancelling() == (2 if does == "cancels the task again" else 1)
        assert called == ([(True, False)] if does == "is missing" else [(False, True)])
        del task
        await turns(2)
    assert errors == (["Oops()"] if does == "raises" else [])


@in_reactor
async def test_cancelled_deferred_can_be_awaited_again() -> None:
    """The Deferred that was cancelled with a task has Twisted's CancelledError, as ever."""
    deferred: Deferred[Any] = Deferred()
    task = asyncio.create_task(_under(deferred))
    await turns(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(2):
        with pytest.raises(CancelledError):
            await deferred


@pytest.mark.parametrize("first", [None, later])
@in_reactor
async def test_cancelled_by_the_user(first: Any) -> None:
    """`d.cancel()` raises Twisted's CancelledError at the await, and no task is cancelled."""
    if first is not None:
        await first()
    deferred: Deferred[Any] = Deferred()
    reactor().callLater(0, deferred.cancel)
    with pytest.raises(CancelledError):
        await deferred
    assert this().cancelling() == 0


@in_reactor
async def test_chained_deferred() -> None:
    """Cancelling goes to the Deferred that the awaited one waits for."""
    inner: Deferred[Any] = Deferred()
    outer = defer.succeed(None).addCallback(lambda _: inner)
    task = asyncio.create_task(_under(outer))
    await turns(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(CancelledError):
        await outer
    assert inner.called


@in_reactor
async def test_inline_callbacks_that_go_on() -> None:
    """Work that swallows the cancellation goes on, and its value reaches the task."""

    @inlineCallbacks
    def stubborn() -> Iterator[Any]:
        with suppress(CancelledError):
            yield Deferred()
        value = yield later("value")
        return value

    for work in (stubborn, lambda: ensureDeferred(_stubborn())):
        task = asyncio.create_task(_under(work()))
        await turns(2)
        task.cancel()
        assert await task == "value"
        assert task.cancelling() == 1


async def _stubborn() -> str:
    with suppress(CancelledError):
        await Deferred()
    return str(await later("value"))


@pytest.mark.parametrize("ends", ["cancelled", "failing"])
@in_reactor
async def test_inline_callbacks_that_clean_up(ends: str) -> None:
    """Work that cleans up is waited for: then comes its cancellation, or how else it failed."""
    cleaned: list[str] = []

    @inlineCallbacks
    def work() -> Iterator[Any]:
        try:
            yield Deferred()
        finally:
            yield later(None, 0.01)
            cleaned.append("up")
            if ends == "failing":
                raise Oops

    task = asyncio.create_task(_under(work()))
    await turns(2)
    task.cancel("message")
    expected = asyncio.CancelledError if ends == "cancelled" else Oops
    with pytest.raises(expected, match="message" if ends == "cancelled" else None):
        await task
    assert cleaned == ["up"]
    assert task.cancelled() == (ends == "cancelled")


@in_reactor
async def test_second_cancellation_during_the_clean_up() -> None:
    """A second cancellation reaches the clean-up that the first one brought about."""
    cleanup: Deferred[Any] = Deferred()

    @inlineCallbacks
    def work() -> Iterator[Any]:
        try:
            yield Deferred()
        finally:
            yield cleanup

    task = asyncio.create_task(_under(work()))
    await turns(2)
    task.cancel("first")
    await turns(2)
    assert not task.done()
    task.cancel("second")
    with pytest.raises(asyncio.CancelledError, match="second"):
        await task
    assert cleanup.called


@in_reactor
async def test_eventual_result() -> None:
    """Cancelling a task that awaits an EventualResult cancels the work in the reactor thread."""
    work: Deferred[Any] = Deferred()
    result = crochet.run_in_reactor(lambda: work)()
    task = asyncio.create_task(forwards(result))
    await turns(3)
    task.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await task
    with pytest.raises(CancelledError):
        await result
    assert work.called


# ---- anyio


@pytest.mark.parametrize("first", [None, later])
@in_reactor
async def test_anyio_scopes(first: Any) -> None:
    """anyio's scopes cancel a Deferred that is awaited, and the task goes on after them."""
    if first is not None:
        await first()
    deferred: Deferred[Any] = Deferred()
    with anyio.move_on_after(0.01) as scope:
        await deferred
    assert scope.cancelled_caught
    with pytest.raises(CancelledError):
        await deferred
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await Deferred()
    assert await later("after") == "after"
    assert this().cancelling() == 0


@in_reactor
async def test_anyio_scope_cancelled_from_within() -> None:
    """A scope that is cancelled in a step that a Deferred brings about ends at the next await."""
    with anyio.CancelScope() as scope:
        await later()
        scope.cancel()
        await Deferred()
    assert scope.cancelled_caught
    assert await later("after") == "after"


@in_reactor
async def test_anyio_task_group() -> None:
    """A failing child of anyio's cancels the one that awaits a Deferred, which may clean up."""
    seen: list[str] = []

    async def waits() -> None:
        try:
            await Deferred()
        finally:
            with anyio.CancelScope(shield=True):
                seen.append(await later("cleaned", 0.01))

    async def fails() -> None:
        await later()
        raise Oops

    async def run() -> None:
        async with anyio.create_task_group() as children:
            children.start_soon(waits)
            children.start_soon(fails)

    with pytest.raises(ExceptionGroup):
        await run()
    assert seen == ["cleaned"]


# ---- between the firing and the resumption


def fire_elsewhere(deferred: Deferred[Any], value: Any) -> None:
    """Fire a Deferred in another thread, and wait until that is done."""
    thread = threading.Thread(target=deferred.callback, args=(value,))
    thread.start()
    thread.join()


@in_reactor
async def test_cancelled_after_a_firing_in_another_thread() -> None:
    """A cancellation between the firing and the resumption is not lost, nor is the next one."""
    first, second = Deferred[Any](), Deferred[Any]()
    seen: list[Any] = []
    task = _noting([first, second], seen)
    await turns(2)
    fire_elsewhere(first, "value")
    task.cancel("one")
    await turns(3)
    assert seen.pop() == (asyncio.CancelledError, "one")
    task.cancel("two")
    await turns(3)
    assert seen == [(asyncio.CancelledError, "two")]
    with pytest.raises(CancelledError):
        await second
    assert task.done()


@in_reactor
async def test_cancelled_after_a_firing_spares_later_callbacks() -> None:
    """What a later callback waits for is not cancelled: the await was over before."""
    deferred: Deferred[Any] = Deferred()
    task = asyncio.create_task(_under(deferred))
    await turns(2)
    fire_elsewhere(deferred, "value")
    more: Deferred[Any] = Deferred()
    deferred.addCallback(lambda _: more)
    task.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await task
    assert not more.called


def _noting(waits: list[Any], seen: list[Any]) -> asyncio.Task[None]:
    """A task that awaits one after the other, and notes how it was cancelled."""

    async def body() -> None:
        for each in waits:
            try:
                await each
            except (asyncio.CancelledError, CancelledError) as error:
                seen.append((type(error), *error.args))

    return asyncio.create_task(body())


@in_reactor
async def test_cancelled_twice_after_a_firing() -> None:
    """Work that goes on for a while ends, and a second cancellation comes before the task hears."""
    more, second, third = Deferred[Any](), Deferred[Any](), Deferred[Any]()

    @inlineCallbacks
    def stubborn() -> Iterator[Any]:
        with suppress(CancelledError):
            yield Deferred()
        yield more

    seen: list[Any] = []
    task = _noting([stubborn(), second, third], seen)
    await turns(2)
    task.cancel("one")
    more.callback(None)
    task.cancel("two")
    await turns(3)
    assert seen.pop() == (asyncio.CancelledError, "two")
    second.cancel()
    await turns(3)
    assert seen.pop() == (CancelledError,)
    task.cancel("three")
    await turns(3)
    assert seen == [(asyncio.CancelledError, "three")]
    assert third.called
    assert task.done()


@pytest.mark.parametrize("fails", [False, True])
@in_reactor
async def test_cancelled_while_callbacks_run_in_another_thread(fails: bool) -> None:
    """A Deferred that has fired cannot be cancelled, but the task is; a late failure is logged."""
    with logged() as errors:
        await _cancel_during_callbacks(fails=fails)
        await turns(2)
    assert errors == (["Oops()"] if fails else [])


async def _cancel_during_callbacks(*, fails: bool) -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.Event()
    gate = threading.Event()

    def slow(_: object) -> None:
        loop.call_soon_threadsafe(running.set)
        gate.wait(20)
        if fails:
            raise Oops

    deferred: Deferred[Any] = Deferred().addCallback(slow)
    task = asyncio.create_task(_under(deferred))
    await turns(2)
    thread = threading.Thread(target=deferred.callback, args=(None,))
    thread.start()
    await running.wait()
    task.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await task
    gate.set()
    await asyncio.to_thread(thread.join)


@in_reactor
async def test_coroutine_closed_by_hand() -> None:
    """A task whose coroutine was closed by hand fails when its Deferred fires, as in asyncio."""
    deferred: Deferred[Any] = Deferred()
    task = asyncio.create_task(_under(deferred))
    await turns(2)
    coro: Any = task.get_coro()
    coro.close()
    deferred.callback(None)
    with pytest.raises(RuntimeError, match="reuse"):
        await task


@in_reactor
async def test_done_with_its_last_step() -> None:
    """A task is done as soon as its coroutine has returned, or failed: too late to cancel it."""

    async def ends(error: Exception | None, deferred: Deferred[Any]) -> None:
        await deferred
        if error is not None:
            raise error

    async def ended(error: Exception | None) -> asyncio.Task[None]:
        deferred: Deferred[Any] = Deferred()
        task = asyncio.create_task(ends(error, deferred))
        await turns(2)
        deferred.callback(None)  # steps it to its end
        assert task.done()
        assert not task.cancel("message")
        return task

    assert (await ended(None)).exception() is None
    assert isinstance((await ended(Oops())).exception(), Oops)


async def _resumed(wait: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
    """A task that a Deferred has just resumed, and that has come to what ``wait`` gives."""
    deferred: Deferred[Any] = Deferred()

    async def body() -> Any:
        await deferred
        return await wait()

    task = asyncio.create_task(body())
    await turns(2)
    deferred.callback(None)
    return task


@pytest.mark.parametrize("kind", ["loop.create_future", "asyncio.Future", "task"])
@in_reactor
async def test_cancelled_before_the_task_takes_over(kind: str) -> None:
    """A task cancelled when its coroutine has just come to asyncio's future cancels that future."""
    future: asyncio.Future[Any] = {
        "loop.create_future": asyncio.get_running_loop().create_future,
        "asyncio.Future": asyncio.Future,
        "task": lambda: asyncio.ensure_future(Deferred()),
    }[kind]()
    task = await _resumed(lambda: future)
    task.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await task
    assert future.cancelled()


@in_reactor
async def test_cancelled_before_the_task_takes_over_sleep() -> None:
    """So is one that has come to sleep(0), or to gather, whose children then never begin."""
    begun: list[None] = []

    async def child() -> None:
        begun.append(None)

    for wait in (lambda: asyncio.sleep(0), lambda: asyncio.gather(child(), child())):
        task = await _resumed(wait)
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task
    assert begun == []
