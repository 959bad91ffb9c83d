"""Crawls and requests that a plain cell starts at a terminal, where no loop runs, are refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from terminals import Terminal

from twisted_ipython import _crawls
from twisted_ipython._refused import PUT_AWAIT
from twisted_ipython._running import PUT_MAGIC
from twisted_ipython._traceback import NO_LOOP_HERE

IMPORTS = (
    "import asyncio, gc, treq, scrapy; from scrapy.crawler import *;"
    " from twisted.internet import reactor; from twisted.web import client, resource, server"
)
PAGE = (
    "Page = type('Page', (resource.Resource,), {'isLeaf': True, 'asked': [], 'render_GET':"
    " lambda self, request: self.asked.append(request.path) or b'<p>page</p>'})"
)
PORT = "port = reactor.listenTCP(0, server.Site(Page()), interface='127.0.0.1')"
SPIDER = (
    "url = f'http://127.0.0.1:{port.getHost().port}/'; Spider = type('Spider', (scrapy.Spider,),"
    " {'name': 'pages', 'parse': lambda *_: None, 'start_urls': [url + '1', url + '2']})"
)
# The tasks of the loop that this thread has for whoever asks asyncio for one.
LEFT = (
    "local, empty = asyncio.get_event_loop_policy()._local, asyncio.new_event_loop();"
    " left = lambda: asyncio.all_tasks(local._loop or empty)"
)
CRAWLS = ["CrawlerRunner().crawl(Spider)", "AsyncCrawlerRunner().crawl(Spider)"]
PROCESSES = ["CrawlerProcess", "AsyncCrawlerProcess"]


def prepared(terminal: Terminal) -> Terminal:
    """A terminal with a web server and a spider."""
    for line in (IMPORTS, PAGE, PORT, SPIDER, LEFT):
        terminal.run(line)
    return terminal


@pytest.fixture(scope="module")
def simple() -> Iterator[Terminal]:
    """A terminal with the simple prompt, where asyncio's loop of the main thread never runs."""
    with Terminal() as terminal:
        yield prepared(terminal)


def words(shown: str) -> str:
    """What was shown, without the line ends of the terminal's width."""
    return " ".join(shown.split())


@pytest.mark.parametrize("crawl", CRAWLS)
def test_crawl(simple: Terminal, crawl: str) -> None:
    """A crawl fails at once with the line, leaves nothing, and works when it is awaited."""
    line = PUT_AWAIT.format(library="Scrapy")
    assert words(simple.run(f"done = {crawl}")) == line
    assert simple.run("left(), Page.asked").endswith("(set(), [])")
    failed = simple.run("await done")
    assert words(failed).endswith(f"RuntimeError: {line}")
    assert "site-packages" not in failed
    assert words(simple.run(f"{crawl};")) == line  # nobody looks at that one
    assert simple.run("del done; gc.collect(); await asyncio.sleep(0.01)") == ""
    assert simple.run(f"await {crawl}; sorted(map(bytes.decode, Page.asked))").endswith(
        "['/1', '/2']"
    )
    simple.run("Page.asked.clear()")


@pytest.mark.parametrize(
    ("code", "library"),
    [("treq.get(url)", "treq"), ("client.Agent(reactor).request(b'GET', url.encode())", "Agent")],
)
def test_request(simple: Terminal, code: str, library: str) -> None:
    """A request is refused at once, as an error of its cell."""
    shown = words(simple.run(f"answer = {code}"))
    assert shown.endswith(f"RuntimeError: {PUT_AWAIT.format(library=library)}")
    assert simple.run("Page.asked").endswith("[]")


@pytest.mark.parametrize("process", PROCESSES)
def test_process(simple: Terminal, process: str) -> None:
    """A process of Scrapy's that is refused shows the user's line only, and leaves nothing."""
    simple.run(f"process = {process}({{'LOG_ENABLED': False}})")
    # In a cell of its own, which leaves it alone: that it is a mistake shows in the next one.
    assert simple.run("done = process.crawl(Spider)") == ""
    assert not simple.run("left()").endswith("set()")
    simple.type("process.start()")
    shown = simple.shown()
    assert words(shown).endswith(f"ReactorAlreadyRunning: {PUT_MAGIC}")
    assert "-> 1 process.start()" in shown
    assert "site-packages" not in shown
    assert simple.run("left(), Page.asked").endswith("(set(), [])")
    assert simple.run("del done, process; gc.collect(); await asyncio.sleep(0.01)") == ""


def test_prompt_toolkit() -> None:
    """With the real prompt, where this thread has no loop, each kind of crawl says what to do."""
    with Terminal(prompt_toolkit=True) as terminal:
        prepared(terminal)
        first, second = (words(terminal.run(f"done = {crawl}")) for crawl in CRAWLS)
        assert first.endswith(PUT_AWAIT.format(library="Scrapy"))
        assert second.endswith(NO_LOOP_HERE)
        assert "site-packages" not in second
        assert terminal.run("left(), Page.asked").endswith("(set(), [])")


def test_off() -> None:
    """What refuses crawls leaves nothing on the logger."""
    logger = logging.getLogger("scrapy.middleware")
    before = dict(vars(logger))
    undo = _crawls.attach(lambda: True)
    assert vars(logger).keys() - before.keys() == {"isEnabledFor"}
    undo()
    assert vars(logger).keys() == before.keys()
