"""`fetch`: one page, by Scrapy's downloader and its middlewares."""

from __future__ import annotations

from time import monotonic

import pytest
import scrapy
from kernels import Kernel, fail


def test_response(kernel: Kernel) -> None:
    """A URL or a Request gives a Response, whatever its status, and shows nothing else."""
    got = kernel.ok("page = await fetch(url + '3'); page.css('p::text').get(), type(page).__name__")
    assert got.value == "('page 3', 'HtmlResponse')"
    assert got.messages("display_data") == []
    assert kernel.value("(await fetch(scrapy.Request(url + 'missing'))).status") == "404"


def test_middlewares_and_settings(kernel: Kernel) -> None:
    """Redirects are followed, and settings are given by their names."""
    assert kernel.value("(await fetch(url + 'moved')).url == url + '9'") == "True"
    got = kernel.value("(await fetch(url + 'moved', REDIRECT_ENABLED=False)).status")
    assert got == "302"
    assert kernel.value("(await fetch(url + 'agent', USER_AGENT='me')).body") == "b'me'"


def test_failure(kernel: Kernel) -> None:
    """What the downloader fails with is raised in the cell, once."""
    cell = fail(kernel, "await fetch('http://127.0.0.1:1/', RETRY_ENABLED=False)")
    assert cell.error is not None
    assert "Refused" in cell.error
    assert len(cell.messages("error")) == 1
    assert "----> 1 await fetch(" in cell.traceback
    assert cell.printed("stderr") == ""


def test_nothing_came(kernel: Kernel) -> None:
    """A spider that an extension closes before gives an error that says so."""
    kernel.ok(
        "class Closes:\n"
        "    @classmethod\n"
        "    def from_crawler(cls, crawler):\n"
        "        crawler.signals.connect(cls.close, scrapy.signals.spider_opened, weak=False)\n"
        "        return cls()\n"
        "    @staticmethod\n"
        "    def close():\n"
        "        raise scrapy.exceptions.CloseSpider('enough')"
    )
    cell = fail(kernel, "await fetch(url + '1', EXTENSIONS={Closes: 0})")
    if scrapy.version_info >= (2, 18):
        assert cell.error == "RuntimeError"
        assert "Neither a response nor an error came for <GET http" in cell.traceback
        assert "(enough)" in cell.traceback
    else:  # it hands on what a receiver of `spider_opened` raises
        assert cell.error == "CloseSpider"


def test_interrupt(kernel: Kernel) -> None:
    """Ctrl-C drops the request at once."""
    code = (
        "class Tells:\n"
        "    def process_request(self, request, spider=None):\n"
        "        reactor.callLater(0.05, print, 'It waits.')\n"
        "await fetch(url + 'slow', DOWNLOADER_MIDDLEWARES={Tells: 999})"
    )
    cell = kernel.submit(code).wait_for("It waits.")
    began = monotonic()
    kernel.interrupt()
    cell.wait()
    assert monotonic() - began < 2
    assert cell.error == "KeyboardInterrupt"
    assert cell.printed("stderr") == ""
    kernel.ok("from twisted_ipython._reactor.crawls import crawls")
    kernel.ok("while crawls.spiders(): await asyncio.sleep(0.01)")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("await fetch(url + '1')", "fetch() was awaited outside of the reactor thread"),
        (
            "async for item in crawl(Endless, settings={'CLOSESPIDER_ITEMCOUNT': 1}): pass",
            "The items of a crawl are iterated over outside of the reactor thread",
        ),
    ],
)
def test_elsewhere(kernel: Kernel, code: str, words: str) -> None:
    """On another loop than the reactor's there is an error that says what to do."""
    kernel.ok("%autoawait asyncio")
    try:
        cell = fail(kernel, code)
    finally:
        kernel.ok("%autoawait twisted")
    assert cell.error == "RuntimeError"
    assert words in cell.traceback
    assert "run `%autoawait twisted`" in cell.traceback
