"""Crawls and requests that a plain cell starts at a terminal, where no loop runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from terminals import Terminal

IMPORTS = (
    "import asyncio, treq, scrapy; from scrapy.crawler import *;"
    " from twisted.internet import reactor; from twisted.web import client, resource, server"
)
PAGE = (
    "Page = type('Page', (resource.Resource,), {'isLeaf': True, 'asked': [], 'render_GET':"
    " lambda self, request: self.asked.append(request.path) or b'<p>page</p>'})"
)
PORT = "port = reactor.listenTCP(0, server.Site(Page()), interface='127.0.0.1')"
SPIDER = (
    "url = f'http://127.0.0.1:{port.getHost().port}/'; Spider = type('Spider', (scrapy.Spider,),"
    " {'name': 'pages', 'parse': lambda *_: None, 'start_urls': [url + str(n) for n in range(40)]})"
)
LOG = "import logging; logging.getLogger('scrapy').setLevel('ERROR')"


@pytest.fixture(scope="module", params=[False, True], ids=["simple", "prompt_toolkit"])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal with a web server and a spider."""
    with Terminal(prompt_toolkit=request.param) as one:
        for line in (IMPORTS, PAGE, PORT, SPIDER, LOG):
            one.run(line)
        yield one


@pytest.mark.parametrize(
    "crawl", ["CrawlerRunner().crawl(Spider)", "AsyncCrawlerRunner().crawl(Spider)"]
)
def test_crawl(terminal: Terminal, crawl: str) -> None:
    """A crawl that a plain cell starts runs while the prompt waits, and can be awaited."""
    terminal.run(f"Page.asked.clear(); done = {crawl}")
    assert terminal.run("await done; len(set(Page.asked))").endswith("40")


@pytest.mark.parametrize(
    "ask",
    [
        "treq.get(url).addCallback(treq.content)",
        "client.Agent(reactor).request(b'GET', url.encode()).addCallback(treq.content)",
    ],
    ids=["treq", "Agent"],
)
def test_request(terminal: Terminal, ask: str) -> None:
    """So does a request, with what is done with its answer."""
    terminal.run(f"answer = {ask}")
    assert terminal.run("await answer").endswith("b'<p>page</p>'")


def test_interrupt(terminal: Terminal) -> None:
    """Ctrl-C in a loop of calls ends the cell, and the reactor works."""
    terminal.run("cancelled = (reactor.callLater(60, int).cancel() for _ in iter(int, 1))")
    for _ in range(5):
        terminal.type("print('beg' 'an'); list(cancelled)")
        terminal.expect("began")
        terminal.interrupt()
        assert "KeyboardInterrupt" in terminal.shown()
        terminal.run("cancelled = (reactor.callLater(60, int).cancel() for _ in iter(int, 1))")
        assert terminal.run("reactor.callLater(0, int) in reactor.getDelayedCalls()").endswith(
            "True"
        )
