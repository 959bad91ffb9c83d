"""
Who steps a coroutine: a Task of ours, or Twisted's own driver.

It is read from the frames that called: a coroutine that Twisted drives may run
inside a task's step, and `asyncio.current_task` then names a task that is not
its own.  What needs a Task is refused there in a sentence.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

from twisted.internet import defer

__all__ = ["GROUP", "NEEDS_TASK", "driven_by_twisted", "drives", "refuse_without_task"]

_Method = TypeVar("_Method", bound=Callable[..., Any])

NEEDS_TASK: Final = (
    "{what} needs an asyncio Task, and the coroutine that uses it is driven by Twisted"
    " (ensureDeferred, inlineCallbacks or a Klein route). Run that part as a task:"
    " await asyncio.create_task(...)"
)

# Codes are told by identity: one is compared, and hashed, as a whole.
# By the identity of what steps a coroutine: whether it is Twisted's.
_is_twisteds: Final = {id(defer._inlineCallbacks.__code__): True}
GROUP: Final = asyncio.TaskGroup.create_task.__code__
_USERS: Final = (
    (GROUP, "asyncio.TaskGroup"),
    (asyncio.wait_for.__code__, "asyncio.wait_for"),
    (asyncio.Timeout.__aenter__.__code__, "asyncio.timeout"),
)


def drives(method: _Method) -> _Method:
    """Note that ``method`` steps coroutines as a Task of ours; a decorator."""
    _is_twisteds[id(method.__code__)] = False
    return method


def refuse_without_task(frame: FrameType) -> None:
    """
    Raise if ``frame`` serves what needs a task, in a coroutine that Twisted drives.

    A coroutine given to ``ensureDeferred`` inside a task's step runs its first
    step there: `asyncio.current_task` then names a task that is not its own.

    Args:
        frame: the caller of a method of the loop's or a task's.

    Raises:
        RuntimeError: says to use `asyncio.create_task`.

    Thread: reactor.
    """
    outer = frame.f_back
    for code, what in _USERS:
        used = frame.f_code is code or (outer is not None and outer.f_code is code)
        if used and driven_by_twisted(outer):
            raise RuntimeError(NEEDS_TASK.format(what=what))


def driven_by_twisted(frame: FrameType | None) -> bool:
    """Whether the coroutine that ``frame`` belongs to is stepped by Twisted.  Thread: any."""
    while frame is not None:
        answer = _is_twisteds.get(id(frame.f_code))
        if answer is not None:
            return answer
        frame = frame.f_back
    return False
