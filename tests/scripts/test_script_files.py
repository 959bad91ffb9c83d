"""Scripts at a terminal, in files that IPython runs, and IPython's own command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import IPython
import pexpect
import pytest
from script_cells import pages
from shells import run_python
from terminals import SECONDS, Terminal

from twisted_ipython._scripts.script import EXITED

REACT = """
import sys
from twisted.internet import defer, task

async def main(reactor, ends):
    await task.deferLater(reactor, 0.05)
    print("main", ends, flush=True)
    if ends == "fails":
        {}["key"]
    if ends == "exits":
        raise SystemExit(3)
    if ends == "never":
        reactor.addSystemEventTrigger("before", "shutdown", print, "shuts down")
        await defer.Deferred()

task.react(main, [sys.argv[1]])
"""

CRAWL = """
import sys
import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

class PagesSpider(scrapy.Spider):
    name = "pages"
    start_urls = [f"{sys.argv[2]}/{number}" for number in range(20)]

    def parse(self, response):
        found.append(response.url)

found = []
process = globals()[sys.argv[1]](settings={"LOG_LEVEL": "ERROR"})
process.crawl(PagesSpider)
process.start()
print(len(found), "pages")
"""
PROCESSES = ["CrawlerProcess", "AsyncCrawlerProcess"]


@pytest.fixture(scope="module", params=[False, True], ids=["simple prompt", "prompt_toolkit"])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal with each kind of prompt."""
    with Terminal(prompt_toolkit=request.param) as one:
        one.run("from twisted.internet import defer, protocol, reactor, task")
        yield one


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a web server."""
    with pages() as address:
        yield address


@pytest.fixture
def react(tmp_path: Path) -> Path:
    """A file with a script."""
    path = tmp_path / "react.py"
    path.write_text(REACT)
    return path


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """A file with a crawl."""
    path = tmp_path / "crawl.py"
    path.write_text(CRAWL)
    return path


# ---- typed


def test_a_cell(terminal: Terminal) -> None:
    """It waits in `reactor.run()`, goes on below it, and closes its port, again and again."""
    terminal.run("Echo, number = protocol.Factory.forProtocol(protocol.Protocol), 0")
    for _ in range(3):
        assert terminal.run(
            "port = reactor.listenTCP(number, Echo, interface='127.0.0.1');"
            " number = port.getHost().port; reactor.callLater(0.1, reactor.stop);"
            " reactor.run(); print('over')"
        ).endswith("over")
        assert terminal.run("port.connected").endswith("False")


def test_react(terminal: Terminal) -> None:
    """It ends without a word about exiting."""
    terminal.run("main = lambda reactor: task.deferLater(reactor, 0.05, print, 'main')")
    for _ in range(2):
        assert terminal.run("task.react(main)") == "main"


def test_an_interrupt(terminal: Terminal) -> None:
    """Ctrl-C ends the wait after the shutdown triggers; the prompt and the reactor work."""
    for _ in range(2):
        terminal.type(
            "reactor.addSystemEventTrigger('before', 'shutdown', print, 'shuts' + ' down');"
            " reactor.callWhenRunning(print, 'wai' + 'ts'); reactor.run()"
        )
        terminal.expect("waits")
        terminal.interrupt()
        shown = terminal.shown()
        assert "shuts down" in shown
        assert shown.rstrip(":").endswith("KeyboardInterrupt")
        assert "site-packages" not in shown
        assert terminal.run("await task.deferLater(reactor, 0, lambda: 1 + 1)").endswith("2")


@pytest.mark.parametrize("process", PROCESSES)
def test_run_a_crawl(terminal: Terminal, crawl: Path, site: str, process: str) -> None:
    """`%run`: Scrapy's processes fetch all of their pages, again and again."""
    for _ in range(2):
        assert terminal.run(f"%run {crawl} {process} {site}").endswith("20 pages")


def test_run_react(terminal: Terminal, react: Path) -> None:
    """`%run`: success is silent, a failure has its own frames, a status is one line."""
    assert terminal.run(f"%run {react} well").endswith("main well")
    shown = terminal.run(f"%run {react} fails")
    assert "KeyError: 'key'" in shown
    assert '{}["key"]' in shown
    assert "site-packages" not in shown
    shown = terminal.run(f"%run {react} exits")
    assert shown.endswith(f"RuntimeError: {EXITED.format(status=3)}")
    assert "Traceback" not in shown
    assert "To exit" not in shown


def test_run_what_fails_before(terminal: Terminal, tmp_path: Path) -> None:
    """`%run`: a script that fails before it runs the reactor leaves no port; another file does."""
    path = tmp_path / "fails.py"
    begins = "port = reactor.listenTCP(0, protocol.Factory(), interface='127.0.0.1')\n1 / 0\n"
    path.write_text(f"{begins}reactor.run()")
    assert "ZeroDivisionError" in terminal.run(f"%run -i {path}")
    assert terminal.run("port.connected").endswith("False")
    path.write_text(begins)
    assert "ZeroDivisionError" in terminal.run(f"%run -i {path}")
    assert terminal.run("port.connected").endswith("True")
    terminal.run("await port.stopListening()")


# ---- ipython script.py


def ipython(*arguments: str | Path, folder: Path) -> tuple[int, str]:
    """Run IPython with the extension, to its end; give the status and what it showed."""
    ran = run_python(
        *("-m", "IPython", "--colors=NoColor", "--ext", "twisted_ipython"),
        *arguments,
        environment={"IPYTHONDIR": str(folder)},
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_a_file(react: Path, tmp_path: Path) -> None:
    """The status says whether the script failed, and what is shown says how."""
    status, shown = ipython(react, "well", folder=tmp_path)
    assert (status, shown.strip()) == (0, "main well")
    status, shown = ipython(react, "fails", folder=tmp_path)
    assert status == 1
    assert "KeyError: 'key'" in shown
    assert "site-packages" not in shown
    status, shown = ipython(react, "exits", folder=tmp_path)
    assert status == 1
    assert shown.strip().endswith(f"RuntimeError: {EXITED.format(status=3)}")


@pytest.mark.parametrize("process", PROCESSES)
def test_a_crawl(crawl: Path, site: str, process: str, tmp_path: Path) -> None:
    """Scrapy's script fetches all of its pages."""
    status, shown = ipython(crawl, process, site, folder=tmp_path)
    assert (status, shown.strip()) == (0, "20 pages")


def test_an_interrupt_of_a_file(react: Path, tmp_path: Path) -> None:
    """Ctrl-C ends the script, and with it IPython, which Python leaves as a signal does."""
    process = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--colors=NoColor", "--ext", "twisted_ipython", str(react), "never"],
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        encoding="utf-8",
        timeout=SECONDS,
    )
    process.expect("main never")
    process.kill(signal.SIGINT)
    process.expect("shuts down")
    process.expect(r"(?s)react\.py.*task\.react.*KeyboardInterrupt")
    process.expect(pexpect.EOF)
    process.wait()
    # IPython 8 leaves with a status of its own.
    assert process.signalstatus == signal.SIGINT or IPython.version_info < (9,)
