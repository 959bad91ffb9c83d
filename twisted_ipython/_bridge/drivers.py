"""
Who steps a coroutine: a Task of ours, or Twisted's own driver.

It is read from the frames that called: a coroutine that Twisted drives may run
inside a task's step, and `asyncio.current_task` then names a task that is not
its own.  What needs a Task is refused there in a sentence.  In the reactor thread.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from twisted_ipython._private.asyncio import GATHER, TASK_GROUP, TIMEOUT, WAIT_FOR
from twisted_ipython._private.twisted import DRIVER

__all__ = [
    "NEEDS_TASK",
    "TASK_MAKERS",
    "TIMEOUTS",
    "driven_by_twisted",
    "drives",
    "refuse_without_task",
]

_Method = TypeVar("_Method", bound=Callable[..., Any])

NEEDS_TASK: Final = (
    "{what} needs an asyncio Task, and the coroutine that uses it is driven by Twisted"
    " (ensureDeferred, inlineCallbacks or a Klein route). Run that part as a task:"
    " await asyncio.create_task(...)"
)

_ours: Final[set[CodeType]] = set()


def drives(method: _Method) -> _Method:
    """Note that ``method`` steps coroutines as a Task of ours; a decorator."""
    _ours.add(method.__code__)
    return method


TIMEOUTS: Final = {
    TIMEOUT: "asyncio.timeout",
    WAIT_FOR: "asyncio.wait_for",
}
TASK_MAKERS: Final = {
    TASK_GROUP: "asyncio.TaskGroup",
    GATHER: "asyncio.gather",
}


def refuse_without_task(frame: FrameType | None, users: dict[CodeType, str]) -> None:
    """
    Raise if one of ``users`` called ``frame`` for a coroutine that Twisted drives.

    A coroutine given to ``ensureDeferred`` inside a task's step runs its first
    step there: `asyncio.current_task` then names a task that is not its own.

    Raises:
        RuntimeError: says to use `asyncio.create_task`.
    """
    what, caller, each = None, None, frame
    for _ in range(3):
        if each is None:
            break
        if each.f_code in users:
            what, caller = users[each.f_code], each.f_back
        each = each.f_back
    if what is None or not driven_by_twisted(frame):
        return
    if what == "asyncio.gather" and not _awaits_call(caller):
        return  # Deferred.fromFuture(asyncio.gather(...)) needs no task
    raise RuntimeError(NEEDS_TASK.format(what=what))


def _awaits_call(frame: FrameType | None) -> bool:
    """Whether ``frame`` awaits what it is calling, as in ``await f()``."""
    if frame is None:
        return False
    after = (one for one in dis.get_instructions(frame.f_code) if one.offset > frame.f_lasti)
    return next(after).opname == "GET_AWAITABLE"


def driven_by_twisted(frame: FrameType | None) -> bool:
    """Whether the coroutine that ``frame`` belongs to is stepped by Twisted's driver."""
    while frame is not None:
        if frame.f_code is DRIVER:
            return True
        if frame.f_code in _ours:
            return False
        frame = frame.f_back
    return False
