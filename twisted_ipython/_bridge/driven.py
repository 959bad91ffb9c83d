"""
Cancel a Deferred, also where what Twisted drives for it swallows that in a loop.

A coroutine of `inlineCallbacks` or `ensureDeferred` that catches ``Exception`` catches
Twisted's CancelledError too.  It may clean up; where it waits at the same instruction
again, it gets a KeyboardInterrupt.

Thread: reactor.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.frames import is_our_frame
from twisted_ipython._bridge.interruptible import frame_of, is_interrupting
from twisted_ipython._private.twisted import call_first, waits_of

_T = TypeVar("_T")
# How often what swallows it gets the exception at once: it may do so for ever.
_THROWS: Final = 20


def cancel(deferred: Deferred[Any]) -> None:
    """Cancel a Deferred; for what was interrupted, again what goes on in a loop."""
    if is_interrupting():
        _Cancellation(deferred).begin()
    else:
        deferred.cancel()


class _Cancellation:
    """Cancels a Deferred, and looks after what it waits for until that has ended."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self._deferred = deferred
        self._throws = False
        # At which instruction a coroutine was cancelled, and what it waited for.
        self._seen: dict[Any, tuple[int, Deferred[Any]]] = {}

    def begin(self) -> None:
        """Cancel it."""
        self._note(self._deferred)
        self._throws = True
        self._deferred.cancel()
        self._throws = False
        self._go_on(None)

    def _note(self, deferred: Deferred[Any]) -> None:
        for coro, waited, _ in waits_of(deferred):
            frame = frame_of(coro)
            if frame is not None and not is_our_frame(frame):
                self._seen.setdefault(coro, (frame.f_lasti, waited))

    def _go_on(self, result: _T) -> _T:
        """Throw into what waits at the same instruction again, and so on when the rest go on."""
        if self._throws or not self._seen:
            return result
        self._throws = True
        for _ in range(_THROWS):
            waits = list(waits_of(self._deferred))
            loops = [wait for wait in waits if self._is_loop(*wait)]
            for coro, waited, driven in loops:
                # No ``except Exception`` catches the one; no report is made of the other.
                call_first(waited, lambda _: Failure(KeyboardInterrupt()))
                call_first(driven, _as_cancelled)
                self._seen[coro] = self._seen[coro][0], waited
                self._note(waited)
            for _, waited, _ in loops:
                waited.cancel()
            if not loops:
                break
        for _, waited, _ in waits:
            waited.addBoth(self._go_on)
        self._throws = False
        return result

    def _is_loop(self, coro: Any, waited: Deferred[Any], _: object) -> bool:
        """Whether a coroutine waits for something else, where it has waited before."""
        instruction, before = self._seen.get(coro, (-1, waited))
        frame = frame_of(coro)
        return waited is not before and frame is not None and frame.f_lasti == instruction


def _as_cancelled(result: _T) -> _T | Failure:
    interrupted = isinstance(result, Failure) and isinstance(result.value, KeyboardInterrupt)
    return Failure(CancelledError()) if interrupted else result
