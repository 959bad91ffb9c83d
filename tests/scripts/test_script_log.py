"""Crawls, Klein and services as scripts in a real kernel: their logs, and what they put back."""

from __future__ import annotations

from kernels import Kernel, fail
from script_cells import cancel, last_line, script

from twisted_ipython._base.tracebacks import ONE_REACTOR, OTHER_THREAD, USE_FETCH
from twisted_ipython._scripts.notes import ADD_GLOBAL
from twisted_ipython._scripts.reactor_run import IN_CALLBACK

# ---- Scrapy

SPIDER = """
import scrapy
from scrapy.crawler import CrawlerProcess

class PagesSpider(scrapy.Spider):
    name = "pages"
    start_urls = [f"{site}/{number}" for number in (1, 2, 3)]

    def parse(self, response):
        yield {"title": response.css("h1::text").get()}
"""

CRAWL = (
    SPIDER
    + """
process = CrawlerProcess(settings={"LOG_LEVEL": "INFO"})
process.crawl(PagesSpider)
process.start()
print("The crawl is over.")
"""
)

# A count in the module, and a pipeline that Scrapy looks for in the module.
CRAWL_IN_MODULE = (
    SPIDER
    + """
from scrapy import signals

count = 0

def counted(item):
    global count
    count += 1

class UpperPipeline:
    def process_item(self, item):
        return {"title": item["title"].upper()}

def main():
    process = CrawlerProcess({
        "ITEM_PIPELINES": {"__main__.UpperPipeline": 300},
        "LOG_LEVEL": "WARNING",
        "TELNETCONSOLE_ENABLED": False,
    })
    crawler = process.create_crawler(PagesSpider)
    crawler.signals.connect(counted, signals.item_scraped)
    crawler.signals.connect(lambda item: print(item["title"]), signals.item_scraped, weak=False)
    process.crawl(crawler)
    process.start()

if __name__ == "__main__":
    main()
    print(count, "pages")
"""
)

PROCESS = """
import logging, sys, warnings
from twisted.logger import globalLogPublisher
from twisted.python.log import theLogPublisher

# What Scrapy sets the level of, and takes the handlers off.
loggers = [logging.getLogger(name) for name in (
    "filelock", "hpack", "httpcore", "httpx", "parso", "scrapy", "twisted")]
loggers[0].setLevel(logging.DEBUG)
loggers[0].addHandler(logging.NullHandler())

def state():
    root, pool = logging.getLogger(), reactor.getThreadPool()
    return (root.level, list(root.handlers), [(one.level, list(one.handlers)) for one in loggers],
            warnings.showwarning, reactor.resolver, reactor.nameResolver, pool.min, pool.max,
            list(globalLogPublisher._observers), theLogPublisher.observers, sys.stdout)

before = state()
"""


def test_crawler_process_ten_times(kernel: Kernel) -> None:
    """A script as Scrapy teaches it: its log in its cell, each event once, nothing left."""
    kernel.ok(PROCESS)
    fds = []
    for _ in range(10):
        ran = kernel.run(script(CRAWL))
        assert ran.traceback == ""
        assert ran.printed() == "The crawl is over.\n"
        log = ran.printed("stderr")
        for event in ("Spider opened", "Closing spider (finished)", "Dumping Scrapy stats"):
            assert log.count(event) == 1, log
        assert "'item_scraped_count': 3" in log
        assert "DEBUG" not in log
        assert "signal only works" not in log
        assert kernel.value("state() == before") == "True", kernel.value("state(), before")
        fds.append(int(str(kernel.value("len(os.listdir('/proc/self/fd'))"))))
    # One that is not closed would make eight more.
    assert fds[-1] < fds[1] + 4, fds


def test_crawl_with_names_of_the_module(kernel: Kernel) -> None:
    """With `--global` it is a script: `global` in a function, `__main__.Pipeline`, three times."""
    for _ in range(3):
        ran = kernel.ok(script(CRAWL_IN_MODULE, "--wait --global"))
        titles = sorted(ran.printed().splitlines())
        assert titles == ["3 pages", "PAGE /1", "PAGE /2", "PAGE /3"]


def test_a_crawl_that_misses_a_name(kernel: Kernel) -> None:
    """Without `--global` the failure says to add it, in the log or in the cell."""
    kernel.ok("globals().pop('UpperPipeline', None)")
    ran = kernel.run(script(CRAWL_IN_MODULE), stop_on_error=False)
    assert ADD_GLOBAL.format(name="UpperPipeline") in ran.printed("stderr")
    ran = fail(kernel, script("class Some: pass\nimport __main__\n__main__.Some"))
    assert last_line(ran) == ADD_GLOBAL.format(name="Some")
    ran = fail(kernel, script("never_bound"))
    assert last_line(ran) == "NameError: name 'never_bound' is not defined"


def test_async_crawler_process(kernel: Kernel) -> None:
    """`AsyncCrawlerProcess`; a line that installs the reactor first fails and says so."""
    kernel.ok(PROCESS)
    code = CRAWL.replace("CrawlerProcess", "AsyncCrawlerProcess")
    install = "from twisted.internet import asyncioreactor\nasyncioreactor.install()\n"
    for line in ("", "%%run_in_reactor -w\n"):
        ran = fail(kernel, line + install + code)
        assert last_line(ran) == ONE_REACTOR
    for _ in range(2):
        assert kernel.run(script(code)).printed() == "The crawl is over.\n"
        assert kernel.value("state() == before") == "True"


def test_two_crawls_at_once(kernel: Kernel) -> None:
    """What Scrapy sets on loggers lasts until the last crawl ends, whichever it is."""
    kernel.ok(PROCESS)
    cell = CRAWL.replace("start()", "start(stop_after_crawl=False)")
    level = "logging.getLogger('hpack').level, logging.getLogger('twisted').level"
    for names in ("one two", "two one"):
        for name in ("one", "two"):
            ran = kernel.run(script(cell, name))
            kernel.pump(lambda ran=ran: "Spider closed" in ran.printed("stderr"))
        for name in names.split():
            assert kernel.value(level) == "(40, 40)"
            cancel(kernel, name)
        assert kernel.value("state() == before") == "True", kernel.value("state(), before")


def test_a_crawl_in_an_awaiting_cell(kernel: Kernel) -> None:
    """`start` fails at once and leaves nothing, after a cell that has ended and in one."""
    kernel.ok(PROCESS)
    for first in ("await deferLater(reactor, 0)\n",):
        for code in (CRAWL, CRAWL.replace("CrawlerProcess", "AsyncCrawlerProcess")):
            ran = fail(kernel, first + code)
            assert last_line(ran) == f"ReactorAlreadyRunning: {IN_CALLBACK}"
            assert "site-packages" not in ran.traceback
            later = kernel.run("await deferLater(reactor, 0.1)")
            assert ran.printed() + later.printed() == ""
            assert "put `await`" not in ran.printed("stderr")
            assert kernel.value("state() == before") == "True", kernel.value("state(), before")
    ran = kernel.run(script(CRAWL))
    assert ran.printed() == "The crawl is over.\n"
    assert ran.printed("stderr").count("Spider opened") == 1


def test_a_crawl_is_interrupted(kernel: Kernel) -> None:
    """Ctrl-C closes the spider, as it does in a script."""
    slowly = '"INFO", "DOWNLOAD_DELAY": 0.05, "CONCURRENT_REQUESTS": 2'
    code = CRAWL.replace('"INFO"', slowly).replace("(1, 2, 3)", "range(1000)")
    code = code.replace("yield {", "print('parses')\n        yield {")
    waits = kernel.submit(script(code), stop_on_error=False).wait_for("parses")
    kernel.interrupt()
    assert waits.wait().error == "KeyboardInterrupt"
    waits.wait_for("The crawl is over.")
    assert "Closing spider (shutdown)" in waits.printed("stderr")


def test_inspect_response(kernel: Kernel) -> None:
    """It fails at once, and the log says what to use."""
    code = CRAWL.replace("def parse", "def parse(self, response):\n        pass\n\n    def never")
    code = code.replace("        pass", "        scrapy.shell.inspect_response(response, self)")
    ran = kernel.run(script(code.replace("import scrapy\n", "import scrapy.shell\n")))
    assert ran.printed() == "The crawl is over.\n"
    assert ran.printed("stderr").count(USE_FETCH) == 3
    assert OTHER_THREAD not in ran.printed("stderr")


# ---- Klein, Twisted's log and its services


ASK = """
for path in ("", "stop"):
    print(await (await treq.get(f"http://127.0.0.1:{number}/{path}", persistent=False)).text())
"""


def test_klein_app_run(kernel: Kernel) -> None:
    """Again and again on one port; its log is in its cell, and `print` remains `print`."""
    kernel.ok(
        PROCESS + "\nimport socket\nwith socket.create_server(('127.0.0.1', 0)) as one:\n"
        "    number = one.getsockname()[1]"
    )
    cell = script(
        """
        from klein import Klein
        app = Klein()

        @app.route("/")
        def home(request):
            return "home"

        @app.route("/stop")
        def stop(request):
            reactor.callLater(0.01, reactor.stop)
            return "stops"

        app.run("127.0.0.1", number)
        print("over")
        """,
        "job",
    )
    for _ in range(3):
        serves = kernel.ok(cell).wait_for("Site starting on")
        fails = kernel.ok(FAILS)
        assert fails.error == "ZeroDivisionError"
        assert "_reactor" not in fails.traceback
        asked = kernel.ok(ASK)
        assert asked.printed() == "home\nstops\n"
        assert kernel.value("await job") is None
        assert kernel.ok("print('plainly')").printed() == "plainly\n"
        serves.wait_for("over\n")
        assert serves.printed().count('"GET / HTTP/1.1" 200') == 1
        assert serves.printed().count("Site starting on") == 1
        assert "Factory starting on" not in serves.printed()
        assert "ZeroDivisionError" not in serves.printed() + serves.printed("stderr")
        assert kernel.value("state() == before") == "True", kernel.value("state(), before")


# Another cell, whose server's log is not the script's, and whose timer fails.
FAILS = """
import asyncio
from twisted.internet import protocol
port = reactor.listenTCP(0, protocol.Factory(), interface="127.0.0.1")
reactor.callLater(0, lambda: 1 / 0)
await asyncio.sleep(0.1)
await port.stopListening()
"""

NEW_LOG = """write = lambda event: f"> {formatEvent(event)}\\n"
        globalLogBeginner.beginLoggingTo([FileLogObserver(sys.stdout, write)])"""


def test_start_logging(kernel: Kernel) -> None:
    """Two scripts that log at once: each has its own log, and what no script logs."""
    kernel.ok(PROCESS)
    cell = """
        import sys
        from twisted.python import log
        from twisted.logger import FileLogObserver, formatEvent, globalLogBeginner
        BEGIN
        log.msg("NAME begins")
        print("printed by NAME")
        reactor.run()
        log.msg("NAME ends")
        """
    old, new = (
        kernel.ok(script(cell.replace("BEGIN", begin).replace("NAME", name), name))
        for name, begin in (
            ("old", "log.startLogging(sys.stdout)"),
            ("new", NEW_LOG),
        )
    )
    plain = kernel.ok(
        "import contextvars\nfrom twisted.python import log\nlog.msg('of a cell')\n"
        "contextvars.Context().run(log.msg, 'of nobody')\nprint('plain')"
    )
    assert plain.printed() == "plain\n"
    for execution, name in ((old, "old"), (new, "new")):
        cancel(kernel, name)
        execution.wait_for(f"{name} ends")
        text = execution.printed()
        assert "[-] of nobody\n" in text if name == "old" else "> of nobody\n" in text
        assert "of a cell" not in text
        assert f"\nprinted by {name}\n" in text
        assert ("new begins" in text) is (name == "new")
        assert ("old begins" in text) is (name == "old")
    assert kernel.value("state() == before") == "True", kernel.value("state(), before")


def test_services_by_hand(kernel: Kernel) -> None:
    """Services are started before the reactor runs, and stopped by its shutdown."""
    cell = script(
        """
        from twisted.application import app, internet, service
        from twisted.internet import protocol

        class Said(service.Service):
            def startService(self):
                print("starts")
            def stopService(self):
                print("stops")

        application = service.Application("by hand")
        Said().setServiceParent(application)
        internet.TimerService(0.01, print, ".", end="").setServiceParent(application)
        server = internet.TCPServer(0, protocol.Factory(), interface="127.0.0.1")
        server.setServiceParent(application)
        app.startApplication(application, False)
        reactor.callLater(0.05, reactor.stop)
        reactor.run()
        print("over")
        """
    )
    for _ in range(2):
        printed = kernel.ok(cell).printed()
        assert printed.replace(".", "") == "starts\nstops\nover\n"
        assert "." in printed
