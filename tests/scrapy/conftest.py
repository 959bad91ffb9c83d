"""A kernel with a web server and spiders for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel

SETUP = """
import asyncio, gc, json, logging, os, scrapy, sys, types
from twisted.internet import defer, reactor
from twisted.web import resource, server
from twisted_ipython.scrapy import crawl, fetch

class Page(resource.Resource):
    isLeaf = True
    def render_GET(self, request):
        if b"slow" in request.path:
            return server.NOT_DONE_YET
        if b"moved" in request.path:
            request.redirect(b"/9")
            return b""
        if b"missing" in request.path:
            request.setResponseCode(404)
            return b"none"
        if b"agent" in request.path:
            return request.getHeader(b"user-agent")
        number = int(request.path[1:])
        link = f"<a href='/{number + 1}'>next</a>" if number < 9 else ""
        return f"<p>page {number}</p>{link}".encode()

port = reactor.listenTCP(0, server.Site(Page()), interface="127.0.0.1")
url = f"http://127.0.0.1:{port.getHost().port}/"

class Pages(scrapy.Spider):
    name = "pages"
    def __init__(self, first="0"):
        super().__init__()
        self.start_urls = [url + first]
    def parse(self, response):
        yield {"text": response.css("p::text").get(), "size": len(response.body)}
        yield from response.follow_all(css="a")

class Bad(Pages):
    name = "bad"
    def parse(self, response):
        yield from super().parse(response)
        raise ValueError("a bad page")

class Endless(scrapy.Spider):
    name = "endless"
    custom_settings = {"DOWNLOAD_DELAY": 0.02}
    paths = ["0"]
    async def start(self):
        yield {"number": 0}
        for path in self.paths:
            yield scrapy.Request(url + path)
    def parse(self, response):
        yield {"number": 1}
        print("It crawls.")
        yield scrapy.Request(response.url, dont_filter=True)
    def closed(self, reason):
        print("closed:", reason)

class Slow(Endless):
    name = "slow"
    paths = ["slow"]
    async def start(self):
        async for one in super().start():
            yield one
        print("It crawls.")

class Talks(scrapy.Spider):
    name = "talks"
    async def start(self):
        self.logger.info("an info")
        self.logger.warning("a warning")
        logging.getLogger("scrapy.core").warning("of Scrapy")
        yield {"number": 1}

def left():
    gc.collect()
    return (
        len(os.listdir("/proc/self/fd")),
        len(reactor.getReaders()),
        len(reactor.getDelayedCalls()),
        len(asyncio.all_tasks(reactor._asyncioEventloop)),
        len(logging.root.handlers),
        [logging.getLogger(name).level for name in ("scrapy", "pages", "talks")],
    )
"""


@pytest.fixture(scope="package")
def kernel() -> Iterator[Kernel]:
    """A kernel with a web server and spiders."""
    with Kernel() as one:
        one.ok(SETUP)
        yield one
