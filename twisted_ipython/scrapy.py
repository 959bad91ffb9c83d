"""
Scrapy in a cell: ``from twisted_ipython.scrapy import crawl, fetch``.

    response = await fetch("https://example.com/")
    items = await crawl(MySpider)
    async for item in crawl(MySpider): ...

Scrapy has to be installed: ``pip install twisted_ipython[scrapy]``.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import Any, Final

from scrapy import Request, Spider
from scrapy.crawler import CrawlerRunner
from scrapy.settings import BaseSettings
from scrapy.utils.project import get_project_settings
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import current_work, new_work, set_work
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._bridge.ending import Ending
from twisted_ipython._reactor.crawls import crawls
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._scrapy.crawl import NOT_HERE, Crawl
from twisted_ipython._scrapy.items import Items

__all__ = ["Crawl", "Items", "crawl", "fetch"]

NOT_FETCHED: Final = (
    "Neither a response nor an error came for {request}: the crawl that fetched it ended before"
    " ({reason}). Probably a middleware or an extension of the settings has dropped the request or"
    " closed the spider"
)
# What a crawl of one request does without.
_FETCH: Final[dict[str, Any]] = {
    "FEEDS": {},
    "HTTPERROR_ALLOW_ALL": True,
    "ITEM_PIPELINES": {},
    "SPIDER_MIDDLEWARES": {},
}


def crawl(spider: Any, *args: Any, settings: Any = None, **kwargs: Any) -> Crawl:
    """
    Begin a crawl: ``items = await crawl(MySpider)``, or ``async for item in crawl(MySpider)``.

    One line of the cell shows pages, items, errors and rate while it goes on.
    Without ``await`` it goes on in the background, listed by ``%reactor``.  Leaving
    the loop early closes the spider.  Ctrl-C does too; what was gathered is then
    ``items`` of the KeyboardInterrupt, and ``_``.

    Logs are shown from WARNING on, and exceptions as failures of the cell, unless
    LOG_LEVEL, LOG_FILE or LOG_ENABLED is set.

    Args:
        spider: its class; or the name of one of the project's.
        *args: of the spider.
        settings: a dict, which goes before the project's settings, if there is a project, and
            before the spider's own; or a Settings object in place of all those but the spider's.
        **kwargs: of the spider.

    Returns:
        the crawl. Awaited, it gives the items: a list that shows itself as a table, with
        ``stats``, ``crawler`` and ``frame()``.

    Raises:
        RuntimeError: the extension is not loaded.

    Thread: any.
    """
    return Crawl(CrawlerRunner(_settings(settings)).create_crawler(spider), args, kwargs)


async def fetch(request: Any, **settings: Any) -> Any:
    """
    Fetch one page by Scrapy's downloader and its middlewares: ``await fetch(url)``.

    Args:
        request: a URL, or a Request, whose callbacks are not called.
        **settings: Scrapy's settings, by name, before those of the project if there is one:
            ``USER_AGENT="me"``.

    Returns:
        the Response, whatever its status.

    Raises:
        RuntimeError: not in the reactor thread, or a middleware has dropped the request.
        Exception: what the downloader or a middleware failed with.

    Thread: reactor.
    """
    thread = current()
    if not thread.here():
        raise RuntimeError(NOT_HERE.format(what="fetch() was awaited"))
    request = Request(request) if isinstance(request, str) else request
    crawler = CrawlerRunner(_settings({**_FETCH, **settings})).create_crawler(_Fetch)
    came: list[Any] = []
    # A number of its own: it can be dropped without the other crawls of the cell.
    work_id, context = new_work(current_work().cell), copy_context()
    context.run(set_work, work_id)
    done = Ending(partial(crawls.drop, work_id))
    context.run(crawler.crawl, request, came).addBoth(done.end)
    await done
    if not came:
        reason = crawler.stats.get_value("finish_reason")
        raise RuntimeError(NOT_FETCHED.format(request=request, reason=reason))
    if isinstance(came[0], Failure):
        raise exception_of(came[0])
    return came[0]


class _Fetch(Spider):
    """Sends one request, and keeps the response or the error."""

    name = "fetch"

    def __init__(self, request: Any, came: list[Any]) -> None:
        super().__init__()
        self._request = request
        self._came = came

    async def start(self) -> Any:
        """The request, as Scrapy asks for it.  Thread: reactor."""
        yield self._request.replace(callback=self._took, errback=self._took, dont_filter=True)

    def _took(self, result: Any) -> None:
        self._came.append(result)


def _settings(given: Any) -> Any:
    if isinstance(given, BaseSettings):
        settings = given.copy()
    else:
        settings = get_project_settings()
        settings.setdict(given or {}, priority="cmdline")
    # It opens a port, which nobody needs who has a prompt in the same process.
    settings.set("TELNETCONSOLE_ENABLED", False, priority="default")
    return settings
