"""
Tasks of our loop, which coroutines of both worlds can await.

Most tasks await nothing but asyncio's own futures, and many await nothing.  So a
task begins with one coroutine around the user's, and what that yields is looked at
in C.  Its `Bridge` is made when it first awaits something else, when something is
thrown into it, and when it is interrupted; from then on the Bridge steps it, and the
task's class is `BridgedTask`.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import Any, TypeVar, cast

from twisted_ipython._bridge.coroutine import Bridge, NotAsyncios
from twisted_ipython._bridge.drivers import refuse_without_task
from twisted_ipython._bridge.futures import BridgedFuture, WrappedExit, await_future
from twisted_ipython._bridge.interruptible import is_interrupting

_T = TypeVar("_T")


class LoopTask(asyncio.Task[_T]):
    """
    A task of our loop, whose coroutine has not needed a `Bridge` so far.

    Attributes:
        stepped: the user's coroutine, or its Bridge; not set where the Task has the Bridge.
    """

    __slots__ = ("stepped",)

    stepped: Any
    __await__ = __iter__ = await_future

    def set_name(self, value: object) -> None:
        """`asyncio.Task.set_name`, but None, which Python 3.13.0 sets, is no name."""
        if value is not None:
            super().set_name(value)

    # What asyncio reads for a task's repr() and stack.  A Task that is written in Python, as
    # nest_asyncio's, sets it, and runs what it finds there.
    @property
    def _coro(self) -> Any:
        return getattr(self, "__dict__", {}).get("_coro") or self.get_coro()

    @_coro.setter
    def _coro(self, coro: Any) -> None:
        vars(self)["_coro"] = coro

    def get_coro(self) -> Any:
        """`asyncio.Task.get_coro`: the user's coroutine."""
        stepped = getattr(self, "stepped", None)
        if stepped is None:
            stepped = super().get_coro()
        return getattr(stepped, "coro", stepped)

    def bridge(self) -> Bridge[_T]:
        """The task's Bridge; made if there was none."""
        stepped = getattr(self, "stepped", None)
        if stepped is None:
            stepped = super().get_coro()
        if isinstance(stepped, CoroutineType):
            stepped = self.stepped = Bridge(stepped, self.get_loop())
        return cast(Bridge[_T], stepped)

    def cancel(self, msg: Any = None) -> bool:
        """`asyncio.Task.cancel`; what an interrupted cell waits for is interrupted."""
        if not self.done():
            coro = self.get_coro()
            if isinstance(coro, CoroutineType) and getcoroutinestate(coro) == CORO_CREATED:
                # The Task throws into the one around it: nobody has awaited this one then.
                self.add_done_callback(_close)
            if is_interrupting():
                self.bridge().interrupt()
        return super().cancel(msg)

    def cancelling(self) -> int:
        """`asyncio.Task.cancelling`, which `asyncio.timeout` asks when it begins."""
        refuse_without_task(sys._getframe(1))
        return super().cancelling()


def _close(task: asyncio.Task[Any]) -> None:
    coro: Any = task.get_coro()
    coro.close()


class BridgedTask(LoopTask[_T]):
    """
    A task whose coroutine is stepped by a `Bridge`.

    A SystemExit or KeyboardInterrupt is a failure of the task like any other.
    """

    __slots__ = ()

    def exception(self) -> BaseException | None:
        """`asyncio.Task.exception`."""
        error = super().exception()
        return error.error if isinstance(error, WrappedExit) else error

    def result(self) -> _T:
        """`asyncio.Task.result`."""
        try:
            return super().result()
        except WrappedExit as kept:
            error = kept.error
        finally:
            del self  # or the exception, its traceback and the task keep each other alive
        try:
            raise error
        finally:
            del error


class _Awaits(filter):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """
    What a coroutine yields, in C, as long as the filter's function lets it through.

    It has no ``throw``: what a Task throws in is raised where this is awaited.
    """

    __slots__ = ()
    __await__: Any = filter.__iter__


def bridging(loop: asyncio.AbstractEventLoop) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """What makes, of a user's coroutine, the one that a task of ``loop`` begins with."""
    kinds = frozenset({asyncio.Future, BridgedFuture, LoopTask, BridgedTask})

    def is_asyncios(awaited: Any) -> bool:
        if awaited is None or (type(awaited) in kinds and awaited.get_loop() is loop):
            return True
        raise NotAsyncios(awaited)

    async def body(coro: CoroutineType[Any, Any, Any]) -> Any:
        try:
            return await _Awaits(is_asyncios, coro.__await__())
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                coro.close()
            if coro.cr_frame is None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            first = error
        bridge = _bridge(coro, loop)
        bridge.first = first
        del first  # or it, its traceback and this frame keep each other alive
        return await bridge

    return body


def _bridge(coro: CoroutineType[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Bridge[Any]:
    """The Bridge of the task that runs now, and of the coroutine."""
    task = asyncio.current_task(loop)
    if type(task) is not LoopTask:
        return Bridge(coro, loop)
    task.__class__ = BridgedTask
    return task.bridge()
