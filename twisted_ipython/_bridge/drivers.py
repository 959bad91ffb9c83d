"""
Who steps a coroutine: a Task of ours, or Twisted's own driver.

It is read from the frames that called: a coroutine that Twisted drives may run
inside a task's step, and `asyncio.current_task` then names a task that is not
its own.  What needs a Task is refused there in a sentence.

Thread: reactor.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Final

from twisted_ipython._private.asyncio import RUN, TASK_GROUP, TIMEOUT, WAIT_FOR
from twisted_ipython._private.twisted import DRIVER

NEEDS_TASK: Final = (
    "{what} needs an asyncio Task, and the coroutine that uses it is driven by Twisted"
    " (ensureDeferred, inlineCallbacks or a Klein route). Run that part as a task:"
    " await asyncio.create_task(...)"
)

# What steps a coroutine as a Task of ours.
STEPS: Final = (
    "stepping:Steps.step",
    "task_factory:begin_task",
    "task_factory:_TaskFactory.create_task.<locals>.create_task",
)
_OURS: Final = "twisted_ipython._bridge."
_USERS: Final = (
    (TASK_GROUP, "asyncio.TaskGroup"),
    (WAIT_FOR, "asyncio.wait_for"),
    (TIMEOUT, "asyncio.timeout"),
)


def refuse_without_task(frame: FrameType, users: tuple[tuple[CodeType, str], ...] = _USERS) -> None:
    """
    Raise if ``frame`` serves what needs a task, in a coroutine that Twisted drives.

    A coroutine given to ``ensureDeferred`` inside a task's step runs its first
    step there: `asyncio.current_task` then names a task that is not its own.

    Args:
        frame: the caller of a method of the loop's or a task's.
        users: what needs a task, with its name.

    Raises:
        RuntimeError: says to use `asyncio.create_task`.

    Thread: reactor.
    """
    outer = frame.f_back
    for code, what in users:
        used = frame.f_code is code or (outer is not None and outer.f_code is code)
        if used and driven_by_twisted(outer):
            raise RuntimeError(NEEDS_TASK.format(what=what))


def driven_by_twisted(frame: FrameType | None) -> bool:
    """Whether the coroutine that ``frame`` belongs to is stepped by Twisted.  Thread: any."""
    while frame is not None:
        if frame.f_code in (DRIVER, RUN):
            return frame.f_code is DRIVER
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(_OURS) and _is_step(module, frame.f_code):
            return False
        frame = frame.f_back
    return False


def _is_step(module: str, code: CodeType) -> bool:
    return f"{module.removeprefix(_OURS)}:{code.co_qualname}" in STEPS
