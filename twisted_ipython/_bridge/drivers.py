"""
Who steps a coroutine: a Task of ours, or Twisted's own driver.

It is read from the frames that called: a coroutine that Twisted drives may run
inside a task's step, and `asyncio.current_task` then names a task that is not
its own.  What needs a Task is refused there in a sentence.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
from types import CodeType, FrameType
from typing import Any, Final

from twisted_ipython._private.asyncio import RUN, TIMEOUT, WAIT_FOR
from twisted_ipython._private.twisted import DRIVER

NEEDS_TASK: Final = (
    "{what} needs an asyncio Task, and the coroutine that uses it is driven by Twisted"
    " (ensureDeferred, inlineCallbacks or a Klein route). Run that part as a task:"
    " await asyncio.create_task(...)"
)


def refuse_timeout(frame: FrameType, task: asyncio.Task[Any], timeout: CodeType = TIMEOUT) -> None:
    """
    Raise if an `asyncio.timeout` that begins is that of a coroutine that Twisted drives.

    A coroutine given to ``ensureDeferred`` inside a task's step runs its first
    step there: `asyncio.current_task` then names a task that is not its own.

    Args:
        frame: the caller of a task's method.
        task: the task.
        timeout: the code of the caller that begins one.

    Raises:
        RuntimeError: says to use `asyncio.create_task`.

    Thread: reactor.
    """
    user = frame.f_back
    if frame.f_code is timeout and driven_by_twisted(user, task):
        is_wait_for = user is not None and user.f_code is WAIT_FOR
        what = "asyncio.wait_for" if is_wait_for else "asyncio.timeout"
        raise RuntimeError(NEEDS_TASK.format(what=what))


def driven_by_twisted(frame: FrameType | None, task: asyncio.Task[Any] | None) -> bool:
    """
    Whether the coroutine that ``frame`` belongs to is stepped by Twisted.

    Each `asyncio.timeout` and each task of a TaskGroup asks: the way to the frame of
    the task's own coroutine is short.

    Args:
        frame: one of the coroutine's, or that of what it has called.
        task: the current task, in whose step it may run.

    Thread: reactor.
    """
    own = None if task is None else getattr(task.get_coro(), "cr_frame", None)
    if task is not None and own is None:  # an awaitable of a class of its own, as aiohttp's
        return False
    while frame is not None and frame is not own:
        if (code := frame.f_code) is DRIVER or code is RUN:
            return code is DRIVER
        frame = frame.f_back
    return False
