"""
LoopingCalls, and the work whose context started them.

A LoopingCall has neither a context nor, while it waits for its own function's
Deferred, a timer by which it could be found.  But its `start` asks the reactor
for the time, in the context of whoever starts it; that is where it is noted,
and where it stays: it would go on in the context that fires its function's
Deferred.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.task import LoopingCall

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import WorkId, current_work
from twisted_ipython._private.twisted import SCHEDULE, START, started_in

__all__ = ["attach", "starts", "stop"]

_started: Final[WeakKeyDictionary[LoopingCall, WorkId]] = WeakKeyDictionary()
# What is told of a LoopingCall in its `start`.
starts: Final[list[Callable[[LoopingCall], object]]] = []


def attach(reactor: Any) -> Callable[[], None]:
    """
    Set `seconds` on the reactor instance.  Any thread.

    Returns:
        What takes it off; LoopingCalls that run by then can still be stopped.
    """
    original = reactor.seconds

    def seconds() -> float:
        """``reactor.seconds``; any thread."""
        caller = sys._getframe(1)
        if caller.f_code is START and (loop := started_in(caller)) is not None:
            _started[loop] = current_work()
            _stay_here(loop)
            for tell in starts:
                tell(loop)
        now: float = original()
        return now

    return override(reactor, {"seconds": seconds})


def _stay_here(loop: LoopingCall) -> None:
    """Have the loop ask for its next turn in this context."""
    # The class's own, as it may be started more than once.
    schedule = getattr(type(loop), SCHEDULE, None)
    if schedule is not None:
        override(loop, {SCHEDULE: partial(copy_context().run, schedule, loop)})


def stop(work_id: WorkId) -> None:
    """Stop the LoopingCalls that the work with these numbers started.  In the reactor thread."""
    for reference in _started.keyrefs():
        loop = reference()
        if loop is not None and loop.running and _started.get(loop) == work_id:
            loop.stop()
