"""What is completed in another thread, or lives on another loop, resumes the reactor thread."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import crochet
import pytest
from reactor_thread import Oops, forwards, in_reactor, later, logged, turns
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python import threadable

SECONDS = 20


# ---- completed in another thread


def _loop_future() -> tuple[Any, Callable[[Any], None], Callable[[Any], None]]:
    future = asyncio.get_running_loop().create_future()
    return future, future.set_result, future.set_exception


def _future() -> tuple[Any, Callable[[Any], None], Callable[[Any], None]]:
    future = asyncio.Future[Any]()
    return future, future.set_result, future.set_exception


def _deferred() -> tuple[Any, Callable[[Any], None], Callable[[Any], None]]:
    deferred: Deferred[Any] = Deferred()
    return deferred, deferred.callback, deferred.errback


def _chained() -> tuple[Any, Callable[[Any], None], Callable[[Any], None]]:
    inner, succeed, fail = _deferred()
    outer: Deferred[Any] = Deferred()
    outer.callback(None)
    return outer.addCallback(lambda _: inner), succeed, fail


def _eventual() -> tuple[Any, Callable[[Any], None], Callable[[Any], None]]:
    inner, succeed, fail = _deferred()
    return crochet.run_in_reactor(lambda: inner)(), succeed, fail


KINDS = pytest.mark.parametrize(
    "make", [_deferred, _chained, _loop_future, _future, _eventual], ids=lambda make: make.__name__
)


@KINDS
@pytest.mark.parametrize("first", [None, later, turns])
@in_reactor
async def test_completed_in_another_thread(make: Any, first: Any) -> None:
    """It resumes the coroutine in the reactor thread, within 0.2 s, though the reactor is idle."""
    delays = []
    for _ in range(5):
        if first is not None:
            await first(1)
        awaited, succeed, _ = make()
        times: list[float] = []

        def complete(times: list[float] = times, succeed: Any = succeed) -> None:
            times.append(monotonic())
            succeed("value")

        timer = threading.Timer(0.01, complete)
        timer.start()
        assert await forwards(awaited) == "value"
        delays.append(monotonic() - times[0])
        assert threadable.isInIOThread()
        timer.join()
    assert statistics.median(delays) < 0.2


@KINDS
@in_reactor
async def test_failed_in_another_thread(make: Any) -> None:
    """A failure from another thread raises, counts as handled, and raises again."""
    with logged() as errors:
        awaited, _, fail = make()
        threading.Timer(0.01, fail, [Oops()]).start()
        for _ in range(2):
            with pytest.raises(Oops):
                await awaited
            assert threadable.isInIOThread()
        del awaited, fail
    assert errors == []


@in_reactor
async def test_completed_in_a_pool_thread() -> None:
    """Pool threads of asyncio's complete Deferreds, while other tasks run."""
    deferreds = [Deferred[int]() for _ in range(50)]
    threads = [asyncio.to_thread(each.callback, n) for n, each in enumerate(deferreds)]
    values = await asyncio.gather(*deferreds, *threads)
    assert values[:50] == list(range(50))


@in_reactor
async def test_cancelled_and_completed_at_once() -> None:
    """A Deferred that another thread completes while its task is cancelled ends in one of both."""
    for _ in range(50):
        deferred: Deferred[Any] = Deferred()
        task = asyncio.create_task(forwards(deferred))
        await turns(1)
        thread = threading.Thread(target=lambda d=deferred: suppress_called(d))
        thread.start()
        task.cancel()
        with suppress(asyncio.CancelledError):
            assert await task == "value"
        await asyncio.to_thread(thread.join)


def suppress_called(deferred: Deferred[Any]) -> None:
    """Fire a Deferred, unless it was cancelled."""
    with suppress(Exception):
        deferred.callback("value")


# ---- another loop


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of asyncio's that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(SECONDS)
    loop.close()


def _task_on(loop: asyncio.AbstractEventLoop, make: Any) -> asyncio.Task[Any]:
    """A task of another loop; waits for its making."""

    async def create() -> asyncio.Task[Any]:
        task = asyncio.create_task(make())
        await asyncio.sleep(0)
        return task

    return asyncio.run_coroutine_threadsafe(create(), loop).result(SECONDS)


async def _returns() -> tuple[str, int]:
    await asyncio.sleep(0.01)
    return "value", threading.get_ident()


async def _fails() -> None:
    await asyncio.sleep(0.01)
    raise Oops


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("first", [None, later, turns])
@in_reactor
async def test_task_of_another_loop(first: Any, other_loop: asyncio.AbstractEventLoop) -> None:
    """A task of a loop in another thread runs there, and its value comes here, again and again."""
    task = _task_on(other_loop, _returns)
    if first is not None:
        await first(1)
    value, ident = await task
    assert value == "value"
    assert ident != threading.get_ident()
    assert await task == (value, ident)
    assert await asyncio.gather(forwards(task), later(1)) == [(value, ident), 1]


@pytest.mark.parametrize("first", [None, later])
@in_reactor
async def test_failing_task_of_another_loop(
    first: Any, other_loop: asyncio.AbstractEventLoop
) -> None:
    """Its failure is raised here."""
    task = _task_on(other_loop, _fails)
    if first is not None:
        await first()
    with pytest.raises(Oops):
        await task


@in_reactor
async def test_plain_future_of_another_loop(other_loop: asyncio.AbstractEventLoop) -> None:
    """A future of another loop, completed there, is awaited here."""
    future = other_loop.create_future()
    other_loop.call_soon_threadsafe(future.set_result, "value")
    assert await future == "value"


@pytest.mark.parametrize("first", [None, later])
@in_reactor
async def test_cancelled_there(first: Any, other_loop: asyncio.AbstractEventLoop) -> None:
    """A task that is cancelled on its loop raises CancelledError here, with its message."""
    task = _task_on(other_loop, _forever)
    if first is not None:
        await first()
    other_loop.call_soon_threadsafe(task.cancel, "message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await task
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


@pytest.mark.parametrize("first", [None, later])
@in_reactor
async def test_cancelled_here(first: Any, other_loop: asyncio.AbstractEventLoop) -> None:
    """Cancelling the task that awaits cancels the other one, and waits for its clean-up."""
    seen: list[Any] = []

    async def cleans_up() -> None:
        try:
            await _forever()
        except asyncio.CancelledError as error:
            await asyncio.sleep(0.01)
            seen.append((error.args, threading.get_ident()))
            raise

    there = _task_on(other_loop, cleans_up)

    async def awaits() -> None:
        if first is not None:
            await first()
        await there

    here = asyncio.create_task(awaits())
    await turns(5)
    here.cancel("message")
    with pytest.raises(asyncio.CancelledError):
        await here
    assert here.cancelled()
    assert there.cancelled()
    [(args, ident)] = seen
    assert args == ("message",)
    assert ident != threading.get_ident()


@in_reactor
async def test_stubborn_task_of_another_loop(other_loop: asyncio.AbstractEventLoop) -> None:
    """A task there that swallows the cancellation goes on, and its value comes here."""

    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await _forever()
        return "value"

    there = _task_on(other_loop, stubborn)
    here = asyncio.create_task(forwards(there))
    await turns(3)
    here.cancel()
    assert await here == "value"


@in_reactor
async def test_cancelled_too_late_for_the_other_loop(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    """A cancellation is not lost when the other future is done before its loop hears of it."""
    future = other_loop.create_future()
    here = asyncio.create_task(forwards(future))
    await turns(3)
    gate, busy = threading.Event(), threading.Event()

    def complete() -> None:
        busy.set()
        gate.wait(SECONDS)
        future.set_result("value")

    other_loop.call_soon_threadsafe(complete)
    assert busy.wait(SECONDS)
    here.cancel("message")  # the other loop will hear after it has completed the future
    gate.set()
    with pytest.raises(asyncio.CancelledError, match="message"):
        await here


@in_reactor
async def test_timeout_and_group_around_another_loop(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    """asyncio.timeout and a TaskGroup cancel what lives on another loop."""
    there = [_task_on(other_loop, _forever) for _ in range(2)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await there[0]

    async def group() -> None:
        async with asyncio.TaskGroup() as children:
            children.create_task(forwards(there[1]))
            await later(Oops(), 0.01)

    with pytest.raises(ExceptionGroup):
        await group()
    assert [task.cancelled() for task in there] == [True, True]


@pytest.mark.parametrize("first", [None, later])
@pytest.mark.parametrize("closed", [False, True])
@in_reactor
async def test_loop_that_does_not_run(first: Any, closed: bool) -> None:
    """A future of a loop that does not run is refused at once, in a sentence; a done one is not."""
    loop = asyncio.new_event_loop()
    never, done = loop.create_future(), loop.create_future()
    done.set_result("value")
    if closed:
        loop.close()
    for _ in range(2):
        if first is not None:
            await first()
        with pytest.raises(RuntimeError, match=r"another event loop.*not running.*Create it in"):
            await never
        assert await done == "value"
    loop.close()


@in_reactor
async def test_done_before_it_is_refused() -> None:
    """A future that another thread completes just before it would be refused gives its value."""

    class Completed(asyncio.Future[str]):
        def get_loop(self) -> asyncio.AbstractEventLoop:
            if not self.done():
                self.set_result("value")
            return super().get_loop()

    async def waits(first: Awaitable[Any]) -> str:
        await first
        return await Completed(loop=loop)

    loop = asyncio.new_event_loop()
    for first in (asyncio.sleep(0), later()):
        assert await asyncio.create_task(waits(first)) == "value"
    loop.close()


@in_reactor
async def test_loop_that_stops() -> None:
    """Cancelling works although the other loop has stopped meanwhile."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    future = loop.create_future()
    here = [asyncio.create_task(forwards(future)) for _ in range(2)]
    await turns(3)
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.to_thread(thread.join)
    here[0].cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await here[0]
    loop.close()
    here[1].cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await here[1]


@in_reactor
async def test_driven_by_twisted(other_loop: asyncio.AbstractEventLoop) -> None:
    """Code that Twisted drives awaits another loop's task as part of a task of its own."""
    task = _task_on(other_loop, _returns)

    async def driven() -> Any:
        return await asyncio.create_task(forwards(task))

    assert (await ensureDeferred(driven()))[0] == "value"
