"""The bridge on loops of all kinds, with task factories of all kinds; and off again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from reactor_thread import Oops, forwards, in_reactor, later, turns
from twisted.internet import defer
from twisted.internet.defer import Deferred, ensureDeferred

from twisted_ipython._bridge import task_factory
from twisted_ipython._bridge.task_factory import begin_task
from twisted_ipython._reactor.lifecycle import start


async def _raise_after_deferred(error: BaseException) -> None:
    await later()
    raise error


# ---- task factories and loops of all kinds


class _Marked(asyncio.Task[Any]):
    """What a task factory of the user's makes."""


def _own_factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
    return _Marked(coro, loop=loop, **options)


FACTORIES: list[Callable[..., Any]] = [_own_factory]
if sys.version_info >= (3, 12):
    FACTORIES += [asyncio.eager_task_factory, asyncio.create_eager_task_factory(_Marked)]


async def _use_tasks() -> None:
    """Tasks that await both worlds, are cancelled, and fail."""
    seen: list[str] = []

    async def works() -> str:
        seen.append("begun")
        await later()
        await asyncio.sleep(0)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(forwards(later()))
        return str(await later("value"))

    task = asyncio.create_task(works())
    begun = list(seen)
    assert await task == "value"
    assert begun == (["begun"] if sys.version_info >= (3, 12) and _is_eager() else [])
    cancelled = asyncio.create_task(forwards(Deferred()))
    await turns(2)
    cancelled.cancel("message")
    with pytest.raises(asyncio.CancelledError, match="message"):
        await cancelled
    with pytest.raises(Oops):
        await asyncio.create_task(forwards(later(Oops())))
    with pytest.raises(SystemExit):
        await asyncio.create_task(_raise_after_deferred(SystemExit()))


def _is_eager() -> bool:
    return asyncio.get_running_loop().get_task_factory() not in (None, _own_factory)


@pytest.mark.parametrize("factory", FACTORIES)
@in_reactor
async def test_task_factory_set_afterwards(factory: Any) -> None:
    """A task factory that the user sets on the loop makes the tasks, and they have the bridge."""
    loop = asyncio.get_running_loop()
    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    try:
        assert loop.get_task_factory() is factory
        await _use_tasks()
        if factory is not getattr(asyncio, "eager_task_factory", None):
            made = asyncio.ensure_future(later())
            assert isinstance(made, _Marked)
            await made
    finally:
        loop.set_task_factory(None)
    with pytest.raises(TypeError):
        loop.set_task_factory(7)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("factory", [None, *FACTORIES])
@in_reactor
async def test_tasks_begun_under_twisteds_driver(factory: Any) -> None:
    """A task that a coroutine of Twisted's begins is one, also in a step that is taken at once."""
    loop = asyncio.get_running_loop()

    async def body() -> str:
        async with asyncio.timeout(9):
            return str(await later("value"))

    async def driven() -> list[asyncio.Task[str]]:
        eager = {"eager_start": True} if sys.version_info >= (3, 14) else {}
        return [begin_task(body(), loop, copy_context()), loop.create_task(body(), **eager)]

    loop.set_task_factory(factory)
    try:
        tasks = await ensureDeferred(driven())
        assert [await task for task in tasks] == ["value"] * 2
    finally:
        loop.set_task_factory(None)


class SealedLoop(asyncio.SelectorEventLoop):
    """A loop that takes no attributes, as one that is written in C."""

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} attribute {name!r} is read-only")
        super().__setattr__(name, value)


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, SealedLoop])
@pytest.mark.parametrize("factory", [None, *FACTORIES])
def test_attach_and_undo(kind: type[asyncio.SelectorEventLoop], factory: Any) -> None:
    """The bridge goes on any loop, whatever its task factory, and comes off without a trace."""
    loop = kind()
    loop.set_task_factory(factory)
    before = dict(vars(loop))

    async def one() -> Any:
        fired: Deferred[str] = Deferred()
        asyncio.get_running_loop().call_later(0.01, fired.callback, "value")
        task = asyncio.ensure_future(forwards(fired))
        inner = asyncio.ensure_future(forwards(Deferred()))
        await asyncio.sleep(0)
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inner
        last: Deferred[str] = Deferred()
        begun = begin_task(forwards(last), asyncio.get_running_loop(), copy_context())
        last.callback(await task)
        return await begun

    undo = task_factory.attach(loop)
    try:
        assert loop.run_until_complete(one()) == "value"
    finally:
        undo()
    assert vars(loop).keys() == before.keys()
    assert loop.get_task_factory() is factory
    with pytest.raises(RuntimeError, match="Task got bad yield"):
        loop.run_until_complete(forwards(Deferred()))
    loop.close()


def test_undo_leaves_what_others_set() -> None:
    """Undoing takes off what the bridge set, and neither what came before nor what came after."""
    loop: Any = asyncio.SelectorEventLoop()
    before, after = lambda: None, lambda: None
    loop.create_future = before
    undo = task_factory.attach(loop)
    loop.get_task_factory = after
    undo()
    assert loop.create_future is before
    assert loop.get_task_factory is after
    loop.close()


def test_nothing_is_patched() -> None:
    """With the reactor thread started, the classes of Twisted's and asyncio's are as they were."""
    start()
    ours = [
        (kind, name)
        for kind in (Deferred, asyncio.Task, asyncio.Future, asyncio.BaseEventLoop, defer)
        for name, value in vars(kind).items()
        if str(getattr(value, "__module__", "")).startswith("twisted_ipython")
    ]
    assert ours == []
