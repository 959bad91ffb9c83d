"""Coroutines that Twisted drives await asyncio's objects, or are told to make a task."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from reactor_thread import Oops, OwnCoroutine, in_reactor, later, reactor, turns
from shells import run_python
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)

from twisted_ipython._base.tracebacks import explain

Body = Callable[[], Coroutine[Any, Any, Any]]


async def _in_a_step(body: Body) -> Any:
    """Begin in a step of this task's: `current_task()` is then a task that is not the body's."""
    return await ensureDeferred(body())


async def _in_a_resumed_step(body: Body) -> Any:
    """Begin in a step that a Deferred brought about."""
    await later()
    return await ensureDeferred(body())


async def _in_a_callback(body: Body) -> Any:
    """Begin in a callback of the reactor's, where there is no task."""
    deferred = Deferred[Any]()
    deferred.addCallback(lambda _: ensureDeferred(body()))
    asyncio.get_running_loop().call_soon(deferred.callback, None)
    return await deferred


async def _in_inline_callbacks(body: Body) -> Any:
    """Begin as what inlineCallbacks yields."""

    @inlineCallbacks
    def inline() -> Iterator[Any]:
        value = yield body()
        return value

    return await inline()


begun = pytest.mark.parametrize(
    "begin", [_in_a_step, _in_a_resumed_step, _in_a_callback, _in_inline_callbacks]
)


# ---- what works


async def _future(value: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, value)
    assert await future is value
    return await future


async def _queue(value: Any) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue(1)
    await queue.put(None)
    reactor().callLater(0, queue.get_nowait)
    await queue.put(value)
    reactor().callLater(0, queue.put_nowait, None)
    return await queue.get()


async def _lock_and_event(value: Any) -> Any:
    lock, event, condition = asyncio.Lock(), asyncio.Event(), asyncio.Condition()
    await lock.acquire()
    reactor().callLater(0, lock.release)
    async with lock, asyncio.Semaphore(), condition:
        reactor().callLater(0, event.set)
        await event.wait()
    return value


async def _iterate(value: Any) -> Any:
    async def values() -> AsyncIterator[Any]:
        await asyncio.sleep(0.001)
        yield await later(value)

    (result,) = [each async for each in values()]
    return result


async def _streams(value: Any) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        assert await reader.read() == b"line\n"
        writer.close()
        await writer.wait_closed()
    return value


async def _process(value: Any) -> Any:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    assert await process.wait() == 0
    return value


async def _wait(value: Any) -> Any:
    done, _ = await asyncio.wait([asyncio.ensure_future(later(value))])
    return await done.pop()


async def _gather(value: Any) -> Any:
    return (await Deferred.fromFuture(asyncio.gather(later(value), _future(1))))[0]


async def _slept(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return value


async def _driven_deeper(value: Any) -> Any:
    return (await gatherResults([ensureDeferred(_slept(value)), ensureDeferred(_future(1))]))[0]


async def _any_of_a_task(value: Any) -> Any:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(_future(value))
        assert await asyncio.gather(later(1), _future(2)) == [1, 2]
    return await task


WORKS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "sleep": _slept,
    "future": _future,
    "task": lambda value: asyncio.create_task(_slept(value)),
    "shield": lambda value: asyncio.shield(asyncio.ensure_future(later(value))),
    "Queue": _queue,
    "Lock, Event, Condition and Semaphore": _lock_and_event,
    "to_thread": lambda value: asyncio.to_thread(lambda: value),
    "streams": _streams,
    "child process": _process,
    "wait": _wait,
    "async for": _iterate,
    "Deferred.fromFuture of gather": _gather,
    "coroutines driven deeper down": _driven_deeper,
    "anything, by create_task": lambda value: asyncio.create_task(_any_of_a_task(value)),
}


@begun
@pytest.mark.parametrize("make", WORKS.values(), ids=WORKS.keys())
@in_reactor
async def test_works(begin: Any, make: Any) -> None:
    """What needs no task of its own works where Twisted drives, mixed with Deferreds."""
    value = object()

    async def body() -> Any:
        before = asyncio.current_task()
        await later()
        result = await make(value)
        await later()
        assert before is None or before in asyncio.all_tasks()
        return result

    assert await begin(body) is value


@begun
@in_reactor
async def test_failures(begin: Any) -> None:
    """Futures and tasks that fail raise there, again and again."""

    async def fails() -> None:
        await later(Oops())

    async def body() -> str:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(Oops())
        for failing in (asyncio.create_task(fails()), future):
            for _ in range(2):
                with pytest.raises(Oops):
                    await failing
        return "done"

    assert await begin(body) == "done"


# ---- what needs a task


async def _timeout() -> None:
    async with asyncio.timeout(0.01):
        await Deferred()


async def _expired_timeout() -> None:
    async with asyncio.timeout(0):
        await later()


async def _wait_for() -> None:
    await asyncio.wait_for(Deferred(), 0.01)


async def _task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_slept(1))
        await asyncio.sleep(0)


async def _gather_awaited() -> None:
    await asyncio.gather(_slept(1))


async def _gather_of_list() -> None:
    await asyncio.gather(*[_slept(1)], return_exceptions=True)


async def _future_by_hand() -> None:
    await asyncio.Future()


def _texts(error: BaseException) -> str:
    """What is shown of an exception: its message, notes, and those of its members."""
    explain(error)
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n".join([str(error), *getattr(error, "__notes__", ()), *map(_texts, inner)])


FAILS: list[tuple[Body, str]] = [
    (_timeout, "imeout"),
    (_expired_timeout, "imeout"),
    (_task_group, "TaskGroup"),
    (_gather_awaited, "future"),
    (_gather_of_list, "future"),
    (_future_by_hand, "future"),
]
if sys.version_info >= (3, 12):  # which runs it with the help of asyncio.timeout
    FAILS.append((_wait_for, ""))


@begun
@pytest.mark.parametrize(("body", "what"), FAILS, ids=lambda each: getattr(each, "__name__", ""))
@in_reactor
async def test_fails_with_a_sentence(begin: Any, body: Body, what: str) -> None:
    """What needs a task fails at once, says to use create_task, and harms no other task."""
    with pytest.raises((RuntimeError, ExceptionGroup)) as caught:
        await begin(body)
    texts = _texts(caught.value)
    assert what in texts
    assert "await asyncio.create_task(...)" in texts
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await later(None, 0.02)  # longer than the timeouts: they do not strike here


@pytest.mark.parametrize("body", [_timeout, _wait_for, _task_group, _gather_awaited])
@in_reactor
async def test_the_sentence_is_right(body: Body) -> None:
    """As a task, as the sentence says, the same code works in a coroutine that Twisted drives."""

    async def driven() -> str:
        with suppress(TimeoutError):
            await asyncio.create_task(body())
        return "done"

    assert await ensureDeferred(driven()) == "done"


@in_reactor
async def test_names_wait_for() -> None:
    """Where wait_for needs a task, the sentence names it, and not what it is made of."""
    if sys.version_info >= (3, 12):
        with pytest.raises(RuntimeError, match=r"asyncio\.wait_for needs an asyncio Task"):
            await ensureDeferred(_wait_for())
    else:
        with pytest.raises(TimeoutError):
            await ensureDeferred(_wait_for())


@pytest.mark.parametrize("of", [lambda coro: coro, OwnCoroutine], ids=["Python's", "a class's"])
@in_reactor
async def test_a_task_resumed_by_driven_code_is_a_task(of: Any) -> None:
    """A task that goes on because a coroutine driven by Twisted fired its Deferred has its Task."""
    fired: Deferred[Any] = Deferred()

    async def waits() -> str:
        await fired
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(_slept(1))
        await asyncio.gather(_slept(1))
        return "done"

    async def fires() -> None:
        await later()
        fired.callback(None)

    task = asyncio.create_task(of(waits()))
    await ensureDeferred(fires())
    assert await task == "done"


# ---- cancelling


@begun
@pytest.mark.parametrize("kind", ["future", "task", "sleep", "queue"])
@in_reactor
async def test_cancelled(begin: Any, kind: str) -> None:
    """Cancelling the Deferred raises Twisted's CancelledError there, and cancels the future."""
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(Deferred())
    waits: dict[str, Callable[[], Awaitable[Any]]] = {
        "future": lambda: future,
        "task": lambda: task,
        "sleep": lambda: asyncio.sleep(20),
        "queue": lambda: asyncio.Queue[Any]().get(),
    }
    seen: list[str] = []

    async def body() -> None:
        try:
            await waits[kind]()
        except CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    outer = asyncio.create_task(begin(body))
    await turns(4)
    assert not outer.done()
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert seen == ["cancelled", "cleaned up"]
    await turns(2)
    assert future.cancelled() == (kind == "future")
    assert task.cancelled() == (kind == "task")
    future.cancel()
    task.cancel()


@in_reactor
async def test_future_cancelled() -> None:
    """A future that somebody cancels raises asyncio's CancelledError, whoever drives."""
    future = asyncio.get_running_loop().create_future()

    async def body() -> None:
        await future

    deferred = ensureDeferred(body())
    future.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await deferred


# ---- servers and frameworks


@in_reactor
async def test_klein_route() -> None:
    """A Klein route awaits asyncio's sleep, a task and a thread, and is asked with treq."""
    import treq
    from klein import Klein
    from twisted.web.server import Site

    app = Klein()

    @app.route("/<name>")
    async def greet(request: Any, name: str) -> str:
        await asyncio.sleep(0.001)
        greeting = await asyncio.to_thread(lambda: "Hello")
        return f"{greeting}, {await asyncio.create_task(_slept(name))}"

    port = reactor().listenTCP(0, Site(app.resource()), interface="127.0.0.1")
    try:
        url = f"http://127.0.0.1:{port.getHost().port}"
        answers = [treq.get(f"{url}/{name}", persistent=False) for name in ("a", "b")]
        texts = [await treq.content(answer) for answer in await gatherResults(answers)]
        assert texts == [b"Hello, a", b"Hello, b"]
    finally:
        await port.stopListening()


def test_in_a_reactor_that_somebody_else_runs(tmp_path: Path) -> None:
    """With the bridge on its loop, tests that pytest-twisted drives await asyncio's objects."""
    cases = Path(__file__).parents[1] / "support" / "pytest_twisted_cases.py"
    options = ["-p", "no:cacheprovider", "-W", "error", "-c", tmp_path / "pytest.ini", "-q"]
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {cases.parent}\n")
    done = run_python("-m", "pytest", *options, "--reactor", "asyncio", cases, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "5 passed" in done.stdout
