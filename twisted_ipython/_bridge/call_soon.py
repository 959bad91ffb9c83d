"""
The loop's ``call_soon``, by which a Task comes to its `Bridge`.

The goal.  A Task whose coroutine awaits a Deferred gets a Bridge, and costs
nothing until then.

What fails.  What a Task refuses is to be seen by a coroutine around the user's
only, or by the class of what is awaited: see `_bridge.coroutine`.

What we do.  A Task that cannot wait for what it was given makes a RuntimeError
of it, and schedules a step that throws that into its coroutine, by the loop's
``call_soon``.  Here that step is dropped: what the coroutine awaits is looked
up along its awaits, and a Bridge waits for it.

A SystemExit or KeyboardInterrupt that a Task's coroutine raises is the Task's
failure, and asyncio raises it out of the loop as well.  There it is dropped: a
loop that we made runs on (`resuming`), any other drops it in each of its turns.

What can still go wrong.  An awaitable of the user's own that gives a Deferred
away whose repr() is not Twisted's: asyncio's refusal stays.  A Deferred whose
repr() fails: asyncio leaves the task where it is.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import Future
from collections.abc import Callable
from contextvars import Context
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

from twisted.internet.defer import Deferred

from twisted_ipython._base.exceptions import ReactorInterrupt
from twisted_ipython._base.instance import override
from twisted_ipython._bridge.tasks import LoopTask, bridge_for
from twisted_ipython._private.asyncio import code_of
from twisted_ipython._private.asyncio_steps import call_soon_of, is_tasks, run_once_of

# What awaits a Deferred, where Twisted does it by a generator.
_AWAIT: Final = code_of(Deferred, "__await__")
# Asyncio's words.
_BAD_YIELD: Final = "Task got bad yield: <"
_OTHER_LOOP: Final = "attached to a different loop"


def methods_of(
    loop: asyncio.AbstractEventLoop, *, resumes: bool = False
) -> dict[str, Callable[..., Any]]:
    """What is set on a loop, by name; see `_bridge.task_factory.attach`."""
    own = {"call_soon": call_soon_of(loop, _takes)}
    return own if resumes else own | run_once_of(loop)


def resuming(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop that does not run yet go on after a Task's exit, and a `ReactorInterrupt`."""
    run_forever, stop = loop.run_forever, loop.stop
    stops: list[bool] = []  # of this run: an exception makes the loop forget that it was to stop

    def run() -> None:
        stops.clear()
        while not stops:
            try:
                run_forever()
                break
            except ReactorInterrupt:
                continue
            except (KeyboardInterrupt, SystemExit) as error:
                if not is_tasks(error):
                    raise

    def note_stop() -> None:
        stops.append(True)
        stop()

    override(loop, {"run_forever": run, "stop": note_stop})


def is_set(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is set on a loop: one that is written in C may take no methods."""
    return getattr(loop.call_soon, "__module__", None) == call_soon_of.__module__


def _takes(task: asyncio.Task[Any], refusal: str, context: Context) -> bool:
    """Whether a Bridge takes a Task over, which has refused something."""
    if not isinstance(task, LoopTask):
        return False
    awaited = _awaited(task.get_coro(), refusal)
    if awaited is None:
        return False
    bridge = bridge_for(task, context)
    try:
        bridge.wait(awaited)
    except BaseException as error:
        bridge.end(error)
    return True


def _awaited(coro: Any, refusal: str) -> Any:
    """What a coroutine awaits, and its Task has refused."""
    last = _last_await(coro)
    if isinstance(last, Deferred):
        return last
    if getattr(last, "gi_code", None) is _AWAIT:
        return next(one for one in gc.get_referents(last) if isinstance(one, Deferred))
    if refusal.endswith(_OTHER_LOOP):
        return _find(last, _is_awaited)
    if refusal.startswith(_BAD_YIELD):
        # By what its repr() has; not by the repr() of all, which are the user's.
        return _find(
            last, lambda one: issubclass(type(one), Deferred) and f" at 0x{id(one):x}" in refusal
        )
    return None


def _is_awaited(one: Any) -> bool:
    """Whether something, of whatever kind, is a future that was just awaited."""
    is_future = hasattr(type(one), "_asyncio_future_blocking")
    return is_future and one._asyncio_future_blocking is True


def _find(last: Any, fits: Callable[[Any], bool]) -> Any:
    """What fits, of all that the last of a coroutine's awaits refers to, or else of all."""
    near = next(filter(fits, gc.get_referents(last)), None)
    return next(filter(fits, gc.get_objects()), None) if near is None else near


def _last_await(coro: Any) -> Any:
    """What a coroutine awaits, what that awaits, and so on: the last of them."""
    while True:
        kind = type(coro)
        if kind is CoroutineType:
            awaited = coro.cr_await
        elif kind is GeneratorType:
            awaited = coro.gi_yieldfrom
        elif kind is AsyncGeneratorType:
            awaited = coro.ag_await
        elif isinstance(coro, (Deferred, Future)):
            return coro
        else:
            awaited = getattr(coro, "cr_await", None) or _hidden(coro)
        if awaited is None:
            return coro
        coro = awaited


def _hidden(awaited: Any) -> Any:
    """What an object of Python's own awaits without saying so, as asend() and anext() do."""
    if type(awaited).__module__ != "builtins":
        return None
    for one in gc.get_referents(awaited):
        if hasattr(type(one), "throw") or isinstance(one, AsyncGeneratorType):
            return one
    return None
