"""
How asyncio's Tasks schedule their steps on a loop, as seen in Python 3.11 to 3.15.

Each says what is done without its name.

Thread: reactor, or any before the loop runs.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from traceback import walk_tb
from typing import Any, Final, NamedTuple

from twisted_ipython._private.asyncio import RUN, in_handle, silence

# The message of a cancellation that a Task's next await is to answer.  Without: it has none.
MESSAGE: Final = "_cancel_message"


class _Loop:
    """What a Task needs of a loop; notes what that schedules."""

    def call_soon(self, step: Any, **_: object) -> None:
        self.step = step

    def get_debug(self) -> bool:
        return False


def _kind_of_step() -> type[Any]:
    """The class of what a Task schedules as its first step; of one that throws, too."""

    async def nothing() -> None:
        pass

    loop: Any = _Loop()
    coro = nothing()
    silence(asyncio.Task(coro, loop=loop))
    coro.close()
    return type(loop.step)


_STEP: Final = _kind_of_step()
# The names of what steps a Task; the one of the class above has none.
_STEPS: Final = (None, "task_wakeup", "__step", "__wakeup")
_Takes = Callable[[Any, str, Any], bool]


def call_soon_of(loop: Any, takes: _Takes) -> Callable[..., Any]:
    """
    The ``call_soon`` for a loop: tells of what a Task refuses, and is asyncio's in one call.

    Without the names of BaseEventLoop's it calls the loop's own, and keeps a Task's exit from
    ending the loop.

    Args:
        loop: the loop.
        takes: is told the Task, the words of its refusal and its context; whether that is done.

    Thread: reactor, or any before the loop runs.
    """
    original, ready = loop.call_soon, getattr(loop, "_ready", None)
    if ready is None or not hasattr(loop, "_debug"):
        return _guarding(loop, takes)
    append, handle_of, current_task = ready.append, asyncio.Handle, asyncio.current_task
    referents = gc.get_referents

    def call_soon(callback: Any, *args: Any, context: Context | None = None) -> Any:
        if type(callback) is _STEP:
            what = args[0] if args else referents(callback)[-1]  # not by `_thrown`: for each step
            if (
                type(what) is RuntimeError
                and callback.__self__ is current_task(loop)
                and takes(callback.__self__, str(what), context)
            ):
                return None
        if loop._debug:
            handle = original(callback, *args, context=context)
            del handle._source_traceback[-1]  # this function, which did not make it
            return handle
        handle = handle_of(callback, args, loop, context)
        append(handle)
        return handle

    return call_soon


def _guarding(loop: AbstractEventLoop, takes: _Takes) -> Callable[..., Any]:
    original = loop.call_soon

    def run(callback: Any, *args: Any) -> None:
        with suppress(KeyboardInterrupt, SystemExit):  # the Task's
            callback(*args)

    def call_soon(callback: Any, *args: Any, context: Context | None = None) -> Any:
        task = getattr(callback, "__self__", None)
        if not isinstance(task, asyncio.Task):
            return original(callback, *args, context=context)
        what = _thrown(callback, args) if task is asyncio.current_task(loop) else None
        if type(what) is RuntimeError and takes(task, str(what), context):
            return None
        return original(run, callback, *args, context=context)

    return call_soon


def _thrown(step: Any, args: tuple[Any, ...]) -> Any:
    """What a step throws into its Task's coroutine; without, the Task or what it waited for."""
    return args[0] if args else gc.get_referents(step)[-1]


def run_once_of(loop: Any) -> dict[str, Callable[..., Any]]:
    """What keeps a Task's exit from ending a loop of asyncio's, by its name on the loop."""
    if not hasattr(loop, "_run_once"):
        return {}

    def run() -> None:
        try:
            type(loop)._run_once(loop)  # the class's own of now: nest_asyncio replaces it
        except (KeyboardInterrupt, SystemExit) as error:
            if not is_tasks(error):
                raise

    return {"_run_once": run}


def is_tasks(error: BaseException) -> bool:
    """Whether a Task raised an exception out of the loop, and has it as its own; without, not."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code is RUN:
            task = getattr(getattr(frame.f_locals.get("self"), "_callback", None), "__self__", None)
            return isinstance(task, Future) and task.done()
    return False


class Taken(NamedTuple):
    """What a Task waits for: a future, or its next step, and what that throws."""

    context: Context
    future: Future[Any] | None = None
    error: BaseException | None = None


def take_step(task: Any) -> Taken | None:
    """Take the next step out of a Task's hands; without the names, None."""
    future: Any = getattr(task, "_fut_waiter", None)
    for callback, context in getattr(future, "_callbacks", None) or ():
        if _is_step(callback, task):
            future.remove_done_callback(callback)
            return Taken(context, future)
    step, args, context = _scheduled(task)
    if context is None:
        return None
    what = _thrown(step, args)
    if isinstance(what, BaseException):
        return Taken(context, error=what)
    return Taken(context, what if isinstance(what, Future) and what is not task else None)


def take_first_step(task: Any) -> Callable[[], object] | None:
    """What a Task that was just made has scheduled, and which is not called now; or None."""
    step: Callable[[], object] | None = _scheduled(task)[0]
    return step


def _scheduled(task: Any) -> tuple[Any, tuple[Any, ...], Context | None]:
    """The step that a Task has scheduled, its arguments and context; its handle is cancelled."""
    # A copy: other threads may append to it.
    for handle in reversed(list(getattr(task.get_loop(), "_ready", ()))):
        step, context = in_handle(handle)
        if _is_step(step, task):
            args = handle._args
            handle.cancel()
            return step, args, context
    return None, (), None


def _is_step(callback: Any, task: Any) -> bool:
    """Whether a callback steps a Task."""
    return (
        getattr(callback, "__self__", None) is task
        and getattr(callback, "__name__", None) in _STEPS
    )
