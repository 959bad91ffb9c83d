"""
Names that another thread has resolved, as `HostnameEndpoint.connect` does.

A resolver is no reactor, but what it does belongs to the reactor thread.  Who
asks it gives a receiver, and goes on to say what follows from the answer.
Carried, the answer could come in the middle of that: it is held back until the
function of Twisted's that asked has returned.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

__all__ = ["Held", "asking"]

# Seconds until the next look whether it has returned.
_LOOK: Final = 0.001


def asking(caller: FrameType) -> FrameType:
    """The outermost of the functions of Twisted's that lead to ``caller``, or itself."""
    frame = caller
    while frame.f_back is not None and _is_twisteds(frame.f_back):
        frame = frame.f_back
    return frame


def _is_twisteds(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("twisted.")


@implementer(IResolutionReceiver)
class Held:
    """
    A receiver whose last call is held back until a function has returned.

    Args:
        receiver: the receiver.
        frame: the function's frame, in another thread.
        later: ``reactor.callLater``.
    """

    def __init__(self, receiver: Any, frame: FrameType, later: Callable[..., object]) -> None:
        self.resolutionBegan = receiver.resolutionBegan
        self.addressResolved = receiver.addressResolved
        self._complete = receiver.resolutionComplete
        self._frame: FrameType | None = frame
        self._later = later

    def resolutionComplete(self) -> None:
        """See `IResolutionReceiver`.  In the reactor thread."""
        if self._frame is not None and _runs(self._frame):
            self._later(_LOOK, self.resolutionComplete)
        else:
            self._frame = None
            self._complete()


def _runs(frame: FrameType) -> bool:
    """Whether the function has not returned yet."""
    try:
        frame.clear()  # refused while it runs, in whatever thread
    except RuntimeError:
        return True
    return False
