"""The loop's `call_soon`: a task that awaits its first Deferred comes to its Bridge."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from reactor_thread import forwards, in_reactor, later
from twisted.internet.defer import Deferred

from twisted_ipython._bridge import call_soon, task_factory
from twisted_ipython._bridge.call_soon import methods_of, resuming


async def _values() -> AsyncIterator[str]:
    yield await later("value")


async def _for() -> Any:
    seen = ""
    async for value in _values():
        seen += value
    return seen


@contextlib.asynccontextmanager
async def _manager() -> AsyncIterator[str]:
    yield await later("value")


async def _with() -> Any:
    async with _manager() as value:
        return value


class _Delegates:
    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from later("value").__await__())


class _Coroutines:
    def __await__(self) -> Generator[Any, Any, Any]:
        return forwards(later("value")).__await__()


class _Yields:
    """Gives its Deferred away by hand, as code for Twisted's driver may."""

    def __init__(self) -> None:
        self.deferred: Deferred[Any] = later("value")

    def __await__(self) -> Generator[Any, Any, Any]:
        yield self.deferred
        return self.deferred.result


class _Iterates(Iterator[Any]):
    """An iterator that shows nothing of what it does."""

    def __init__(self) -> None:
        self._inner = iter(_Yields().__await__())

    def __await__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._inner)


# Where the Deferred is found along the awaits, and all objects need not be gone through.
AWAITS: dict[str, Callable[[], Any]] = {
    "async for": _for,
    "async with": _with,
    "anext": lambda: anext(_values()),
    "anext with a default": lambda: anext(_values(), None),
    "asend": lambda: _values().asend(None),
    "delegated to": _Delegates,
    "a coroutine's __await__": _Coroutines,
}
# Where they are.
HIDES: dict[str, Callable[[], Any]] = {"yielded by hand": _Yields, "an iterator": _Iterates}


@pytest.mark.parametrize("make", (AWAITS | HIDES).values(), ids=AWAITS | HIDES)
@in_reactor
async def test_first_deferred_behind(make: Callable[[], Any]) -> None:
    """A task's first Deferred is found behind whatever lies between it and the task."""
    gone_through: list[int] = []

    def objects() -> list[Any]:
        gone_through.append(1)
        return gc.get_objects()

    async def body() -> Any:
        value = await make()
        assert await later(1) == 1
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call_soon, "gc", SimpleNamespace(**vars(gc) | {"get_objects": objects}))
        assert await asyncio.create_task(body()) == "value"
    assert bool(gone_through) is (make in HIDES.values())


@in_reactor
async def test_deferreds_that_look_the_same() -> None:
    """Many tasks at once, each of whose Deferreds is given away by hand, get their own."""

    async def body(number: int) -> int:
        awaitable = _Yields()
        awaitable.deferred.addCallback(lambda _: number)
        return int(await awaitable)

    assert await asyncio.gather(*map(body, range(20))) == list(range(20))


@in_reactor
async def test_future_of_another_loop_by_hand() -> None:
    """A future of a loop that does not run is refused in a sentence, wherever it is awaited."""
    loop = asyncio.new_event_loop()
    future = loop.create_future()

    class Awaits:
        def __await__(self) -> Generator[Any, Any, Any]:
            return (yield from future.__await__())

    for awaitable in (future, Awaits()):
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await asyncio.create_task(forwards(awaitable))
    loop.close()


@pytest.fixture(params=[False, True], ids=["each turn", "resumes"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of its own, with the bridge, which runs in this thread; and one that resumes."""
    one = asyncio.new_event_loop()
    if request.param:
        resuming(one)
    undo = task_factory.attach(one, resumes=request.param)
    yield one
    undo()
    one.close()


def test_exit_of_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    """SystemExit of a plain callback ends a loop, as on asyncio's own; one of a task does not."""

    async def leaves() -> None:
        sys.exit("task")

    async def waits() -> None:
        task = loop.create_task(leaves())
        await asyncio.wait([task])
        assert str(task.exception()) == "task"
        loop.call_soon(sys.exit, "callback")
        await asyncio.sleep(9)

    waiting = loop.create_task(waits())
    with pytest.raises(SystemExit, match="callback"):
        loop.run_until_complete(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)


def test_stop_before_an_exit(loop: asyncio.AbstractEventLoop) -> None:
    """A stop holds that was asked for in the turn in which a task exits, and the next run runs."""
    ran: list[str] = []

    async def leaves() -> None:
        sys.exit("task")

    tasks = [loop.create_task(leaves()) for _ in range(2)]
    loop.call_soon(loop.stop)
    tasks += [loop.create_task(leaves()) for _ in range(2)]
    loop.call_later(5, sys.exit, "the loop forgot to stop")
    loop.run_forever()
    loop.call_soon(ran.append, "next run")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == ["next run"]
    assert [str(task.exception()) for task in tasks] == ["task"] * 4


@pytest.mark.parametrize("debug", [False, True])
def test_handles(loop: asyncio.AbstractEventLoop, debug: bool) -> None:
    """What it gives can be cancelled, and says in debug mode where it was made."""
    loop.set_debug(debug)
    called: list[int] = []

    async def body() -> None:
        handles = [loop.call_soon(called.append, number) for number in range(3)]
        handles[1].cancel()
        made = f"created at {__file__}:" if debug else ""
        assert made in repr(handles[0])
        deferred: Deferred[str] = Deferred()
        loop.call_soon(deferred.callback, "value")
        assert await deferred == "value"

    loop.run_until_complete(body())
    assert called == [0, 2]


def test_loop_without_the_names() -> None:
    """On a loop that has none of asyncio's names, an exit of a task's step ends nothing."""
    seen: list[Any] = []

    class Loop:
        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> None:
            seen.append((callback, args, context))

        def get_debug(self) -> bool:
            return False

        def is_running(self) -> bool:
            return False

    loop: Any = Loop()
    assert methods_of(loop).keys() == {"call_soon"}
    loop.call_soon = methods_of(loop)["call_soon"]

    async def leaves() -> None:
        sys.exit("bye")

    task = asyncio.Task(leaves(), loop=loop)
    loop.call_soon(seen.append, 1)
    (run, args, context), (append, one, _) = seen
    assert (append, one) == (seen.append, (1,))
    asyncio._set_running_loop(loop)
    try:
        context.run(run, *args)
    finally:
        asyncio._set_running_loop(None)
    assert str(task.exception()) == "bye"
