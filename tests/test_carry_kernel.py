"""Cells that do not await and call the reactor, in a real kernel: `_carry` and its neighbours."""

from __future__ import annotations

from time import monotonic

import pytest
from kernels import Kernel

from twisted_ipython import _refused

SETUP = """
import asyncio, gc, socket, sys, threading, time, urllib.request
import treq
from twisted.internet import defer, endpoints, protocol, reactor, task, threads
from twisted.web import client, resource, server

class Page(resource.Resource):
    isLeaf = True
    asked = []

    def render_GET(self, request):
        self.asked.append(request.getClientAddress().port)
        return b'<a href="/next">page</a>'

def where():
    print('in', threading.current_thread().name)

def spin():
    while True: pass

class Sleeps(protocol.Factory):
    def doStart(self): time.sleep(4)

def waits():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code.co_name != 'run_blocking': frame = frame.f_back
    return frame is not None

def tell():
    def began():
        while not waits(): time.sleep(0.001)
        print('began')
    threading.Thread(target=began).start()

port = reactor.listenTCP(0, server.Site(Page()), interface='127.0.0.1')
url = f'http://127.0.0.1:{port.getHost().port}/'
"""
IN_REACTOR = "in CrochetReactor\n"
# Seconds in which Ctrl-C gets out of a call.
PROMPTLY = 2


def test_server(kernel: Kernel) -> None:
    """The server of a plain cell answers while that thread blocks, and closes its port."""
    assert kernel.value("urllib.request.urlopen(url).read()") == """b'<a href="/next">page</a>'"""
    kernel.ok("other = reactor.listenTCP(0, server.Site(Page()), interface='127.0.0.1')")
    kernel.ok("number = other.getHost().port\nclosed = other.stopListening()")
    assert kernel.run("socket.create_connection(('127.0.0.1', number))").error == (
        "ConnectionRefusedError"
    )
    assert kernel.value("isinstance(closed, defer.Deferred)") == "True"


def test_output(kernel: Kernel) -> None:
    """What runs later runs in the reactor thread and prints into the cell that asked for it."""
    timer = kernel.ok("reactor.callLater(0.1, where);")
    ticks = kernel.ok("loop = task.LoopingCall(where); ended = loop.start(0.02)\nprint('began')")
    assert ticks.printed().startswith(IN_REACTOR + "began\n")
    timer.wait_for(IN_REACTOR)
    ticks.wait_for("began\n" + 2 * IN_REACTOR)
    cancelled = kernel.ok("call = reactor.callLater(0.2, where)\ncall.cancel()")
    assert kernel.value("loop.stop()\n(await ended) is loop") == "True"
    assert cancelled.printed() == ""


CONNECT = """
class Says(protocol.Protocol):
    def connectionMade(self): self.transport.write(b'GET / HTTP/1.0\\r\\n\\r\\n')
    def dataReceived(self, data): print('got', len(data))
    def connectionLost(self, reason): where()

factory = protocol.Factory.forProtocol(Says)
end = endpoints.clientFromString(reactor, f'tcp:localhost:{port.getHost().port}')
end.connect(factory).addCallback(lambda made: print('made', type(made).__name__));
"""


def test_connection(kernel: Kernel) -> None:
    """A connection of a plain cell's prints into that cell."""
    kernel.ok(CONNECT).wait_for(IN_REACTOR)


def test_interrupt(kernel: Kernel) -> None:
    """Ctrl-C gets out of a loop of calls, and of a call to a reactor that is stuck."""
    busy = "reactor.callFromThread(task.LoopingCall(int).start, 0)\n"
    kernel.ok(busy)
    for code in (
        "while True: reactor.callLater(0, int)",
        "reactor.callFromThread(spin)\nreactor.callLater(0, print, 'never')",
        "task.LoopingCall(spin).start(1)",
        "reactor.callFromThread(time.sleep, 1.5)\nreactor.callLater(0, int)",
        "reactor.listenTCP(0, Sleeps(), interface='127.0.0.1')",
    ):
        cell = kernel.submit("tell()\n" + code, stop_on_error=False)
        cell.wait_for("began")
        interrupted = monotonic()
        kernel.interrupt()
        cell.wait(PROMPTLY)
        assert monotonic() - interrupted < PROMPTLY
        assert cell.error == "KeyboardInterrupt"
        assert "twisted_ipython" not in cell.traceback
        # Twisted logs what was broken, some time later.
        kernel.run("reactor.callLater(0, where);").wait_for(IN_REACTOR)
        assert "never" not in cell.printed()
        assert ("in code that cannot be broken" in cell.traceback) == ("Sleeps" in code)


def test_stuck_reactor(kernel: Kernel) -> None:
    """After 5 s a line says where the reactor is, and where this thread waits for it."""
    cell = kernel.run(
        "def holds(): time.sleep(5.8)\nreactor.callFromThread(holds); time.sleep(0.1)\n"
        "reactor.callLater(0, where);"
    )
    assert cell.error is None
    number = cell.reply["execution_count"] if cell.reply else None
    line = cell.printed("stderr")
    assert line.startswith("The reactor has not answered for 5 s; it is at Cell In")
    assert f"[{number}], line 1, and this thread waits for it at Cell In[{number}], line 3" in line
    cell.wait_for(IN_REACTOR)


ASKS = """
class Asks(protocol.Factory):
    def doStart(self): print('answered', input('? '))

made = reactor.listenTCP(0, Asks(), interface='127.0.0.1')
"""


def test_question(kernel: Kernel) -> None:
    """Code that a carried call runs may ask: the thread that waits for the call puts it."""
    cell = kernel.submit(ASKS + "ended = made.stopListening()", allow_stdin=True)
    assert kernel.answer(cell, "42") == "? "
    assert cell.wait().printed() == "answered 42\n"
    cell = kernel.submit(ASKS, allow_stdin=True)
    kernel.asked(cell)
    kernel.interrupt()
    cell.wait(PROMPTLY)
    assert cell.error == "KeyboardInterrupt"
    assert "in Asks.doStart(self)" in cell.traceback
    assert "twisted_ipython" not in cell.traceback
    kernel.ok("reactor.callLater(0, where);").wait_for(IN_REACTOR)


# ---- what is refused


@pytest.mark.parametrize(
    ("code", "library"),
    [("treq.get(url)", "treq"), ("client.Agent(reactor).request(b'GET', url.encode())", "Agent")],
)
def test_requests(kernel: Kernel, code: str, library: str) -> None:
    """A request that is not awaited is refused in one line and asks nothing; awaited it works."""
    asked = kernel.value("len(Page.asked)")
    cell = kernel.run(f"answer = {code}")
    line = _refused.PUT_AWAIT.format(library=library)
    assert cell.traceback.endswith(f"RuntimeError: {line}")
    assert "site-packages" not in cell.traceback
    assert f"----> 1 answer = {code}" in cell.traceback
    assert kernel.value(f"response = await {code}\nawait treq.content(response)") == (
        """b'<a href="/next">page</a>'"""
    )
    assert kernel.value("len(Page.asked)") == str(int(asked or 0) + 1)


def test_pooled_connection(kernel: Kernel) -> None:
    """A refused request leaves the connection that it took in the pool, for the next one."""
    ask = "await (await treq.get(url)).content()"
    kernel.ok(ask)
    assert kernel.run("treq.get(url)").error == "RuntimeError"
    kernel.ok(ask)
    assert kernel.value("Page.asked[-1] == Page.asked[-2]") == "True"
    assert kernel.run("treq.content(response)").error == "RuntimeError"


SPIDER = """
import scrapy
from scrapy.crawler import *
from scrapy.utils.test import get_crawler

class Spider(scrapy.Spider):
    name = 'spider'
    start_urls = [url + str(number) for number in range(20)]
    closed_because = []

    def parse(self, response):
        return {'url': response.url}

    def closed(self, reason):
        self.closed_because.append(reason)

def left():
    loop = asyncio.get_running_loop()
    things = [*asyncio.all_tasks(), *loop._scheduled, *reactor.getDelayedCalls(),
              *reactor.getReaders()]
    return [thing for thing in map(repr, things) if 'scrapy' in thing.lower()]
"""


@pytest.mark.parametrize(
    "crawl",
    [
        "CrawlerRunner().crawl(Spider)",
        "AsyncCrawlerRunner().crawl(Spider)",
        # One that has its settings already.
        "get_crawler(Spider).crawl()",
    ],
)
def test_crawl(kernel: Kernel, crawl: str) -> None:
    """A crawl that is not awaited fails, in one line, before it has begun; awaited it works."""
    kernel.ok(SPIDER)
    asked = kernel.value("len(Page.asked)")
    cell = kernel.run(f"done = {crawl}")
    line = _refused.PUT_AWAIT.format(library="Scrapy")
    kernel.pump(lambda: line in cell.printed("stderr"))
    refused = kernel.run("await done", stop_on_error=False)
    assert refused.traceback.endswith(f"RuntimeError: {line}")
    assert "site-packages" not in refused.traceback
    assert kernel.value("Spider.closed_because, left()") == "([], [])"
    unseen = kernel.run(f"{crawl};")  # nobody looks at that one
    kernel.pump(lambda: line in unseen.printed("stderr"))
    kernel.ok("gc.collect(); await task.deferLater(reactor, 0.01)")
    assert [one.printed("stderr") for one in (cell, unseen)] == [line + "\n"] * 2
    assert unseen.traceback == ""
    assert kernel.value("len(Page.asked)") == asked
    kernel.ok(f"await {crawl}")
    assert kernel.value("len(Page.asked)") == str(int(asked or 0) + 20)


@pytest.mark.parametrize("telnet", [True, False])
@pytest.mark.parametrize("process", ["CrawlerProcess", "AsyncCrawlerProcess"])
def test_crawl_of_a_process(kernel: Kernel, process: str, telnet: bool) -> None:
    """One that no `start()` refuses is closed, with the line, where it calls the reactor."""
    kernel.ok(SPIDER)
    asked = kernel.value("len(Page.asked)")
    settings = f"{{'TELNETCONSOLE_ENABLED': {telnet}, 'LOG_ENABLED': False}}"
    cell = kernel.run(f"done = {process}({settings}).crawl(Spider)")
    line = _refused.PUT_AWAIT.format(library="Scrapy")
    kernel.pump(lambda: line in cell.printed("stderr"))
    kernel.ok("await done")
    assert cell.printed("stderr") == line + "\n"
    assert kernel.value("Spider.closed_because, left()") == "(['shutdown'], [])"
    assert kernel.value("len(Page.asked)") == asked
