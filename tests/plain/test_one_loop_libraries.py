"""Libraries on asyncio in plain cells: what they make there lives on the reactor's loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import monotonic

import ipykernel
import pytest
from kernels import Cells, Kernel, fail, subshell

# ipykernel 6 has none.
SUBSHELLS = ipykernel.version_info >= (7,)
SETUP = """
import asyncio, threading, time
import aiohttp, anyio, distributed, grpc, grpc.aio, httpx, tornado
from aiohttp import web
from tornado import gen, httpclient, httpserver, ioloop, locks, queues
from tornado.web import Application, RequestHandler
from twisted.internet import defer, reactor, task
from twisted.internet.defer import Deferred
loop = reactor._asyncioEventloop
def here(): return threading.current_thread().name
async def waits(value=7, seconds=0.05): return await asyncio.sleep(seconds, value)
"""
Run = Callable[[str], str | None]


@pytest.fixture(autouse=True)
def works(kernel: Kernel) -> Iterator[None]:
    """Each test must leave the shared kernel working."""
    yield
    works = "await asyncio.gather(waits(1, 0), task.deferLater(reactor, 0, int))"
    assert kernel.value(works) == "[1, 0]"


@pytest.fixture(params=["main", *(["subshell"] if SUBSHELLS else [])])
def run(request: pytest.FixtureRequest, kernel: Kernel) -> Run:
    """Runs cells of the main shell, or of a subshell; gives the text of a cell's result."""
    number = None if request.param == "main" else subshell(kernel)
    return Cells(kernel, number).value


# ---- aiohttp, httpx, anyio, grpc.aio


AIOHTTP = """
async def hello(request): return web.Response(text='hello')
app = web.Application()
app.router.add_get('/', hello)
serving = web.AppRunner(app)
loop.run_until_complete(serving.setup())
site = web.TCPSite(serving, '127.0.0.1', 0)
starting = asyncio.create_task(site.start())
"""


@pytest.fixture
def url(run: Run) -> Iterator[None]:
    """The address of a server of aiohttp's that plain cells made."""
    run(AIOHTTP)
    run("await starting; url = 'http://127.0.0.1:%d/' % serving.addresses[0][1]")
    yield
    run("loop.run_until_complete(serving.cleanup())")


def test_aiohttp(run: Run, url: None) -> None:
    """A session is made in one cell, used in the next ones, and closed in a plain one."""
    run("session = aiohttp.ClientSession()")
    run("async def get():\n    async with session.get(url) as r: return await r.text()")
    assert run("await get()") == "'hello'"
    run("fetching = asyncio.gather(*(get() for _ in range(20)))")
    run("time.sleep(0.1)")
    assert run("{*await fetching}") == "{'hello'}"
    assert run("asyncio.get_event_loop().run_until_complete(get())") == "'hello'"
    run("closing = asyncio.create_task(session.close())")
    assert run("await closing; session.closed") == "True"


def test_httpx(run: Run, url: None) -> None:
    """A client of httpx's that a plain cell made keeps its connections from cell to cell."""
    run("client = httpx.AsyncClient()")
    assert run("(await client.get(url)).text") == "'hello'"
    run("asking = asyncio.create_task(client.get(url))")
    assert run("(await asking).text") == "'hello'"
    assert run("loop.run_until_complete(client.get(url)).text") == "'hello'"
    run("await client.aclose()")


def test_anyio(run: Run) -> None:
    """Events, locks, limiters and streams of anyio's that a plain cell made."""
    run(
        "opened, lock, limiter = anyio.Event(), anyio.Lock(), anyio.CapacityLimiter(1)\n"
        "send, receive = anyio.create_memory_object_stream(3)\n"
        "async def pulls():\n"
        "    await opened.wait()\n"
        "    async with lock, limiter: return await receive.receive()\n"
        "pulling = asyncio.gather(pulls(), pulls())"
    )
    run("send.send_nowait(1); send.send_nowait(2)")
    run("await asyncio.sleep(0); opened.set()")
    assert run("await pulling") == "[1, 2]"
    assert run("await anyio.to_thread.run_sync(int)") == "0"
    run("send.close(); receive.close()")


GRPC = """
class Echo(grpc.GenericRpcHandler):
    def service(self, details): return grpc.unary_unary_rpc_method_handler(self.echo)
    async def echo(self, request, context): return request
server = grpc.aio.server()
server.add_generic_rpc_handlers([Echo()])
port = server.add_insecure_port('127.0.0.1:0')
loop.run_until_complete(server.start())
channel = grpc.aio.insecure_channel(f'127.0.0.1:{port}')
echo = channel.unary_unary('/tested/echo')
"""


def test_grpc(run: Run) -> None:
    """A server and a channel of grpc.aio that plain cells made serve cells of both kinds."""
    run(GRPC)
    assert run("await echo(b'a')") == "b'a'"
    run("calling = [echo(b'%d' % number) for number in range(3)]")
    assert run("await asyncio.gather(*calling)") == "[b'0', b'1', b'2']"
    assert run("loop.run_until_complete(echo(b'b'))") == "b'b'"
    run("await channel.close(); await server.stop(0)")


# ---- tornado, distributed


TORNADO = """
class Hello(RequestHandler):
    async def get(self): await asyncio.sleep(0.01); self.write('hello')
server = httpserver.HTTPServer(Application([('/', Hello)]))
server.listen(0, '127.0.0.1')
[listening] = server._sockets.values()
url = 'http://127.0.0.1:%d/' % listening.getsockname()[1]
client = httpclient.AsyncHTTPClient()
"""


def test_tornado(run: Run) -> None:
    """A server, a client, a queue and a timer of tornado's that plain cells made."""
    run(TORNADO)
    run("asking = client.fetch(url)")
    assert run("(await asking).body") == "b'hello'"
    run("calls = []; timer = ioloop.PeriodicCallback(lambda: calls.append(1), 10); timer.start()")
    run("time.sleep(0.2); seen = len(calls); timer.stop()")
    assert run("seen > 5") == "True"
    run("queue = queues.Queue(); event = locks.Event(); got = queue.get(); queue.put(7)")
    assert run("await got") == "7"
    run("server.stop(); client.close()")


IOLOOPS = [
    "current = ioloop.IOLoop.current(); current.call_later(0.05, current.stop)\ncurrent.start(); 7",
    "current = ioloop.IOLoop.current(); current.add_callback(current.stop)\ncurrent.start(); 7",
    """
current = ioloop.IOLoop.current()
threading.Timer(0.05, current.add_callback, [current.stop]).start()
current.start(); 7
    """,
    "ioloop.IOLoop.current().run_sync(waits)",
    "@gen.coroutine\ndef f(): yield gen.sleep(0.05); return 7\nioloop.IOLoop.current().run_sync(f)",
]


@pytest.mark.parametrize("code", IOLOOPS)
def test_ioloop(run: Run, code: str) -> None:
    """R17: tornado's ``IOLoop.current().start()`` and ``run_sync`` work in plain cells, twice."""
    assert run(code) == "7"
    assert run(code) == "7"


def test_ioloop_times_out(kernel: Kernel) -> None:
    """R17: ``run_sync`` has its time limit, and leaves the loop to the next one."""
    cell = fail(kernel, "ioloop.IOLoop.current().run_sync(lambda: waits(1, 60), timeout=0.1)")
    assert cell.error == "TimeoutError"
    assert kernel.value("ioloop.IOLoop.current().run_sync(waits)") == "7"


def test_distributed(kernel: Kernel) -> None:
    """An asynchronous client that a plain cell made works for cells of both kinds."""
    kernel.ok(
        "options = dict(processes=False, n_workers=1, dashboard_address=None)\n"
        "where = dict(protocol='tcp', host='127.0.0.1')\n"
        "client = distributed.Client(asynchronous=True, **options, **where)"
    )
    kernel.ok("await client")
    kernel.ok("one = client.submit(int, '7')")
    assert kernel.value("await one") == "7"
    kernel.ok("gathering = asyncio.ensure_future(client.gather(client.map(int, ['1', '2'])))")
    assert kernel.value("await gathering") == "[1, 2]"
    kernel.ok("await client.close()")


# ---- ipykernel's loop


if ipykernel.version_info[:2] != (7, 0):  # which enters no GUI's loop, with or without us

    def test_gui_loop(kernel: Kernel) -> None:
        """R8: a GUI's loop that a plain cell asks for is entered in the main thread."""
        kernel.ok(
            "from ipykernel.eventloops import register_integration\n"
            "entered = []; shell = get_ipython()\n"
            "@register_integration('fake')\n"
            "def fake(kernel):\n"
            "    of_kernel = asyncio.get_running_loop() is kernel.io_loop.asyncio_loop\n"
            "    entered.append((here(), of_kernel)); time.sleep(0.005)\n"
            "asked = []; own = shell.kernel.enter_eventloop\n"
            "shell.kernel.enter_eventloop = lambda: (asked.append(here()), own())"
        )
        kernel.ok("%gui fake")
        kernel.ok("while len(entered) < 3: await asyncio.sleep(0.01)")
        kernel.ok("shell.kernel.eventloop = None; seen = {*entered}; entered.clear()")
        kernel.ok("shell.kernel.eventloop = fake")
        kernel.ok("while len(entered) < 3: await asyncio.sleep(0.01)")
        kernel.ok("shell.enable_gui(None)")
        assert (
            kernel.value("seen | {*entered}, {*asked}")
            == "({('MainThread', True)}, {'MainThread'})"
        )
        kernel.ok("del shell.kernel.enter_eventloop")


# ---- nest_asyncio


NESTED = """
import asyncio, time
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
async def waits(value=7, seconds=0.05): return await asyncio.sleep(seconds, value)
async def nested(): await waits(); return asyncio.run(waits())
async def timed():
    async with asyncio.timeout(5): return await waits()
"""
# nest_asyncio itself does not know Python 3.14, for which nest_asyncio2 was made.
NESTS = ["nest_asyncio2", *(["nest_asyncio"] if sys.version_info < (3, 14) else [])]


@pytest.fixture(params=["before", "after"])
def when(request: pytest.FixtureRequest) -> str:
    """Whether asyncio is made to nest before or after the extension is loaded."""
    return str(request.param)


@pytest.mark.parametrize("name", NESTS)
def test_nest_asyncio(name: str, when: str) -> None:
    """With nest_asyncio `asyncio.run` works in plain cells, and so do other cells and Ctrl-C."""
    apply = f"import {name}\n{name}.apply()\n"
    load = "%load_ext twisted_ipython\n%autoawait twisted\n"
    with Kernel(load=False) as own:
        own.ok(load + apply if when == "after" else apply + load)
        own.ok(NESTED)
        for _ in range(2):
            assert own.value("asyncio.run(waits())") == "7"
            assert own.value("asyncio.get_event_loop().run_until_complete(waits())") == "7"
            assert own.value("asyncio.run(nested())") == "7"
            assert own.value("await asyncio.gather(waits(), nested(), timed())") == "[7, 7, 7]"
            assert own.value("await task.deferLater(reactor, 0.01, int)") == "0"
        for waits in ("await asyncio.sleep(30)", "await Deferred()", "asyncio.run(waits(1, 30))"):
            cell = own.submit(f"print('began')\n{waits}", stop_on_error=False).wait_for("began")
            pressed = monotonic()
            own.interrupt()
            assert cell.wait(5).error == "KeyboardInterrupt"
            assert monotonic() - pressed < 1.5
        assert own.value("await waits()") == "7"
