"""
What stops or empties the reactor is for the reactor itself: trial in a cell is refused.

What fails.  A test case of trial's (whoever runs it) ends by turning the
reactor itself, which stops asyncio's for good, and by taking off it everything
that it waits for; a run of trial's ends by firing the shutdown.

What we do.  These methods raise for all others: a test case fails by that, its
own code has run.  A run of trial's is told that the shutdown was fired: an
exception there would leave the process in trial's folder.

Thread: any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted_ipython._base.frames import module_of
from twisted_ipython._base.instance import override
from twisted_ipython._private.twisted import STOP_THREAD_POOL, shutdown_of_trial

__all__ = ["METHODS", "is_asked_by_trial", "refuse_others"]

FOR_REACTOR: Final = (
    "reactor.{name}() would stop or empty the reactor of this session, so only the reactor itself"
    " calls it. Run trial's tests in a child process: !python -m twisted.trial NAME"
)
# What only the reactor itself calls; the last is no method of any interface.
METHODS: Final = ("disconnectAll", "fireSystemEvent", "iterate", "removeAll", STOP_THREAD_POOL)


def refuse_others(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    """The method of that name, for the reactor's own code only."""

    def method(*args: Any, **kwargs: Any) -> Any:
        caller = _caller()
        module = module_of(caller)
        # asyncio's reactor ends after one turn, whoever asks for it.
        if name != "iterate" and module.startswith("twisted.internet."):
            return own(*args, **kwargs)
        if name != "fireSystemEvent" or module != "twisted.trial.runner" or not _end_run(caller):
            raise RuntimeError(FOR_REACTOR.format(name=name))
        return None

    return method


def _end_run(bail: FrameType) -> bool:
    """Let a run go on that waits for the shutdown, by the Deferred that its trigger would fire."""
    ended = shutdown_of_trial(bail)
    if ended is not None:
        ended.callback(None)
        override(ended, {"callback": lambda _: None})  # when the process ends
    return ended is not None


def is_asked_by_trial() -> bool:
    """Whether trial calls.  Call in a method of the reactor."""
    return module_of(_caller()).startswith("twisted.trial.")


def _caller() -> FrameType:
    """The frame that called the method."""
    frame = sys._getframe(1)
    while module_of(frame).startswith("twisted_ipython") and frame.f_back is not None:
        frame = frame.f_back
    return frame
