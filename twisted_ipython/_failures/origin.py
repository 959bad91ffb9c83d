"""
The context in which a failed Deferred's code ran, as its traceback tells.

The traceback of a coroutine's failure holds the coroutine's Deferred, and that
holds the failure: nothing but the garbage collector finds them, in any thread
and context.  But Twisted's driver, our timers and our tasks are among the
frames, and know the context that they ran the code in.

Thread: any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import Context
from types import FrameType
from typing import Final

from twisted.internet import defer
from twisted.python.failure import Failure

from twisted_ipython._base.frames import module_of
from twisted_ipython._private.twisted import DRIVER_LOCALS

# Whose frames have it: in locals, or in these attributes of what they hold.
_MODULES: Final = (defer.__name__, "twisted_ipython.", "asyncio.events")
_ATTRIBUTES: Final = ("context", "_context")
# How many frames are looked at.
_DEEPEST: Final = 200


def context_of(failure: Failure) -> Context | None:
    """The context of the innermost code that ran it, if a frame tells.  Thread: any."""
    return context_in(_frames(failure))


def context_in(frames: Iterable[FrameType]) -> Context | None:
    """The context of the first frame that tells, the innermost being first.  Thread: any."""
    for frame in frames:
        if module_of(frame).startswith(_MODULES):
            names = frame.f_locals
            for held in (names[name] for name in DRIVER_LOCALS if name in names):
                for one in (held, *(getattr(held, what, None) for what in _ATTRIBUTES)):
                    if isinstance(one, Context):
                        return one
    return None


def _frames(failure: Failure) -> Iterator[FrameType]:
    """The frames of a failure's traceback, and then those that it was raised under."""
    link = failure.tb
    first = None if link is None else link.tb_frame
    for _ in range(_DEEPEST):
        if link is None:
            break
        yield link.tb_frame
        link = link.tb_next
    for _ in range(_DEEPEST):
        first = None if first is None else first.f_back
        if first is None:
            return
        yield first
