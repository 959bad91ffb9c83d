"""Coroutines that await a great many things; import it when a reactor is installed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, succeed

__all__ = ["DEFERREDS", "later", "seconds"]

# How many awaits each is.
_MANY: Final = 20_000
_FIRED: Final = 100_000


def later() -> Deferred[None]:
    """A Deferred that fires in the next turn."""
    deferred: Deferred[None] = Deferred()
    reactor.callLater(0, deferred.callback, None)
    return deferred


def _fails_later() -> Deferred[None]:
    deferred: Deferred[None] = Deferred()
    reactor.callLater(0, deferred.errback, ValueError("as it should"))
    return deferred


async def _one() -> None:
    await later()


async def _two() -> None:
    await _one()


async def _three() -> None:
    await _two()


async def _sequential() -> None:
    for _ in range(_MANY):
        await later()


async def _failing() -> None:
    for _ in range(_MANY):
        try:
            await _fails_later()
        except ValueError:
            continue


async def _nested() -> None:
    for _ in range(_MANY):
        await _three()


async def _fired() -> None:
    for _ in range(_FIRED):
        await succeed(None)


async def _at_once() -> None:
    await gatherResults([later() for _ in range(_MANY)])


async def _coroutines_at_once() -> None:
    await gatherResults([ensureDeferred(_one()) for _ in range(_MANY)])


async def _tasks_at_once() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(_MANY):
            group.create_task(_one())


async def _asyncio_sleep() -> None:
    for _ in range(_MANY):
        await asyncio.sleep(0)


_WORK: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "sequential": _sequential,
    "failing": _failing,
    "nested": _nested,
    "fired": _fired,
    "at once": _at_once,
    "coroutines at once": _coroutines_at_once,
    "tasks at once": _tasks_at_once,
    "asyncio.sleep": _asyncio_sleep,
}
# What the bare reactor can do.
DEFERREDS: Final = [name for name in _WORK if name not in {"tasks at once", "asyncio.sleep"}]


async def seconds(names: Sequence[str] = ()) -> dict[str, float]:
    """Seconds that each takes, or those of these names."""
    taken: dict[str, float] = {}
    for name in names or DEFERREDS:
        gc.collect()
        began = perf_counter()
        await _WORK[name]()
        taken[name] = perf_counter() - began
    return taken
