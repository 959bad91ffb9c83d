"""
A crawl of 200 pages with 10 items each; answers with seconds of CPU time.

The argument is ``crawl`` for ours; without one Scrapy's CrawlerRunner crawls.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from time import process_time
from typing import Any, Final

from serving import serve

from twisted_ipython import runner

_PAGES: Final = 200
_ITEMS: Final = 10


async def _serving() -> str:
    """A server in the same reactor; the address of its pages."""
    from twisted.internet import reactor
    from twisted.web import resource, server

    class Page(resource.Resource):
        isLeaf = True

        def render_GET(self, _: Any) -> bytes:
            return b"<p>page</p>"

    port: Any = reactor.listenTCP(0, server.Site(Page()), interface="127.0.0.1")  # type: ignore[attr-defined]
    return f"http://127.0.0.1:{port.getHost().port}/"


def _spider(url: str) -> Any:
    import scrapy

    class Pages(scrapy.Spider):
        name = "pages"

        async def start(self) -> AsyncIterator[Any]:
            for number in range(_PAGES):
                yield scrapy.Request(f"{url}{number}")

        def parse(self, response: Any) -> Iterator[Any]:
            for number in range(_ITEMS):
                yield {"url": response.url, "number": number}

    return Pages


async def _seconds(spider: Any, *, ours: bool) -> dict[str, float]:
    from scrapy.crawler import CrawlerRunner

    from twisted_ipython.scrapy import crawl

    gc.collect()
    began = process_time()
    if ours:
        assert len(await crawl(spider)) == _PAGES * _ITEMS
    else:
        await CrawlerRunner({"TELNETCONSOLE_ENABLED": False}).crawl(spider)
    return {"200 pages": process_time() - began}


def main() -> None:
    """Answer, once our reactor is the one that is installed."""
    spider = _spider(runner(_serving()))
    ours = sys.argv[1:] == ["crawl"]
    serve(lambda: runner(_seconds(spider, ours=ours)))


if __name__ == "__main__":
    main()
