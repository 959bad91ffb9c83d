"""Crawls are listed with the cell that started them, and closed with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import takewhile

import pytest
from kernels import Execution, Kernel, fail

# So many stops must leave nothing behind.
STOPS = int(os.environ.get("TWISTED_IPYTHON_STOPS", "10"))

SETUP = """
import asyncio, gc, logging, os, scrapy
from scrapy.crawler import *
from twisted.internet import defer, reactor
from twisted.web import resource, server

class Page(resource.Resource):
    isLeaf = True
    asked = []
    def render_GET(self, request):
        self.asked.append(request)
        return server.NOT_DONE_YET if b"slow" in request.path else b"<p>page</p>"

port = reactor.listenTCP(0, server.Site(Page()), interface="127.0.0.1")
url = f"http://127.0.0.1:{port.getHost().port}/"

class Endless(scrapy.Spider):
    name = "endless"
    start_urls = [url + "0"]
    custom_settings = {"DOWNLOAD_DELAY": 0.05}
    pages = 0
    def parse(self, response):
        self.pages += 1
        if self.pages == 2:
            print("It crawls.")
        yield {"page": self.pages}
        yield scrapy.Request(url + str(self.pages))
    def closed(self, reason):
        print("closed:", reason)

class Short(Endless):
    name = "short"
    def parse(self, response):
        print("It crawls.")

class Slow(Endless):
    name = "slow"
    start_urls = [url + "slow1", url + "slow2"]
    async def start(self):
        async for request in super().start():
            yield request
        print("It crawls.")

logging.getLogger("scrapy").setLevel("ERROR")
"""
LEFT = """
def left():
    gc.collect()
    return (
        len(os.listdir("/proc/self/fd")),
        len(reactor.getDelayedCalls()),
        len(asyncio.all_tasks(reactor._asyncioEventloop)),
        len(logging.root.handlers),
    )
"""
RUNNERS = ["CrawlerRunner", "AsyncCrawlerRunner"]
PROCESSES = ["CrawlerProcess", "AsyncCrawlerProcess"]
SCRIPT = """process = {}({{"LOG_ENABLED": False}})
process.crawl({})
process.start()
print("The script is over.")
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A kernel with a web server and two spiders."""
    with Kernel() as one:
        one.ok(SETUP)
        one.ok(LEFT)
        yield one


def table(kernel: Kernel, line: str = "%reactor jobs") -> list[str]:
    """The rows of the table of crawls, each a line."""
    [message] = kernel.ok(line).messages("display_data")
    text: str = message["content"]["data"]["text/plain"]
    _, _, rest = text.partition("Crawls\n")
    rows = takewhile(lambda row: row.startswith("  "), rest.splitlines()[1:])
    return [re.sub(r" +", " ", row).strip() for row in rows]


def is_closing(kernel: Kernel, cell: Execution, spider: str) -> None:
    """Wait for the line that says so, which comes once."""
    kernel.pump(lambda: f"Closing the crawl of '{spider}'" in cell.printed("stderr"))


def interrupted(cell: Execution) -> None:
    """A cell has ended by Ctrl-C, and says once that it closes a crawl."""
    cell.wait()
    assert cell.error == "KeyboardInterrupt"
    assert cell.printed("stderr").count("Closing the crawl of") == 1


@pytest.mark.parametrize("runner", RUNNERS)
def test_interrupt(kernel: Kernel, runner: str) -> None:
    """Ctrl-C closes the crawl that a cell awaits as Scrapy's own first one, with its reason."""
    cell = kernel.submit(f"await {runner}().crawl(Endless); print('on')").wait_for("It crawls.")
    kernel.interrupt()
    interrupted(cell)
    assert cell.printed() == "It crawls.\nclosed: shutdown\n"
    assert table(kernel) == []


@pytest.mark.parametrize("runner", RUNNERS)
def test_that_ends_by_itself(kernel: Kernel, runner: str) -> None:
    """A crawl that has ended is not closed once more when the task that ran it ends."""
    cell = kernel.ok(f"await {runner}().crawl(Short)")
    assert cell.printed() == "It crawls.\nclosed: finished\n"
    assert cell.printed("stderr") == ""
    assert table(kernel) == []


def test_interrupt_of_a_crawl_that_is_not_awaited(kernel: Kernel) -> None:
    """So it does with one that the cell started and does not wait for."""
    code = "done = CrawlerRunner().crawl(Endless); await defer.Deferred()"
    cell = kernel.submit(code).wait_for("It crawls.")
    kernel.interrupt()
    interrupted(cell)
    assert "closed: shutdown" in cell.printed()


@pytest.mark.parametrize("runner", RUNNERS)
def test_second_interrupt(kernel: Kernel, runner: str) -> None:
    """A cell waits for requests in flight; a second Ctrl-C drops them."""
    cell = kernel.submit(f"await {runner}().crawl(Slow)").wait_for("It crawls.")
    kernel.interrupt()
    is_closing(kernel, cell, "slow")
    assert cell.reply is None
    kernel.interrupt()
    cell.wait(2)
    interrupted(cell)
    assert table(kernel) == []


@pytest.mark.parametrize("runner", RUNNERS)
def test_plain_cell(kernel: Kernel, runner: str) -> None:
    """A crawl of a plain cell is listed, and closes when a later cell's wait for it is stopped."""
    started = kernel.ok(f"done = {runner}().crawl(Endless)").wait_for("It crawls.")
    assert started.reply is not None
    number = started.reply["execution_count"]
    for line in ("%reactor", "%reactor jobs"):
        [row] = table(kernel, line)
        assert re.fullmatch(rf"endless {number} running [1-9]\d* [1-9]\d* 0 [\d.]+ m?s", row)
    cell = kernel.submit("print('waits'); await done").wait_for("waits")
    kernel.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    started.wait_for("closed: shutdown")
    assert "Closing the crawl of 'endless'" in started.printed("stderr")


def test_errors(kernel: Kernel) -> None:
    """The table counts what a spider raises."""
    kernel.ok(
        "class Bad(Endless):\n    name = 'bad'\n    def parse(self, response):\n"
        "        yield from super().parse(response)\n        raise ValueError\n"
        "logging.getLogger('scrapy').setLevel('CRITICAL')"
    )
    kernel.ok("done = CrawlerRunner().crawl(Bad)").wait_for("It crawls.")
    [row] = table(kernel)
    assert int(row.split()[-3]) >= 1
    assert row.startswith("bad ")
    kernel.run("%reactor cancel bad")
    kernel.ok("await done; logging.getLogger('scrapy').setLevel('ERROR')")


def test_cancel_by_name(kernel: Kernel) -> None:
    """`%reactor cancel SPIDER` closes a crawl, and the second time drops its requests."""
    started = kernel.ok("done = AsyncCrawlerRunner().crawl(Slow)").wait_for("It crawls.")
    first = kernel.run("%reactor cancel slow")
    is_closing(kernel, first, "slow")
    [row] = table(kernel)
    assert " closing " in row
    second = kernel.ok("%reactor cancel slow")
    kernel.ok("await done")
    assert started.printed("stderr") + second.printed("stderr") == ""
    assert "there are" in fail(kernel, "%reactor cancel slow").printed("stderr")


def test_job(kernel: Kernel) -> None:
    """The same with the job that crawls, which is "cancelled" at once."""
    kernel.ok("%%run_in_reactor job\nawait CrawlerRunner().crawl(Slow)").wait_for("It crawls.")
    first = kernel.run("%reactor cancel job")
    is_closing(kernel, first, "slow")
    kernel.ok("from twisted_ipython._reactor.lifecycle import current\njobs = current().jobs")
    assert kernel.value("jobs.find('job').state") == "'cancelled'"
    kernel.ok("%reactor cancel job")
    kernel.ok("from twisted_ipython._reactor.lifecycle import current\ncrawls = current().crawls")
    kernel.ok("while crawls.spiders(): await asyncio.sleep(0.01)")


def test_replace(kernel: Kernel) -> None:
    """`--replace` closes the crawl of the job that it replaces before it begins."""
    code = "%%run_in_reactor job --replace\nawait CrawlerRunner().crawl(Endless)"
    old = kernel.ok(code).wait_for("It crawls.")
    new = kernel.run(code).wait_for("It crawls.")
    assert "Closing the crawl" in new.printed("stderr")
    assert "closed: shutdown" in old.printed()
    assert len(table(kernel)) == 1
    kernel.run("job.cancel()")
    new.wait_for("closed: shutdown")


def test_timeout(kernel: Kernel) -> None:
    """A cell that may not await any longer closes its crawl, and a second later drops it."""
    kernel.ok("%twisted_config timeout 1")
    cell = fail(kernel, "await CrawlerRunner().crawl(Slow)")
    kernel.ok("%twisted_config timeout INFINITY")
    assert cell.error == "TimeoutError"
    assert "Closing the crawl of 'slow'" in cell.printed("stderr")
    assert table(kernel) == []


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("magic", ["", "%%run_in_reactor script\n"])
def test_script(kernel: Kernel, process: str, magic: str) -> None:
    """A script is stopped as in a process of its own: its crawl closes first."""
    cell = kernel.submit(magic + SCRIPT.format(process, "Endless")).wait_for("It crawls.")
    if magic:
        kernel.run("%reactor cancel script")
        kernel.run("%reactor wait script")
    else:
        kernel.interrupt()
        interrupted(cell)
    assert "closed: shutdown" in cell.printed()
    assert table(kernel) == []


@pytest.mark.parametrize("magic", ["", "%%run_in_reactor script\n"])
def test_script_at_once(kernel: Kernel, magic: str) -> None:
    """The second time its requests are dropped, and its own stop is no news."""
    cell = kernel.submit(magic + SCRIPT.format("CrawlerProcess", "Slow")).wait_for("It crawls.")
    if magic:
        is_closing(kernel, kernel.run("%reactor cancel script"), "slow")
        kernel.ok("%reactor cancel script")
        kernel.ok("%reactor wait script")
        assert cell.printed() == "It crawls.\nclosed: shutdown\nThe script is over.\n"
    else:
        kernel.interrupt()
        is_closing(kernel, cell, "slow")
        kernel.interrupt()
        interrupted(cell)
        assert cell.printed() == "It crawls.\nclosed: shutdown\n"
    assert table(kernel) == []


def test_nothing_is_left(kernel: Kernel) -> None:
    """Descriptors, timers, tasks and handlers of logs are as many after all stops."""
    before = None
    for number in range(STOPS + 1):
        for spider in ("Endless", "Slow"):
            cell = kernel.submit(f"await CrawlerRunner().crawl({spider})").wait_for("It crawls.")
            kernel.interrupt()
            if spider == "Slow":
                is_closing(kernel, cell, "slow")
                kernel.interrupt()
            interrupted(cell)
        if not number:
            kernel.ok("await asyncio.sleep(0.1)")
            before = kernel.value("left()")
    counted = (kernel.value("left()") for _ in range(50))
    assert before in counted


def test_unload(kernel: Kernel) -> None:
    """Unloading closes the crawls of scripts, and takes off what hears of crawls and imports."""
    script = SCRIPT.format("CrawlerProcess", "Endless")
    cell = kernel.submit("%%run_in_reactor\n" + script).wait_for("It crawls.")
    found = "[one for one in sys.meta_path if type(one).__module__.startswith('twisted_ip')]"
    kernel.ok("import sys; from pydispatch import dispatcher; from scrapy import signals")
    heard = "len(list(dispatcher.getAllReceivers(dispatcher.Any, signals.engine_started)))"
    assert kernel.value(f"len({found}), {heard}") == "(1, 1)"
    kernel.run("%unload_ext twisted_ipython")
    assert "closed: shutdown" in cell.printed()
    assert kernel.value(f"len({found}), {heard}") == "(0, 0)"
