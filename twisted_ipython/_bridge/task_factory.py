"""
Every task and future that a loop makes gets the bridge.

Thread: reactor, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from types import CoroutineType, FrameType
from typing import Any, Final, TypeVar

from twisted_ipython._base.instance import override
from twisted_ipython._bridge.coroutine import Bridge, TransparentBridge
from twisted_ipython._bridge.drivers import driven_by_twisted, refuse_without_task
from twisted_ipython._bridge.futures import BridgedFuture
from twisted_ipython._bridge.tasks import BridgedTask, LoopTask, bridging
from twisted_ipython._private.asyncio import TASK_GROUP, module_of_caller

_T = TypeVar("_T")

_TASK_GROUPS: Final = asyncio.TaskGroup.__module__


def attach(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """
    Give every task and future of ``loop`` the bridge; a task factory of the user's is used by ours.

    Args:
        loop: the loop.

    Returns:
        What undoes it; tasks that exist by then keep their bridge.

    Thread: reactor, or any before the loop runs.
    """
    factory = _TaskFactory(loop.get_task_factory())
    loop.set_task_factory(factory)
    methods = {
        "create_task": factory.create_task(loop),
        "create_future": partial(BridgedFuture, loop=loop),
        "create_server": _create_server(loop),
        "set_task_factory": factory.use,
        "get_task_factory": factory.used,
    }
    put_back = override(loop, methods)

    def undo() -> None:
        put_back()
        if loop.get_task_factory() is factory:
            loop.set_task_factory(factory.used())

    return undo


def _create_server(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """`loop.create_server`, which awaits `asyncio.gather`, for whoever drives the coroutine."""
    original = loop.create_server

    async def create_server(*args: Any, **kwargs: Any) -> asyncio.AbstractServer:
        coro: Any = original(*args, **kwargs)
        if driven_by_twisted(sys._getframe()):
            coro = loop.create_task(coro)
        server: asyncio.AbstractServer = await coro
        return server

    return create_server


def begin_task(
    coro: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop, context: Context
) -> asyncio.Task[_T]:
    """
    A task for a cell or a job, whatever task factory the user has set.

    Its first step is taken at once, which saves a turn of the loop for each
    cell; an exception is the task's.

    Args:
        coro: its coroutine.
        loop: the reactor's.
        context: to run it in.

    Thread: reactor.
    """
    bridge: Bridge[_T] = Bridge(coro, loop)
    bridge.is_told = True
    if sys.version_info >= (3, 12):
        return BridgedTask(bridge, loop=loop, context=context, eager_start=True)
    task = BridgedTask(bridge, loop=loop, context=context)
    bridge.begin(task, context)
    return task


class _TaskFactory:
    """Makes tasks whose coroutines may await Deferreds, by the user's own factory if set."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def use(self, factory: Any) -> None:
        """`loop.set_task_factory`."""
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self.own = factory

    def used(self) -> Any:
        """`loop.get_task_factory`."""
        return self.own

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Any,
        **options: Any,
    ) -> Any:
        """Make a task; the options are those of `asyncio.Task`."""
        frame = sys._getframe(1)
        outer = frame.f_back
        if frame.f_code is TASK_GROUP or (outer is not None and outer.f_code is TASK_GROUP):
            _refuse_without_task(frame, coro)
        kind: type[Bridge[Any]] = Bridge if self.own is None else TransparentBridge
        if asyncio.iscoroutine(coro):
            coro = kind(coro, loop)
        if self.own is None:
            return BridgedTask(coro, loop=loop, **options)
        return self.own(loop, coro, **options)

    def create_task(self, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
        """`loop.create_task`, quicker for what is usual; otherwise it comes to the factory."""
        original, body = loop.create_task, bridging(loop)

        def create_task(coro: Any, **options: Any) -> Any:
            if (
                sys._getframe(1).f_code is TASK_GROUP
                if module_of_caller is None
                else module_of_caller(1) == _TASK_GROUPS
            ):
                _refuse_without_task(sys._getframe(1), coro)
            if type(coro) is not CoroutineType or self.own is not None or "eager_start" in options:
                return original(coro, **options)
            outer = body(coro)
            try:
                task = LoopTask(outer, loop=loop, **options)
            except BaseException:
                outer.close()
                raise
            task.stepped = coro
            return task

        return create_task


def _refuse_without_task(frame: FrameType, coro: Coroutine[Any, Any, Any]) -> None:
    """Raise, for a TaskGroup, if Twisted drives what uses it; then ``coro`` is closed."""
    try:
        refuse_without_task(frame)
    except RuntimeError:
        coro.close()
        raise
