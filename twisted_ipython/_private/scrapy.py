"""
Scrapy's names, public and private, as seen in Scrapy 2.13 to 2.19.

Nothing here imports Scrapy before the user does.  What reads locals of a frame
says what is done without.

Thread: reactor, unless a function says otherwise.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any, Final, NamedTuple

# What makes crawls, what defines their log, and what logs the exceptions of spiders.
ENGINE: Final = "scrapy.core.engine"
LOG: Final = "scrapy.utils.log"
SCRAPER: Final = "scrapy.core.scraper"
# The module and function that open a prompt in a spider.
PROMPT: Final = "scrapy.shell", "inspect_response"
# What `configure_logging` sets loggers to, and what has Scrapy forget its handler.
# Without: the levels that it sets stay; the next crawl of any cell logs as the last one did.
LOGGING: Final = "DEFAULT_LOGGING"
FORGET: Final = "_uninstall_scrapy_root_handler"
# What a process calls before it runs the reactor.  Without: the cell is refused some calls later.
SETS_UP: Final = "scrapy.crawler", "_setup_reactor"
# The method that a crawl waits in.  Without: a crawl whose await is cancelled is not closed.
WAITS_IN: Final = "start_async"
# The names that code uses which has Scrapy run the reactor: each of these sets.
SIGNS: Final = (
    {"CrawlerProcess", "start"},
    {"AsyncCrawlerProcess", "start"},
    {"scrapy.cmdline", "execute"},
    {"scrapy", "cmdline", "execute"},
)


class Counts(NamedTuple):
    """What a crawl has done; ``gave_up`` are the requests that were tried too often."""

    pages: int
    items: int
    gave_up: int


def hear(
    started: Callable[..., None], failed: Callable[..., None], stopped: Callable[..., None]
) -> Callable[[], None]:
    """Hear of engines that start and stop, and of failures; returns the undo.  Thread: any."""
    # Scrapy is imported, or about to be.
    from pydispatch import dispatcher
    from scrapy import signals

    undo = ExitStack()
    for receiver, signal in (
        (started, signals.engine_started),
        (failed, signals.spider_error),
        (failed, signals.item_error),
        (stopped, signals.engine_stopped),
    ):
        place = {"signal": signal, "sender": dispatcher.Any, "weak": False}
        dispatcher.connect(receiver, **place)
        undo.callback(dispatcher.disconnect, receiver, **place)
    return undo.close


def counts(crawler: Any) -> Counts:
    """What a crawl has done so far.  Thread: any."""
    names = "response_received_count", "item_scraped_count", "retry/max_reached"
    return Counts(*(crawler.stats.get_value(name, 0) for name in names))


def requests_in_flight(crawler: Any) -> int:
    """How many requests of a crawl have no answer yet."""
    return len(crawler.engine.downloader.active)


async def close(crawler: Any) -> None:
    """Finish the requests of a crawl that are in flight, and end it."""
    engine = crawler.engine
    with suppress(RuntimeError):  # it is being stopped already
        await (engine.stop_async() if hasattr(engine, "stop_async") else engine.stop())


async def end(crawler: Any) -> None:
    """Tell the extensions of a crawl, whose tasks were cancelled, that it is over."""
    from scrapy import signals

    crawler.engine.downloader.close()
    told = crawler.signals
    is_new = hasattr(told, "send_catch_log_async")
    send = told.send_catch_log_async if is_new else told.send_catch_log_deferred
    await send(signals.spider_closed, spider=crawler.spider, reason="shutdown")
    await send(signals.engine_stopped)


def _log() -> Any:
    """The module of Scrapy's log, if it is imported."""
    return sys.modules.get(LOG)


def loggers_it_sets() -> Iterable[str]:
    """The names of the loggers that Scrapy sets the levels of.  Thread: any."""
    settings: Any = getattr(_log(), LOGGING, {})
    names: Iterable[str] = settings.get("loggers", ())
    return names


def root_handler() -> logging.Handler | None:
    """Scrapy's handler of the root logger, if there is one.  Thread: any."""
    handler: logging.Handler | None = None if _log() is None else _log().get_scrapy_root_handler()
    return handler


def forget_root_handler() -> None:
    """Have Scrapy forget that handler, which it would put back for any crawl.  Thread: any."""
    getattr(_log(), FORGET, bool)()


def is_scrapys(frame: FrameType) -> bool:
    """Whether a frame is of Scrapy's code.  Thread: any."""
    return _module(frame).startswith("scrapy.")


def runs_engine(frame: FrameType, crawler: Any) -> bool:
    """Whether a frame is the one that a crawl waits in."""
    # What Scrapy tells of the start is told in tasks beside that one.
    return frame.f_code.co_name == WAITS_IN and frame.f_locals.get("self") is crawler.engine


def sets_up_reactor(frame: FrameType) -> bool:
    """Whether it is a process of Scrapy's that is about to run the reactor.  Thread: any."""
    return (_module(frame), frame.f_code.co_name) == SETS_UP


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
