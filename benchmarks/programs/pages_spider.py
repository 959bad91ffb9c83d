"""A spider that crawls `pages`, and notes the CPU time from its opening to its end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import process_time
from typing import Any, Final

import scrapy

__all__ = ["SETTINGS", "Pages", "address"]

SETTINGS: Final = {"LOG_ENABLED": False, "TELNETCONSOLE_ENABLED": False}


def address() -> str:
    """Start the server, which ends with this process; where it is."""
    command = [sys.executable, str(Path(__file__).with_name("pages.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _servers.append(process)  # or its input would be closed
    assert process.stdout is not None
    return f"http://127.0.0.1:{process.stdout.readline().strip()}/"


_servers: list[subprocess.Popen[str]] = []


class Pages(scrapy.Spider):
    """
    Crawls so many pages.

    Attributes:
        seconds: what each crawl has taken.
    """

    name = "pages"
    seconds: Final[list[float]] = []

    def __init__(self, url: str, pages: str = "2000", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._url, self._pages = url, int(pages)
        self._began = process_time()

    async def start(self) -> AsyncIterator[Any]:
        """The first page."""
        yield scrapy.Request(f"{self._url}0")

    def parse(self, response: Any) -> Iterator[Any]:
        """An item, and the pages that it links to."""
        yield {"url": response.url, "links": len(response.css("a"))}
        for link in response.css("a::attr(href)").getall():
            if int(link.strip("/")) < self._pages:
                yield response.follow(link)

    def closed(self, reason: str) -> None:
        """Note how long it has taken."""
        assert reason == "finished"
        assert self.crawler.stats is not None
        assert self.crawler.stats.get_value("item_scraped_count") == self._pages
        self.seconds.append(process_time() - self._began)
        print(self.seconds[-1])  # for `scrapy runspider`; elsewhere it goes nowhere
