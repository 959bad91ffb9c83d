"""Timers that the reactor thread asks for; import it when a reactor is installed."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final

from twisted.internet import reactor
from twisted.internet.defer import Deferred

__all__ = ["seconds"]

# How many timers each is.
_MANY: Final = 20_000


class _Countdown:
    """Fires a Deferred when it has been called `_MANY` times."""

    def __init__(self) -> None:
        self.left = _MANY
        self.done: Deferred[None] = Deferred()

    def one(self) -> None:
        """Count."""
        self.left -= 1
        if not self.left:
            self.done.callback(None)

    def and_next(self) -> None:
        """Count, and ask for the next timer."""
        self.one()
        if self.left:
            reactor.callLater(0, self.and_next)


def _one_after_another() -> Deferred[None]:
    countdown = _Countdown()
    reactor.callLater(0, countdown.and_next)
    return countdown.done


def _at_once() -> Deferred[None]:
    countdown = _Countdown()
    for _ in range(_MANY):
        reactor.callLater(0, countdown.one)
    return countdown.done


_WORK: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "one after another": _one_after_another,
    "at once": _at_once,
}


async def seconds() -> dict[str, float]:
    """Seconds that each takes."""
    taken: dict[str, float] = {}
    for name, work in _WORK.items():
        gc.collect()
        began = perf_counter()
        await work()
        taken[name] = perf_counter() - began
    return taken
