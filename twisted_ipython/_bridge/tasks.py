"""
Tasks of our loop, which coroutines of both worlds can await.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

from twisted_ipython._bridge.coroutine import Bridge
from twisted_ipython._bridge.drivers import refuse_timeout
from twisted_ipython._bridge.futures import await_future
from twisted_ipython._bridge.interruptible import is_interrupting
from twisted_ipython._private.asyncio_steps import MESSAGE, take_step

_T = TypeVar("_T")


def _of_asyncio(name: str, of_bridge: Callable[[Bridge], Any]) -> Any:
    """An attribute of asyncio's Task; of the Bridge, while the task has one."""
    set_as = f"_own{name}"

    def get(task: LoopTask[Any]) -> Any:
        if task.bridge is not None:
            return of_bridge(task.bridge)
        own = getattr(task, set_as, task)
        return getattr(super(LoopTask, task), name, None) if own is task else own

    def set_own(task: LoopTask[Any], value: Any) -> None:  # as a Task does that is in Python
        setattr(task, set_as, value)

    return property(get, set_own)


class LoopTask(asyncio.Task[_T]):
    """
    A task of our loop.

    Attributes:
        bridge: its Bridge, while it has one.
        cancels: how often it was cancelled, if it has had one: asyncio counts no more.
        is_told: whether its coroutine, of a cell or a job, is told of interrupts by itself.
    """

    bridge: Bridge | None = None
    cancels: int | None = None
    is_told = False
    __await__ = __iter__ = await_future

    def cancel(self, msg: Any = None) -> bool:
        """`asyncio.Task.cancel`; what an interrupted cell waits for is interrupted."""
        told = self.is_told or self.done() or not is_interrupting()
        bridge = self.bridge if told or self.bridge is not None else take_over(self)
        if bridge is None:
            return super().cancel(msg)
        if not told:
            bridge.interrupt()
        self.cancels = 1 + (self.cancels or 0)
        bridge.cancel_awaited(msg)
        return True

    def cancelling(self) -> int:
        """`asyncio.Task.cancelling`, which `asyncio.timeout` asks when it begins."""
        refuse_timeout(sys._getframe(1), self)
        return super().cancelling() if self.cancels is None else self.cancels

    def uncancel(self) -> int:
        """`asyncio.Task.uncancel`; from Python 3.13 on it takes back what was not delivered."""
        if self.cancels is None:
            return super().uncancel()
        self.cancels = max(self.cancels - 1, 0)
        if sys.version_info >= (3, 13) and not self.cancels and self.bridge is not None:
            self.bridge.must_cancel = None
        return self.cancels

    # What anyio asks before it cancels.
    _fut_waiter = _of_asyncio("_fut_waiter", lambda bridge: bridge.future)
    _must_cancel = _of_asyncio("_must_cancel", lambda bridge: bridge.must_cancel is not None)


def bridge_for(task: LoopTask[Any], context: Context) -> Bridge:
    """The Bridge of a task, which is made now; asyncio must not step that any more."""
    task.cancels = super(LoopTask, task).cancelling()  # not what nest_asyncio sets later
    bridge = Bridge(task, task.get_coro(), context)
    if task._must_cancel:
        bridge.must_cancel = (getattr(task, MESSAGE, None),)
    task.bridge = bridge
    return bridge


def take_over(task: LoopTask[Any]) -> Bridge | None:
    """Have a Bridge step a task that waits, from now on; None if it does not, or none can."""
    taken = take_step(task)
    if taken is None:
        return None
    bridge = bridge_for(task, taken.context)
    if taken.future is None:
        bridge.soon(taken.error)
    elif taken.future.done():
        bridge.loop.call_soon(bridge.wake, taken.future, context=taken.context)
    else:
        bridge.wait_for_future(taken.future)
    return bridge
