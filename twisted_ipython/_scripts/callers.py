"""
Code that runs the reactor: known by its names, and library functions that do by their frames.

`react` and Scrapy's processes set things up before they call
``reactor.run()``.  Where that is going to be refused they are stopped at their
first call of the reactor, and what they have begun is cancelled.  Seen in
Scrapy 2.13 to 2.19.

Any thread.
"""

from __future__ import annotations

import asyncio
import dis
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any, Final

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react

from twisted_ipython._private.twisted import awaited_by_react

__all__ = ["begun_by", "would_run"]

# Turns of the reactor within which a crawl that has begun runs.
_TURNS: Final = 1000
_stopping: Final[set[asyncio.Task[None]]] = set()
# What a script names that leaves it to a library to run the reactor: each of these sets.
_SIGNS: Final = (
    {react.__name__},
    {"CrawlerProcess", "start"},
    {"AsyncCrawlerProcess", "start"},
    {"scrapy.cmdline", "execute"},
    {"scrapy", "cmdline", "execute"},
    {"klein", "run"},
    {"autobahn.twisted.wamp", "run"},
)


def would_run(*codes: CodeType) -> bool:
    """
    Whether code runs the reactor if it gets so far, by the names that it uses.

    That is ``reactor.run``, and what the libraries call it that do the same.
    Other code may be wrapped around it (a function of the user's own module):
    that is not known here, so that what is no script is never taken for one.
    """
    names: set[str] = set()
    for one in _all(codes):
        names |= {*one.co_names, *one.co_varnames, *one.co_freevars}
        named = (step.argval for step in dis.get_instructions(one))
        if ("reactor", "run") in pairwise(named):
            return True
    return any(signs <= names for signs in _SIGNS)


def _all(codes: Iterable[object]) -> Iterator[CodeType]:
    """The code among some objects, and that of the functions and classes in it."""
    for code in codes:
        if isinstance(code, CodeType):
            yield code
            yield from _all(code.co_consts)


def begun_by(caller: FrameType) -> Callable[[], object] | None:
    """
    What cancels the work of a function that is about to run the reactor.

    Args:
        caller: the frame that calls a method of the reactor.

    Returns:
        what cancels it, in the reactor thread; None if it is no such function.
    """
    main = awaited_by_react(caller)
    if main is not None:
        return lambda: main.addErrback(lambda _: None).cancel()
    module = caller.f_globals.get("__name__")
    if module == "scrapy.crawler" and caller.f_code.co_name == "_setup_reactor":
        process: Any = caller.f_locals["self"]
        return lambda: _stop_process(process)
    return None


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
