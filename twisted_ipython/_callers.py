"""
Library functions that run the reactor for a script, known by their frames.

`react` and Scrapy's processes set things up before they call
``reactor.run()``.  Where that is going to be refused they are stopped at their
first call of the reactor, and what they have begun is cancelled.  Seen in
Twisted 24.10 to 26.10 and Scrapy 2.13 to 2.19.

Any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any, Final
from weakref import WeakSet

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

__all__ = [
    "any_is_refused",
    "begun_by",
    "failure_of_react",
    "is_of_refused",
    "is_refused",
    "note_refused",
]

# Turns of the reactor within which a crawl that has begun runs.
_TURNS: Final = 1000
_stopping: Final[set[asyncio.Task[None]]] = set()
_refused: Final[WeakSet[Any]] = WeakSet()


def begun_by(caller: FrameType) -> Callable[[], object] | None:
    """
    What cancels the work of a function that is about to run the reactor.

    Args:
        caller: the frame that calls a method of the reactor.

    Returns:
        what cancels it, in the reactor thread; None if it is no such function.
    """
    if caller.f_code is react.__code__:
        finished = caller.f_locals["finished"]
        return lambda: finished.addErrback(lambda _: None).cancel()
    module = caller.f_globals.get("__name__")
    if module == "scrapy.crawler" and caller.f_code.co_name == "_setup_reactor":
        process: Any = caller.f_locals["self"]
        return lambda: _stop_process(process)
    return None


def note_refused(caller: FrameType) -> None:
    """Note that what `begun_by` knows is refused, if it is a process of Scrapy's."""
    process = caller.f_locals.get("self")
    if process is not None:
        _refused.add(process)


def _stop_process(process: Any) -> None:
    for crawler in process.crawlers:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            ensureDeferred(_stop(crawler))
        else:
            task = loop.create_task(_stop(crawler))
            _stopping.add(task)
            task.add_done_callback(_stopping.discard)


async def _stop(crawler: Any) -> None:
    """Stop a crawl of Scrapy's, once it runs: before, it would go on to start."""
    from twisted.internet import reactor

    for _ in range(_TURNS):
        if _is_running(crawler):
            # Scrapy 2.13 has the second one only.
            await (crawler.stop_async() if hasattr(crawler, "stop_async") else crawler.stop())
            return
        await deferLater(reactor, 0)


def _is_running(crawler: Any) -> bool:
    try:
        return crawler.engine is not None and bool(crawler.engine.running)
    except RuntimeError:  # Scrapy 2.19 says so if it is not there yet
        return False


def is_refused(caller: FrameType) -> bool:
    """Whether a process of Scrapy's calls whose crawls were cancelled with what `begun_by` gave."""
    return caller.f_code.co_name == "_stop_reactor" and caller.f_locals.get("self") in _refused


def any_is_refused() -> bool:
    """Whether a process of Scrapy's exists that was refused."""
    return bool(_refused)


def is_of_refused(one: Any) -> bool:
    """Whether it is a process of Scrapy's that was refused, or a crawler of such a one."""
    return any(one is process or one in process.crawlers for process in list(_refused))


def failure_of_react(caller: FrameType) -> Failure | None:
    """
    What made `react` stop the reactor; it only logs that, and exits with 1.

    Args:
        caller: the frame that calls ``reactor.stop``.
    """
    if caller.f_code not in react.__code__.co_consts:
        return None
    result = caller.f_locals.get("result")
    return result if isinstance(result, Failure) else None
