"""Cells that do not await and borrow the reactor, in a real kernel: what works in a program."""

from __future__ import annotations

from time import monotonic

import pytest
from kernels import Kernel

SETUP = """
import asyncio, gc, socket, sys, threading, time, urllib.request
import treq, scrapy
from scrapy.crawler import AsyncCrawlerRunner, CrawlerRunner
from twisted.internet import defer, endpoints, protocol, reactor, task, threads
from twisted.protocols import amp
from twisted.spread import pb
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
    # The first call is made by `start`.
    assert ticks.printed().startswith("in MainThread\nbegan\n")
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


BUSY = "busy = task.LoopingCall(int); reactor.callFromThread(busy.start, {})\n"


def interrupt(kernel: Kernel, code: str, seconds: float) -> None:
    """Interrupt a cell once it waits for the reactor; it ends in time, and the reactor works."""
    cell = kernel.submit("tell()\n" + code, stop_on_error=False)
    cell.wait_for("began")
    interrupted = monotonic()
    kernel.interrupt()
    cell.wait(seconds)
    assert monotonic() - interrupted < seconds
    assert cell.error == "KeyboardInterrupt"
    assert "twisted_ipython" not in cell.traceback
    # Twisted logs what was broken, some time later.
    kernel.run("reactor.callLater(0, where);").wait_for(IN_REACTOR)
    assert "never" not in cell.printed()


def test_interrupt(kernel: Kernel) -> None:
    """Ctrl-C gets out of a loop of calls, and of a call to a reactor that is stuck."""
    kernel.ok(BUSY.format(0.001))
    for code in (
        "while True: reactor.callLater(0, int)",
        "reactor.callFromThread(spin)\nreactor.callLater(0, print, 'never')",
        "task.LoopingCall(spin).start(1)",
        "reactor.callFromThread(time.sleep, 1.5)\nreactor.callLater(0, int)",
        "reactor.listenTCP(0, Sleeps(), interface='127.0.0.1')",
        "while True: time.sleep(0.001); reactor.callLater(0, int)",
    ):
        interrupt(kernel, code, PROMPTLY)
    kernel.ok("busy.stop()")


def test_interrupt_beside_a_loop(kernel: Kernel) -> None:
    """So it does where the reactor never waits, and every message takes its turn of 5 ms."""
    kernel.ok(BUSY.format(0))
    for code in ("while True: reactor.callLater(0, int)", "task.LoopingCall(spin).start(1)"):
        interrupt(kernel, code, 5 * PROMPTLY)
    kernel.ok("busy.stop()")


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


# ---- requests and crawls


def test_requests_of_one_cell(kernel: Kernel) -> None:
    """Of 300 requests that one plain cell makes, with a callback each, none is lost."""
    kernel.ok(
        "got = []\n"
        "for number in range(300): treq.get(url + str(number)).addCallback(treq.content)"
        ".addCallback(got.append)"
    )
    kernel.ok("while len(got) < 300: await task.deferLater(reactor, 0.01)")
    assert kernel.value("len(got), set(got)") == """(300, {b'<a href="/next">page</a>'})"""


def test_requests_of_many_cells(kernel: Kernel) -> None:
    """Of 300 requests of a plain cell each none is lost."""
    kernel.ok("got = []\nasked = len(Page.asked)")
    code = "treq.get(url + '{0}').addCallback(lambda answer: got.append({0}));"
    for cell in [kernel.submit(code.format(number)) for number in range(300)]:
        assert cell.wait().error is None
    kernel.ok("while len(got) < 300: await task.deferLater(reactor, 0.01)")
    assert kernel.value("sorted(got) == list(range(300)), len(Page.asked) - asked") == (
        "(True, 300)"
    )


def test_body(kernel: Kernel) -> None:
    """The body of a response is asked for in a plain cell, and awaited in a later one."""
    kernel.ok("response = await treq.get(url)")
    kernel.ok("body = treq.content(response)")
    assert kernel.value("await body") == """b'<a href="/next">page</a>'"""


def test_pool(kernel: Kernel) -> None:
    """An Agent with a pool is used from plain and awaiting cells in turn, on one connection."""
    kernel.ok("agent = client.Agent(reactor, pool=client.HTTPConnectionPool(reactor))")
    ask = "agent.request(b'GET', url.encode())"
    kernel.ok("asked = len(Page.asked)")
    for _ in range(5):
        kernel.ok(f"answer = {ask}.addCallback(treq.content)")
        kernel.ok("body = await answer")
        kernel.ok(f"body = await treq.content(await {ask})")
    assert kernel.value("len(Page.asked) - asked, len(set(Page.asked[asked:]))") == "(10, 1)"


SPIDER = """
class Pages(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        number = int(request.path[1:] or 0)
        links = [f'<a href="/{one}">' for one in (2 * number + 1, 2 * number + 2) if one < 400]
        return ''.join(links).encode()

pages = reactor.listenTCP(0, server.Site(Pages()), interface='127.0.0.1')

class Spider(scrapy.Spider):
    name = 'spider'
    start_urls = [f'http://127.0.0.1:{pages.getHost().port}/0']
    custom_settings = {'LOG_ENABLED': False}
    seen = {}

    def parse(self, response):
        self.seen.setdefault(self.number, []).append(response.url)
        return response.follow_all(css='a')
"""


@pytest.mark.parametrize("runner", ["CrawlerRunner", "AsyncCrawlerRunner"])
def test_crawls(kernel: Kernel, runner: str) -> None:
    """Three crawls of 400 pages at once that plain cells start are whole."""
    kernel.ok(SPIDER)
    cells = [
        kernel.ok(f"crawl{number} = {runner}().crawl(Spider, number={number})")
        for number in range(3)
    ]
    kernel.ok("for one in (crawl0, crawl1, crawl2): await one")
    assert kernel.value("sorted((number, len(set(s))) for number, s in Spider.seen.items())") == (
        "[(0, 400), (1, 400), (2, 400)]"
    )
    assert [cell.printed("stderr") for cell in cells] == [""] * 3
    kernel.ok("await pages.stopListening()")


# ---- protocols that call each other

CALLS = """
class Sum(amp.Command):
    arguments = [(b'a', amp.Integer()), (b'b', amp.Integer())]
    response = [(b'total', amp.Integer())]

class Adds(amp.AMP):
    @Sum.responder
    def add(self, a, b): return {'total': a + b}

class Root(pb.Root):
    def remote_add(self, a, b): return a + b

sums = reactor.listenTCP(0, protocol.Factory.forProtocol(Adds), interface='127.0.0.1')
root = reactor.listenTCP(0, pb.PBServerFactory(Root()), interface='127.0.0.1')
"""


def test_amp(kernel: Kernel) -> None:
    """AMP: 200 calls of one plain cell, each answered."""
    kernel.ok(CALLS)
    kernel.ok(
        "end = endpoints.TCP4ClientEndpoint(reactor, '127.0.0.1', sums.getHost().port)\n"
        "connected = endpoints.connectProtocol(end, amp.AMP())"
    )
    kernel.ok("one = await connected")
    kernel.ok("answers = [one.callRemote(Sum, a=number, b=1) for number in range(200)]")
    kernel.ok("totals = await defer.gatherResults(answers)")
    assert kernel.value("[one['total'] for one in totals] == list(range(1, 201))") == "True"
    kernel.ok("one.transport.loseConnection()")


def test_pb(kernel: Kernel) -> None:
    """Perspective Broker: 200 calls of one plain cell, each answered."""
    kernel.ok(CALLS)
    kernel.ok(
        "broker = pb.PBClientFactory()\n"
        "reactor.connectTCP('127.0.0.1', root.getHost().port, broker)\n"
        "got = broker.getRootObject()"
    )
    kernel.ok("remote = await got")
    kernel.ok("answers = [remote.callRemote('add', number, 1) for number in range(200)]")
    assert kernel.value("await defer.gatherResults(answers) == list(range(1, 201))") == "True"
    kernel.ok("broker.disconnect()")


def test_cooperator(kernel: Kernel) -> None:
    """The Cooperator, a cancelled Deferred and a LoopingCall of a plain cell do as in a program."""
    kernel.ok(
        "steps = []\n"
        "done = task.coiterate(steps.append(n) for n in range(500))\n"
        "late = task.deferLater(reactor, 60, int)\nlate.addErrback(lambda f: f.type.__name__)\n"
        "late.cancel()"
    )
    assert kernel.value("await done; len(steps), await late") == "(500, 'CancelledError')"
