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
from types import FrameType
from typing import Any, Final, TypeVar

from twisted_ipython._base.instance import override
from twisted_ipython._bridge.call_soon import is_set, methods_of
from twisted_ipython._bridge.coroutine import Front
from twisted_ipython._bridge.drivers import NEEDS_TASK, driven_by_twisted
from twisted_ipython._bridge.futures import BridgedFuture
from twisted_ipython._bridge.tasks import LoopTask, take_over
from twisted_ipython._private.asyncio import (
    TASK_GROUP,
    enter_task,
    leave_task,
    module_of_caller,
)
from twisted_ipython._private.asyncio_steps import take_first_step

_T = TypeVar("_T")

_TASK_GROUPS: Final = asyncio.TaskGroup.__module__


def attach(loop: asyncio.AbstractEventLoop, *, resumes: bool = False) -> Callable[[], None]:
    """
    Give every task and future of ``loop`` the bridge; a task factory of the user's is used by ours.

    Args:
        loop: the loop.
        resumes: whether it goes on by itself after a Task's exit: else each turn of it costs more.

    Returns:
        What undoes it; tasks that exist by then may await Deferreds, as before.

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
    put_back_steps = override(loop, methods_of(loop, resumes=resumes))
    factory.behind_front = not is_set(loop)

    def leave() -> None:
        for task in asyncio.all_tasks(loop):
            if isinstance(task, LoopTask):
                take_over(task)
        put_back_steps()

    def undo() -> None:
        put_back()
        if loop.get_task_factory() is factory:
            loop.set_task_factory(factory.used())
        if loop.is_running():
            loop.call_soon_threadsafe(leave)
        else:
            leave()

    return undo


def _create_server(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """`loop.create_server`, which awaits `asyncio.gather`, for whoever drives the coroutine."""
    original = loop.create_server

    async def create_server(*args: Any, **kwargs: Any) -> asyncio.AbstractServer:
        coro: Any = original(*args, **kwargs)
        if driven_by_twisted(sys._getframe(), asyncio.current_task()):
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
    task = LoopTask(coro if is_set(loop) else Front(coro, loop), loop=loop, context=context)
    task.is_told = True
    step = take_first_step(task)
    if step is None:  # of a loop that is written in C
        return task
    outer = asyncio.current_task(loop)
    if outer is not None:
        leave_task(loop, outer)
    try:
        context.run(step)
    except (KeyboardInterrupt, SystemExit):
        pass  # the task's
    finally:
        if outer is not None:
            enter_task(loop, outer)
    return task


class _TaskFactory:
    """Makes tasks whose coroutines may await Deferreds, by the user's own factory if set."""

    def __init__(self, own: Any) -> None:
        self.own = own
        self.behind_front = False  # what our own tasks step

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
        if asyncio.iscoroutine(coro) and (self.own is not None or self.behind_front):
            coro = Front(coro, loop)
        if self.own is None:
            return LoopTask(coro, loop=loop, **options)
        return self.own(loop, coro, **options)

    def create_task(self, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
        """`loop.create_task`, quicker for what is usual; otherwise it comes to the factory."""
        original = loop.create_task

        def create_task(coro: Any, **options: Any) -> Any:
            if module_of_caller is None or module_of_caller(1) == _TASK_GROUPS:
                frame = sys._getframe(1)
                if frame.f_code is TASK_GROUP:
                    _refuse_without_task(frame, coro)
            if self.own is not None:
                return original(coro, **options)
            return LoopTask(coro, loop=loop, **options)

        return create_task


def _refuse_without_task(frame: FrameType, coro: Coroutine[Any, Any, Any]) -> None:
    """Raise, for a TaskGroup, if Twisted drives what uses it; then ``coro`` is closed."""
    # Each task of a TaskGroup asks.
    if driven_by_twisted(frame.f_back, asyncio.current_task()):
        coro.close()
        raise RuntimeError(NEEDS_TASK.format(what="asyncio.TaskGroup"))
