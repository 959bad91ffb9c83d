"""Twisted's log in Python's logging, and what Scrapy logs of exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Execution, Kernel
from test_failures import HERE, IMPORTS, SOON, errors

# In the cell that is current when the log is read, there is nothing.
LOGS = """
from twisted.logger import Logger
from twisted.python import log
import contextvars, threading
logger = Logger("mine")
carried = contextvars.ContextVar("carried", default=None)
class Keeps(logging.Handler):
    def emit(self, record):
        kept.append((record, threading.current_thread().name, carried.get()))
kept = []
""".strip()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel with what the cells need."""
    with Kernel() as one:
        one.ok(IMPORTS + "\n" + LOGS)
        yield one


def settled(kernel: Kernel, cell: Execution) -> list[str]:
    """The failures that a cell shows, after all were shown, and nothing is shown elsewhere."""
    gone = kernel.ok(f"gc.collect(); await task.deferLater(reactor, {SOON / 2}, gc.collect)")
    assert errors(gone) == []
    return [message["content"]["ename"] for message in errors(cell)]


def test_records(kernel: Kernel) -> None:
    """A record is made in the thread and context that logged it, and names the line that did."""
    kernel.ok("logging.getLogger('twisted').addHandler(Keeps())")
    kernel.ok("logging.getLogger('twisted').setLevel('INFO')")
    kernel.ok(HERE + "carried.set(7)\nlogger.info('new {n}', n=1)\nlog.msg('old'); log.err('bad')")
    assert kernel.value("[one[1:] for one in kept] == 3 * [('CrochetReactor', 7)]") == "True"
    shown = "[(one[0].getMessage(), one[0].levelname, one[0].lineno) for one in kept]"
    lines = "[('new 1', 'INFO', 3), ('old', 'INFO', 4), (\"'bad'\", 'CRITICAL', 4)]"
    assert kernel.value(shown) == lines
    assert kernel.value("logging.root.handlers, logging.root.level") == "([], 30)"


def test_late_record_lands_in_its_cell(kernel: Kernel) -> None:
    """A warning that is logged later is printed into the cell whose code logs it."""
    cell = kernel.run(HERE + "reactor.callLater(0.2, logger.warn, 'late'); None")
    kernel.ok("await task.deferLater(reactor, 0.3, lambda: None)")
    assert cell.printed("stderr") == "late\n"


def test_unload_puts_crochets_observer_back(kernel: Kernel) -> None:
    """After the unload the log goes the way that crochet gave it."""
    kernel.ok("names = lambda: [type(one).__name__ for one in log.theLogPublisher.observers]")
    assert kernel.value("names()") == "[]"
    kernel.ok("%unload_ext twisted_ipython")
    assert kernel.value("names()") == "['ThreadLogObserver']"
    assert kernel.value("logging.getLogger('scrapy').handlers") == "[]"
    kernel.ok("%load_ext twisted_ipython\n%load_ext twisted_ipython")
    assert kernel.value("names()") == "[]"


def test_failures_in_the_users_log(kernel: Kernel, tmp_path: Path) -> None:
    """A log that shows failures is left to do so; one that goes to a file does not count."""
    file = tmp_path / "log"
    kernel.ok(f"to_file = logging.FileHandler({str(file)!r}); logging.root.addHandler(to_file)")
    cell = kernel.ok(HERE + "reactor.callLater(0, bad); None")
    assert settled(kernel, cell) == ["ZeroDivisionError"]
    assert file.read_text().count("ZeroDivisionError") == 1
    kernel.ok("logging.root.removeHandler(to_file); logging.basicConfig()")
    for code in ("reactor.callLater(0.05, bad)", "handle = loop.call_later(0.05, bad)"):
        cell = kernel.run(HERE + "loop = asyncio.get_running_loop()\n" + code + "; None")
        assert settled(kernel, cell) == []
        assert cell.printed("stderr").count("ZeroDivisionError: ") == 1
    kernel.ok("logging.root.handlers.clear()")
    kernel.run("streams = sys.stdout, sys.stderr; log.startLogging(sys.stderr, setStdout=False)")
    cell = kernel.run(HERE + "reactor.callLater(0, bad); None")
    assert settled(kernel, cell) == []
    assert cell.printed("stderr").count("ZeroDivisionError: ") == 1


def test_logs_that_lead_to_each_other(kernel: Kernel) -> None:
    """Each event appears once, whichever way one log gives to the other, and nothing recurses."""
    kernel.ok(
        "from twisted.logger import STDLibLogObserver, globalLogPublisher\n"
        "to_logging = STDLibLogObserver(); globalLogPublisher.addObserver(to_logging)"
    )
    cell = kernel.run(HERE + "logger.warn('warned'); logger.error('erred'); log.err(KeyError('k'))")
    assert settled(kernel, cell) == ["KeyError"]
    assert cell.printed("stderr") == "warned\nerred\n"
    for code in ("reactor.callLater(0, bad); None", "task.deferLater(reactor, 0, bad); None"):
        cell = kernel.run(HERE + code)
        assert settled(kernel, cell) == ["ZeroDivisionError"]
        assert cell.printed("stderr") == ""
        assert "twisted" not in cell.traceback.partition("\n")[2]
    kernel.ok(
        "globalLogPublisher.removeObserver(to_logging)\nseen = []\n"
        "class Feeds(logging.Handler):\n"
        "    def emit(self, record): log.msg(record.getMessage())\n"
        "logging.root.addHandler(Feeds()); globalLogPublisher.addObserver(seen.append)"
    )
    cell = kernel.ok(HERE + "logging.error('fed'); logger.error('once'); reactor.callLater(0, bad)")
    assert settled(kernel, cell) == ["ZeroDivisionError"]
    kernel.ok("logging.root.handlers.clear(); globalLogPublisher.removeObserver(seen.append)")
    counted = "[sum(word in str(one) for one in seen) for word in ('fed', 'once')]"
    assert kernel.value(counted) == "[1, 2]"  # the second as event, and as its record


# ---- Scrapy

SPIDER = """
import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerRunner
from scrapy.utils.log import configure_logging
from twisted.web import resource, server

class Page(resource.Resource):
    isLeaf = True
    def render_GET(self, request): return b"<p>page"

class Pipe:
    def process_item(self, item): raise KeyError("pipe")

class S(scrapy.Spider):
    name = "s"
    custom_settings = {"ITEM_PIPELINES": {Pipe: 1}, "TELNETCONSOLE_ENABLED": False}
    async def start(self):
        self.crawler.signals.connect(self.heard, signals.response_received)
        self.logger.error("spider"), logging.error("root"), logging.getLogger("own").warning("own")
        self.logger.info("nothing")
        yield scrapy.Request(url)
    def heard(self, **_): raise RuntimeError("signal")
    def parse(self, response):
        yield {"a": 1}
        raise ValueError("parse")
""".strip()
SERVE = """
port = reactor.listenTCP(0, server.Site(Page()), interface="127.0.0.1")
url = f"http://127.0.0.1:{port.getHost().port}/"
""".strip()
THREE = ["KeyError", "RuntimeError", "ValueError"]


def test_scrapy(kernel: Kernel) -> None:
    """What fails in a crawl is shown in its cell, with the user's frames; unless logging does."""
    kernel.ok(SPIDER)
    kernel.ok(HERE + SERVE)
    cell = kernel.run("await CrawlerRunner().crawl(S)")
    assert sorted(settled(kernel, cell)) == THREE
    assert cell.printed("stderr") == "spider\nroot\nown\n"
    assert kernel.value("logging.root.handlers") == "[]"
    assert "Spider error processing <GET http://127.0.0.1" in cell.traceback
    assert '    raise ValueError("parse")' in cell.traceback
    assert "site-packages" not in cell.traceback
    # Scrapy's own takes other handlers off its loggers.
    kernel.ok("configure_logging({'LOG_ENABLED': False})")
    cell = kernel.run("await CrawlerRunner({'LOG_ENABLED': False}).crawl(S)")
    assert sorted(settled(kernel, cell)) == THREE
    kernel.ok("configure_logging({'LOG_LEVEL': 'ERROR'})")
    cell = kernel.run("await CrawlerRunner().crawl(S)")
    assert settled(kernel, cell) == []
    assert cell.printed("stderr").count("ValueError: parse") == 1
    kernel.ok("await defer.maybeDeferred(port.stopListening)")
