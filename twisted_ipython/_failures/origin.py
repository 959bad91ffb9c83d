"""
The context in which a failed Deferred's code ran, as its traceback tells.

The traceback of a coroutine's failure holds the coroutine's Deferred, and that
holds the failure: nothing but the garbage collector finds them, in any thread
and context.  But Twisted's driver, our timers and our tasks are among the
frames, and know the context that they ran the code in.

Thread: any.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Context
from itertools import islice
from traceback import walk_tb
from types import FrameType
from typing import Final

from twisted.internet import defer
from twisted.python.failure import Failure

from twisted_ipython._base.frames import callers, module_of
from twisted_ipython._private.twisted import DRIVER_LOCALS

# Whose frames have it: in locals, or in these attributes of what they hold.
_MODULES: Final = (defer.__name__, "twisted_ipython.", "asyncio.events")
_ATTRIBUTES: Final = ("context", "_context")
# How many frames are read.
_DEEPEST: Final = 200


def context_of(failure: Failure) -> Context | None:
    """The context of the code of a failure's traceback, or of what called that.  Thread: any."""
    raised = [frame for frame, _ in islice(walk_tb(failure.tb), _DEEPEST)]
    outer = raised[0].f_back if raised else None
    return context_in([*raised, *islice(callers(outer), _DEEPEST)])


def context_in(frames: Iterable[FrameType]) -> Context | None:
    """The context of the first frame that tells.  Thread: any."""
    for frame in frames:
        if module_of(frame).startswith(_MODULES):
            names = frame.f_locals
            for held in (names[name] for name in DRIVER_LOCALS if name in names):
                for one in (held, *(getattr(held, what, None) for what in _ATTRIBUTES)):
                    if isinstance(one, Context):
                        return one
    return None
