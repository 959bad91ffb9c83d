"""Tasks of the reactor's loop: chains, contexts, exits, introspection, task factories."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from asyncio import current_task
from contextvars import ContextVar, copy_context
from io import StringIO
from typing import Any

import pytest
from reactor_thread import Oops, OwnCoroutine, forwards, in_reactor, later, turns
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.python import threadable

from twisted_ipython._private.asyncio import context_of


def _depth() -> int:
    """How deep the stack is."""
    frame, depth = inspect.currentframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


# ---- chains


@pytest.mark.parametrize("first", [None, later])
@in_reactor
async def test_fired_deferreds_in_a_row(first: Any) -> None:
    """100,000 fired Deferreds awaited in a row do not recurse."""
    if first is not None:
        await first()
    depth = _depth()
    for number in range(100_000):
        assert await succeed(number) == number
    assert _depth() == depth


@pytest.mark.parametrize("driven", [False, True])
@in_reactor
async def test_coroutines_that_resume_each_other(driven: bool) -> None:
    """10,000 coroutines, each of which fires the Deferred that the next one awaits."""
    deferreds = [Deferred[int]() for _ in range(10_001)]
    deepest = 0

    async def link(number: int) -> None:
        nonlocal deepest
        deferreds[number + 1].callback(1 + await deferreds[number])
        deepest = max(deepest, _depth() if number % 10 == 0 else 0)

    async def driven_link(number: int) -> None:
        await ensureDeferred(link(number)) if number % 500 == 0 else await link(number)

    make = driven_link if driven else link
    tasks = [asyncio.create_task(make(number)) for number in range(10_000)]
    await turns(2)
    deferreds[0].callback(0)
    assert await deferreds[-1] == 10_000
    await asyncio.wait(tasks)
    assert deepest < 500


@in_reactor
async def test_chained_deferreds() -> None:
    """A Deferred that waits for one that waits for another, 10,000 long, is awaited."""
    last: Deferred[int] = Deferred()
    deferred = last
    for _ in range(10_000):
        deferred = succeed(None).addCallback(lambda _, inner=deferred: inner)
    later(7).addCallback(last.callback)
    assert await deferred == 7


@in_reactor
async def test_many_at_once() -> None:
    """Many tasks that await timers of Twisted's and of asyncio's end, each with its own value."""

    async def one(number: int) -> int:
        await (later() if number % 2 else asyncio.sleep(0))
        await asyncio.sleep(0.001 * (number % 3))
        return int(await later(number, 0.001 * (number % 5)))

    assert await asyncio.gather(*map(one, range(500))) == list(range(500))


# ---- which task runs


@in_reactor
async def test_current_task() -> None:
    """Each step runs as its own task, also one that is begun inside another task's step."""
    outer, fired = current_task(), Deferred[Any]()
    seen: list[Any] = []

    async def waits() -> None:
        await fired
        seen.append(current_task())
        await later()
        seen.append(current_task())
        await asyncio.sleep(0)
        seen.append(current_task())

    task = asyncio.create_task(waits())
    await turns(1)
    fired.callback(None)
    assert current_task() is outer
    assert seen == [task]
    await task
    assert seen == [task] * 3
    await later()
    assert current_task() is outer


@in_reactor
async def test_no_task_in_callbacks() -> None:
    """Between the steps there is no current task, as asyncio has it."""
    seen: Deferred[Any] = Deferred()
    asyncio.get_running_loop().call_soon(lambda: seen.callback(current_task()))
    assert await seen is None
    assert await later().addCallback(lambda _: current_task()) is None


@in_reactor
async def test_nested_steps_leave_and_enter_in_order() -> None:
    """Three tasks that resume each other inside their steps each find themselves again."""
    one, two, three = Deferred[Any](), Deferred[Any](), Deferred[Any]()
    order: list[str] = []

    async def step(name: str, awaited: Deferred[Any], fires: Deferred[Any] | None) -> None:
        await awaited
        mine = current_task()
        order.append(f"{name} in")
        if fires is not None:
            fires.callback(None)
        order.append(f"{name} out")
        assert current_task() is mine

    tasks = [
        asyncio.create_task(step("one", one, two)),
        asyncio.create_task(step("two", two, three)),
        asyncio.create_task(step("three", three, None)),
    ]
    await turns(1)
    mine = current_task()
    one.callback(None)
    assert current_task() is mine
    assert order == ["one in", "two in", "three in", "three out", "two out", "one out"]
    await asyncio.gather(*tasks)


# ---- contexts

variable: ContextVar[str] = ContextVar("variable", default="unset")


@in_reactor
async def test_contexts() -> None:
    """Each task keeps its own context variables, whoever fires the Deferred that it awaits."""
    fired: Deferred[Any] = Deferred()

    async def one(value: str) -> list[str]:
        variable.set(value)
        values = []
        for wait in (fired, later(), asyncio.sleep(0), later()):
            await wait
            values.append(variable.get())
        return values

    tasks = [asyncio.create_task(one(value)) for value in "ab"]
    await turns(1)
    variable.set("firing")
    fired.callback(None)
    assert await asyncio.gather(*tasks) == [["a"] * 4, ["b"] * 4]
    assert variable.get() == "firing"


@in_reactor
async def test_context_of_a_task_begins_as_its_creators() -> None:
    """A task sees what its creator had set, and its own changes stay with it."""

    async def change() -> str:
        await later()
        before = variable.get()
        variable.set("changed")
        await later()
        return before

    variable.set("mine")
    assert await asyncio.create_task(change()) == "mine"
    assert variable.get() == "mine"


@in_reactor
async def test_shared_context() -> None:
    """Tasks that share one Context share its changes, and may fire each other's Deferreds."""
    context = copy_context()
    fired: Deferred[Any] = Deferred()

    async def sets() -> None:
        await later()
        variable.set("shared")
        fired.callback(None)
        assert variable.get() == "shared"

    async def gets() -> str:
        await fired
        return variable.get()

    loop = asyncio.get_running_loop()
    getting = loop.create_task(gets(), context=context)
    setting = loop.create_task(sets(), context=context)
    assert await getting == "shared"
    await setting
    assert context[variable] == "shared"
    assert variable.get() != "shared"


# ---- exits


class Abort(BaseException):
    """A BaseException of the user's."""


async def _raise(error: BaseException) -> None:
    raise error


async def _raise_after_deferred(error: BaseException) -> None:
    await later()
    raise error


async def _raise_after_sleep(error: BaseException) -> None:
    await later()
    await asyncio.sleep(0)
    raise error


async def _raise_from_deferred(error: BaseException) -> None:
    await later(error)


async def _raise_when_cancelled(error: BaseException) -> None:
    try:
        current = current_task()
        assert current is not None
        current.cancel()
        await Deferred()
    except asyncio.CancelledError:
        raise error from None


WAYS = [
    _raise,
    _raise_after_deferred,
    _raise_after_sleep,
    _raise_from_deferred,
    _raise_when_cancelled,
]
EXITS = [SystemExit, KeyboardInterrupt, Abort, StopAsyncIteration]


@pytest.mark.parametrize("kind", EXITS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@in_reactor
async def test_exits(way: Any, kind: type[BaseException]) -> None:
    """What would end asyncio's loop is a failure of the task; the reactor goes on."""
    error = kind("bye")
    task = asyncio.create_task(way(error))
    with pytest.raises(kind) as caught:
        await task
    assert caught.value is error
    assert way.__name__ in [entry.name for entry in caught.traceback]
    assert task.exception() is error
    with pytest.raises(kind, match="bye"):
        await task
    with pytest.raises(kind, match="bye"):
        task.result()
    with pytest.raises(kind, match="outer"):
        await asyncio.create_task(forwards(asyncio.create_task(way(kind("outer")))))
    assert threadable.isInIOThread()
    assert await later("after") == "after"


@pytest.mark.parametrize("way", WAYS[:3], ids=lambda way: way.__name__)
@in_reactor
async def test_exits_in_groups(way: Any) -> None:
    """SystemExit comes out of gather and TaskGroup as itself, and the siblings are cancelled."""
    with pytest.raises(SystemExit):
        await asyncio.gather(way(SystemExit(3)), later())
    cancelled: list[bool] = []

    async def sibling() -> None:
        try:
            await Deferred()
        finally:
            cancelled.append(True)

    async def group() -> None:
        async with asyncio.TaskGroup() as children:
            children.create_task(sibling())
            await later()
            children.create_task(way(SystemExit(3)))

    with pytest.raises(SystemExit):
        await asyncio.create_task(group())
    assert cancelled == [True]


@in_reactor
async def test_exit_of_a_task_that_nobody_awaits() -> None:
    """A task that calls sys.exit() on its own is reported by the loop, which goes on."""
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def leaves() -> None:
        await later()
        sys.exit("bye")

    try:
        task = asyncio.create_task(leaves())
        await asyncio.wait([task])
        del task
        await turns(1)
    finally:
        loop.set_exception_handler(handler)
    [report] = reports
    assert "never retrieved" in report["message"]
    assert repr(report["exception"]) == "SystemExit('bye')"


# ---- what tools see of a task


@in_reactor
async def test_introspection() -> None:
    """Names, stacks and states of a task are those of the user's coroutine."""
    deferred: Deferred[Any] = Deferred()

    async def mine() -> None:
        await deferred

    task = asyncio.create_task(mine(), name="my task")
    coro: Any = task.get_coro()
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CREATED
    await turns(1)
    line = mine.__code__.co_firstlineno
    assert asyncio.iscoroutine(coro)
    assert coro.__name__ == "mine"
    assert coro.__qualname__ == mine.__qualname__
    assert coro.cr_code is mine.__code__
    assert inspect.getcoroutinestate(coro) == inspect.CORO_SUSPENDED
    assert inspect.getcoroutinelocals(coro) == {"deferred": deferred}
    assert task in asyncio.all_tasks()
    assert "my task" in repr(task)
    assert f"mine() running at {__file__}:{line + 1}" in repr(task)
    assert [(frame.f_code, frame.f_lineno) for frame in task.get_stack()] == [
        (mine.__code__, line + 1)
    ]
    task.print_stack(file=(out := StringIO()))
    assert "await deferred" in out.getvalue()
    deferred.callback(None)
    await task
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    assert f"mine() done, defined at {__file__}:{line}" in repr(task)


@in_reactor
async def test_name() -> None:
    """A task that is given no name has one of asyncio's."""
    task = asyncio.create_task(forwards(later()))
    assert task.get_name().startswith("Task-")
    task.set_name("named later")
    assert task.get_name() == "named later"
    await task


@in_reactor
async def test_stack_of_a_failed_task() -> None:
    """A task that failed shows the lines of the user's coroutine."""

    async def mine() -> None:
        await later()
        raise Oops

    task = asyncio.create_task(mine())
    await asyncio.wait([task])
    assert "mine" in [frame.f_code.co_name for frame in task.get_stack()]
    assert isinstance(task.exception(), Oops)


@in_reactor
async def test_other_kinds_of_coroutines() -> None:
    """What asyncio takes for a coroutine makes a task: also asend(), and classes of the user's."""

    async def values() -> Any:
        yield await later(1)

    assert await asyncio.create_task(values().asend(None)) == 1
    task = asyncio.create_task(OwnCoroutine(later(2)))
    assert "OwnCoroutine" in repr(task)
    assert await task == 2
    with pytest.raises(TypeError, match="a coroutine was expected"):
        asyncio.get_running_loop().create_task(later())  # type: ignore[arg-type]  # what is tested


@in_reactor
async def test_bad_awaitables() -> None:
    """What neither world understands fails as in asyncio; the coroutine can go on."""

    class Bad:
        def __await__(self) -> Any:
            yield "bad"

    async def tries() -> str:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="bad yield: 'bad'"):
                await Bad()
            await later()
        task = current_task()
        assert task is not None
        with pytest.raises(RuntimeError, match="cannot await on itself"):
            await task
        return "done"

    assert await asyncio.create_task(tries()) == "done"


@in_reactor
async def test_one_plain_future_awaited_by_many() -> None:
    """Tasks that a Deferred resumes together may come to the same future made by hand."""
    fired: Deferred[Any] = Deferred()
    future: asyncio.Future[str] = asyncio.Future()

    async def waits() -> str:
        await fired
        return await future

    async def waits_on_its_own() -> str:
        await turns(1)
        return await future

    tasks = [asyncio.create_task(make()) for make in (waits, waits, waits_on_its_own)]
    await turns(1)
    fired.callback(None)
    await turns(3)
    future.set_result("value")
    assert await asyncio.gather(*tasks) == ["value"] * 3


# ---- tasks without a bridge


@in_reactor
async def test_task_without_a_bridge() -> None:
    """A task made by its class awaits futures and tasks of the loop, and cancels them."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    bare = asyncio.Task(forwards(future), loop=loop)
    bridged = asyncio.create_task(forwards(Deferred()))
    around = asyncio.Task(forwards(bridged), loop=loop)
    await turns(2)
    future.set_result("value")
    assert await bare == "value"
    around.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await around
    assert bridged.cancelled()


@in_reactor
async def test_context_of_a_task() -> None:
    """The Context of a task is known from its start to its end; on Python 3.11 too."""

    async def body() -> None:
        await asyncio.sleep(0)
        await later()
        variable.set("in the task")

    context = copy_context()
    task = asyncio.get_running_loop().create_task(body(), context=context)
    assert context_of(task) is context
    await task
    assert context_of(task) is context
    assert context[variable] == "in the task"


@in_reactor
async def test_cancelled_before_its_first_step(recwarn: pytest.WarningsRecorder) -> None:
    """A task that is cancelled at once ends so, and nothing is said of its coroutine."""
    task = asyncio.create_task(forwards(later()))
    coro: Any = task.get_coro()
    assert coro.__name__ == "forwards"
    assert task.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await task
    assert task.get_coro() is coro
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    del task, coro
    gc.collect()
    assert not [str(one.message) for one in recwarn]


@in_reactor
async def test_task_needs_a_bridge_late() -> None:
    """A task that awaited futures for long awaits a Deferred, is cancelled, and goes on."""
    seen: list[object] = []

    async def body() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            seen.append(str(error))
        seen.append(await later("Deferred"))
        await asyncio.sleep(0)
        return "value"

    task = asyncio.create_task(body())
    await turns(8)
    task.cancel("message")
    assert await task == "value"
    assert seen == [task] * 3 + ["message", "Deferred"]
    assert task.cancelling() == 1
