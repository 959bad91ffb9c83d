"""Scripts of Scrapy, Klein and autobahn, and recipes, in cells without a magic."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from kernels import Kernel, fail
from script_cells import cell

from twisted_ipython._reactor.interrupt import FORKED
from twisted_ipython._reactor.lifecycle import NOT_NEEDED
from twisted_ipython._scripts.script import EXITED

# ---- crawls and Klein

SPIDER = """
import scrapy

class PagesSpider(scrapy.Spider):
    name = "pages"
    start_urls = [f"{site}/{number}" for number in range(20)]

    def parse(self, response):
        print(response.css("h1::text").get())
"""

CRAWL = """
from scrapy.crawler import PROCESS

process = PROCESS(settings={"LOG_LEVEL": "INFO"})
process.crawl(PagesSpider)
process.start()
print("The crawl is over.")
"""


@pytest.mark.parametrize("process", ["CrawlerProcess", "AsyncCrawlerProcess"])
def test_a_crawl_again_and_again(kernel: Kernel, process: str) -> None:
    """Scrapy's script: all of its pages, its log in its cell, each event once."""
    code = SPIDER + CRAWL.replace("PROCESS", process)
    for _ in range(3):
        ran = kernel.run(code)
        assert ran.traceback == ""
        lines = ran.printed().splitlines()
        assert lines[-1] == "The crawl is over."
        assert sorted(lines[:-1]) == sorted(f"page /{number}" for number in range(20))
        log = ran.printed("stderr")
        for event in ("Spider opened", "Closing spider (finished)", "Dumping Scrapy stats"):
            assert log.count(event) == 1, log
        assert "signal only works" not in log


@pytest.mark.parametrize("held", ["", "reactor.callFromThread(time.sleep, 1)"])
def test_a_crawl_in_two_cells(kernel: Kernel, held: str) -> None:
    """The process is made in one cell and started in the next, also by a reactor that is busy."""
    made, started = CRAWL.replace("PROCESS", "CrawlerProcess").split("process.crawl")
    for _ in range(2):
        kernel.run(SPIDER + made + held)
        ran = kernel.run("process.crawl" + started)
        assert ran.traceback == ""
        assert ran.printed().endswith("The crawl is over.\n")
        assert ran.printed("stderr").count("Spider opened") == 1
    kernel.run(
        "import scrapy.utils.log\nscrapy.utils.log.configure_logging(install_root_handler=False)"
    )


def test_scrapys_command(kernel: Kernel, tmp_path: Path) -> None:
    """`scrapy.cmdline.execute`, which exits when it is done; a mistake in it is said."""
    file = tmp_path / "spider.py"
    file.write_text(SPIDER.replace("{site}", str(kernel.value("site")).strip("'")))
    code = f"from scrapy.cmdline import execute\nexecute(['scrapy', 'runspider', '{file}'])"
    for _ in range(2):
        ran = kernel.run(code)
        assert ran.traceback == ""
        assert len(ran.printed().splitlines()) == 20
        assert "To exit" not in ran.printed("stderr")
    ran = fail(kernel, code.replace("spider.py", "none.py"))
    assert ran.traceback == f"RuntimeError: {EXITED.format(status=2)}"


def test_klein_again_and_again(kernel: Kernel) -> None:
    """`app.run()` on one port, whose log is in its cell."""
    kernel.ok(
        "import socket\nwith socket.create_server(('127.0.0.1', 0)) as one:\n"
        "    number = one.getsockname()[1]"
    )
    code = cell(
        """
        from klein import Klein
        app = Klein()

        @app.route("/")
        def home(request):
            reactor.callLater(0.05, reactor.stop)
            return "home"

        def asks():
            address = f"http://127.0.0.1:{number}/"
            treq.get(address, persistent=False).addCallback(treq.text_content).addCallback(print)

        reactor.callWhenRunning(asks)
        app.run("127.0.0.1", number)
        print("over")
        """
    )
    for _ in range(3):
        printed = kernel.ok(code).printed()
        assert "\nhome\n" in printed
        assert printed.endswith("over\n")
        assert printed.count('"GET / HTTP/1.1" 200') == 1
        assert kernel.ok("print('plainly')").printed() == "plainly\n"


ROUTER = """
import json
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

class Router(WebSocketServerProtocol):
    def onConnect(self, request):
        return "wamp.2.json"
    def onMessage(self, payload, isBinary):
        hello, goodbye = 1, 6
        kind = json.loads(payload)[0]
        if kind == hello:
            self.sendMessage(json.dumps([2, 1, {"roles": {"broker": {}}}]).encode())
        elif kind == goodbye:
            self.sendMessage(json.dumps([6, {}, "wamp.close.goodbye_and_out"]).encode())

factory = WebSocketServerFactory(protocols=["wamp.2.json"])
factory.protocol = Router
router = reactor.listenTCP(0, factory, interface="127.0.0.1")
"""

SESSION = """
from autobahn.twisted.wamp import ApplicationRunner, ApplicationSession

class Session(ApplicationSession):
    def onJoin(self, details):
        print("joined", details.realm)
        self.leave()
    def onDisconnect(self):
        reactor.stop()

runner = ApplicationRunner(f"ws://127.0.0.1:{router.getHost().port}/ws", "realm")
runner.run(Session, log_level="error")
print("over")
"""


if find_spec("autobahn"):  # no wheel of it is for Python 3.15

    def test_autobahns_runner_again_and_again(kernel: Kernel) -> None:
        """A session with a router that an earlier cell has started; a failure is raised as ever."""
        kernel.ok(ROUTER)
        for _ in range(3):
            assert kernel.run(SESSION).printed() == "joined realm\nover\n"
        kernel.ok("await router.stopListening()")
        ran = fail(kernel, SESSION.replace("{router.getHost().port}", "9"))
        assert ran.error == "ConnectionRefusedError"


# ---- two recipes


@pytest.mark.parametrize("first", ["", "import sys\n", "await deferLater(reactor, 0)\n"])
def test_the_reactors_module_stays(kernel: Kernel, first: str) -> None:
    """A cell that deletes it finds the reactor that runs all the same, and is told."""
    delete = "del sys.modules['twisted.internet.reactor']\n"
    ran = kernel.ok(f"{first}{delete}import twisted.internet.reactor as found\nfound is reactor")
    assert (ran.printed(), ran.value) == (f"{NOT_NEEDED}\n", "True")
    ran = kernel.ok(f"{first}if True:\n    {delete}\nfrom twisted.internet import reactor as found")
    assert ran.printed() == f"{NOT_NEEDED}\n"
    assert kernel.value("found is reactor") == "True"


FORK = """
from multiprocessing import get_context
from scrapy.crawler import CrawlerProcess, CrawlerRunner

def crawls(queue):
    try:
        {crawls}
        queue.put(None)
    except Exception as error:
        queue.put(str(error))

fork = get_context("fork")
queue = fork.Queue()
process = fork.Process(target=crawls, args=(queue,))
process.start()
print(queue.get(timeout=20))
process.join(20)
process.exitcode
"""


@pytest.mark.parametrize(
    "crawls",
    [
        "reactor.run()",
        "process = CrawlerProcess(); process.crawl(PagesSpider); process.start()",
        "CrawlerRunner().crawl(PagesSpider).addBoth(lambda _: reactor.stop()); reactor.run()",
    ],
)
def test_a_forked_process(kernel: Kernel, crawls: str) -> None:
    """The child is told at once that it has no reactor, and what to do."""
    kernel.ok(SPIDER)
    ran = kernel.run(FORK.format(crawls=crawls))
    assert (ran.printed(), ran.value) == (f"{FORKED}\n", "0"), ran.printed("stderr")
