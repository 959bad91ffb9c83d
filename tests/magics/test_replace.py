"""`%%run_in_reactor --replace`: what the name held is stopped before the cell runs."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from session import Session, eventually, in_reactor_thread
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint

from twisted_ipython._magics import replace as replacing
from twisted_ipython._reactor.lifecycle import start

SETUP = """
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.protocol import ProcessProtocol, ReconnectingClientFactory
LOCAL = "127.0.0.1"
class Answer(Protocol):
    def connectionMade(self):
        self.factory.made.append(self)
        self.transport.write(self.factory.word)
class Site(Factory):
    protocol = Answer
    def __init__(self, word=b"hello"):
        self.word, self.made = word, []
class Client(Protocol):
    def __init__(self):
        self.data, self.lost = Deferred(), Deferred()
    def dataReceived(self, data):
        if not self.data.called: self.data.callback(data)
    def connectionLost(self, reason):
        self.lost.callback(None)
async def connect(port):
    number = port.getHost().port
    return await connectProtocol(TCP4ClientEndpoint(reactor, LOCAL, number), Client())
"""


@pytest.fixture
def server(session: Session) -> Session:
    """A session with a server and a client."""
    session.ok(SETUP)
    return session


def replace(session: Session, body: str = "'new'") -> str:
    """Replace x; give what is said meanwhile."""
    ran = session.run(f"%%run_in_reactor --wait --replace x\n{body}")
    assert ran.error is None, ran.out
    return ran.out.partition("Out[")[0]


def evaluate(session: Session, code: str) -> Any:
    """The value of a cell in the reactor thread."""
    return session.ok(f"%%run_in_reactor --wait\n{code}")


# ---- servers

SERVE = """
site = Site(b"{word}")
return reactor.listenTCP({port}, site, interface=LOCAL)
"""


def test_a_server_on_a_fixed_port_can_be_run_again(server: Session) -> None:
    """Each time the port is free, the old connections are closed, and the new code answers."""
    server.ok("%%run_in_reactor x\n" + SERVE.format(word="first", port=0))
    port = server.names["x"].wait(5).getHost().port
    for word in ("second", "third"):
        assert server.ok("%%run_in_reactor -w\nglobal c\nc = await connect(await x)\nawait c.data")
        assert (
            server.run("%%run_in_reactor --replace x\n" + SERVE.format(word=word, port=port)).error
            is None
        )
        assert (
            evaluate(server, "await c.lost\nawait (await connect(await x)).data") == word.encode()
        )
    assert replace(server) == ""


def test_a_paused_connection_is_closed_too(server: Session) -> None:
    """One that the reactor neither reads nor writes."""
    server.ok("%%run_in_reactor x\n" + SERVE.format(word="first", port=0))
    evaluate(
        server,
        "global c\n"
        "port = await x\n"
        "c = await connect(port)\n"
        "await c.data\n"
        "[accepted] = port.factory.made\n"
        "accepted.transport.pauseProducing()",
    )
    assert replace(server) == ""
    evaluate(server, "await c.lost")


def test_the_connections_of_other_ports_stay_open(server: Session) -> None:
    """A port that was not replaced goes on serving the clients that it has."""
    server.ok("%%run_in_reactor other\n" + SERVE.format(word="other", port=0))
    server.ok("%%run_in_reactor x\n" + SERVE.format(word="first", port=0))
    evaluate(server, "global c\nc = await connect(await other)\nawait c.data")
    assert replace(server) == ""
    assert evaluate(server, "c.lost.called") is False
    evaluate(server, "(await other).stopListening()\nc.transport.abortConnection()\nawait c.lost")


def test_a_service_stops_with_its_connections(server: Session) -> None:
    """A service that listens lets go of its port and of the clients that it has."""
    server.names.update(Server=StreamServerEndpointService, Endpoint=TCP4ServerEndpoint)
    server.ok(
        "%%run_in_reactor x\n"
        "service = Server(Endpoint(reactor, 0, interface=LOCAL), Site())\n"
        "service.startService()\n"
        "return service"
    )
    evaluate(
        server,
        "global c, service\n"
        "service = await x\n"
        "c = await connect(await service._waitingForPort)\n"
        "await c.data",
    )
    assert replace(server) == ""
    evaluate(server, "await c.lost")
    assert not server.names["service"].running


def test_asyncios_server_is_closed_with_its_connections(session: Session) -> None:
    """Its clients get the end of the stream, and the port is free again."""
    session.ok("from contextlib import closing\nopen_connection = asyncio.open_connection")
    serve = (
        "%%run_in_reactor --wait --replace x\n"
        "async def handle(reader, writer):\n"
        "    with closing(writer):\n"
        "        writer.write(b'{word}')\n"
        "        await reader.read()\n"
        "global port\n"
        "server = await asyncio.start_server(handle, '127.0.0.1', {port})\n"
        "port = server.sockets[0].getsockname()[1]\n"
        "return server"
    )
    ask = "global {0}\n{0} = await open_connection('127.0.0.1', port)\nreturn await {0}[0].read(9)"
    session.ok(serve.format(word="first", port=0))
    assert evaluate(session, ask.format("old")) == b"first"
    session.ok(serve.format(word="second", port=session.names["port"]))
    assert evaluate(session, ask.format("new")) == b"second"
    lost = "try:\n    return await old[0].read()\nexcept ConnectionError:\n    return b''"
    assert evaluate(session, lost) == b""
    assert replace(session) == ""
    evaluate(session, "old[1].close()\nnew[1].close()")


# ---- jobs


def test_a_pending_job_is_cancelled_and_waited_for(session: Session) -> None:
    """What it does in the end, awaiting, comes before the new cell."""
    session.names["order"] = order = []
    session.ok(
        "%%run_in_reactor x\n"
        "order.append('began')\n"
        "try:\n"
        "    await Deferred()\n"
        "finally:\n"
        "    await deferLater(reactor, 0.02)\n"
        "    order.append('ended')"
    )
    first = session.names["x"]
    eventually(lambda: order)
    assert replace(session, "order.append('new')") == ""
    assert order == ["began", "ended", "new"]
    assert first.state == "cancelled"


def test_what_a_job_gave_when_it_was_cancelled_is_stopped(server: Session) -> None:
    """A cell that catches its cancellation and gives a port: the port is stopped too."""
    server.ok(
        "%%run_in_reactor x\n"
        "global port\n"
        "try:\n"
        "    await Deferred()\n"
        "except asyncio.CancelledError:\n"
        "    port = reactor.listenTCP(0, Site(), interface=LOCAL)\n"
        "    return port"
    )
    in_reactor_thread(int)
    assert replace(server) == ""
    assert not server.names["port"].connected


@pytest.mark.parametrize("end", ["", "\nawait Deferred()"])
def test_the_looping_calls_of_a_job_are_stopped(session: Session, end: str) -> None:
    """Those that its cell started, whether the job is pending or has ended."""
    session.ok(f"%%run_in_reactor x\nglobal loop\nloop = LoopingCall(int)\nloop.start(60);{end}")
    eventually(lambda: "loop" in session.names and session.names["loop"].running)
    assert replace(session) == ""
    assert not session.names["loop"].running


def test_a_job_in_a_thread_is_said_to_go_on(session: Session) -> None:
    """Nothing can stop the thread: a line says so, and the new cell runs."""
    gate = session.names["gate"] = threading.Event()
    session.ok("%%run_in_reactor -t x\ngate.wait(10)")
    number = session.job("x").number
    said = replace(session)
    gate.set()
    assert said == (
        f"job {number} (x) runs in a pool thread, which nothing can stop: its code goes on\n"
    )


def test_what_does_not_stop_in_time_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new cell runs all the same."""
    monkeypatch.setattr(replacing, "_PATIENCE", 0.05)
    session.ok("gate = Deferred()")
    session.ok(
        "%%run_in_reactor x\n"
        "while not gate.called:\n"
        "    try:\n"
        "        await asyncio.shield(asyncio.sleep(60))\n"
        "    except asyncio.CancelledError:\n"
        "        await gate"
    )
    in_reactor_thread(int)
    said = replace(session)
    assert said.startswith("x held EventualResult <EventualResult x of cell 3: pending since")
    assert said.endswith(", which did not stop: TimeoutError: it takes more than 0.05 s\n")
    assert said.count("\n") == 1
    in_reactor_thread(lambda: session.names["gate"].callback(None))


def test_the_cell_does_not_run_if_the_wait_for_the_old_one_ends(session: Session) -> None:
    """By a timeout or Ctrl-C: the name keeps the old job, which goes on stopping."""
    session.names["ran"] = ran = []
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor x\ntry:\n    await Deferred()\nfinally:\n    await gate")
    first = session.names["x"]
    in_reactor_thread(int)
    session.ok("%twisted_config timeout 0.05")
    ended = session.run("%%run_in_reactor --replace x\nran.append(1)")
    assert type(ended.error) is TimeoutError
    assert "did not stop" not in ended.out
    assert session.names["x"] is first
    in_reactor_thread(lambda: session.names["gate"].callback(None))
    eventually(lambda: first.state == "cancelled")
    assert ran == []


def test_an_ended_job_is_no_obstacle(session: Session) -> None:
    """A failed or cancelled one, one of None, and a name that is not bound hold nothing."""
    assert replace(session) == ""
    session.names["x"] = None
    assert replace(session) == ""
    session.ok("%%run_in_reactor x\n1/0")
    session.names["x"].original_failure()
    assert replace(session) == ""
    session.ok("%%run_in_reactor x\nNone")
    assert replace(session) == ""


def test_a_cell_that_does_not_compile_stops_nothing(session: Session) -> None:
    """The old job goes on."""
    session.ok("%%run_in_reactor x\nawait Deferred()")
    assert isinstance(session.run("%%run_in_reactor --replace x\na = = 1").error, SyntaxError)
    in_reactor_thread(int)
    in_reactor_thread(int)
    assert session.names["x"].state == "pending"


def test_a_chain_of_failing_cells_keeps_no_old_result(session: Session) -> None:
    """The failure of a cell that replaced another does not hold what it replaced."""
    session.ok("%%run_in_reactor --replace x\n1/0;")
    session.names["x"].original_failure()
    first = weakref.ref(session.names["x"])
    for _ in range(2):
        session.ok("%%run_in_reactor --replace x\n1/0;")
        eventually(lambda: session.names["x"].state == "failed")
        session.names["x"].original_failure()
    eventually(lambda: gc.collect() >= 0 and first() is None)


# ---- other things

THINGS = {
    "a LoopingCall": ("x = LoopingCall(int)\nx.start(60);", "not x.running"),
    "a LoopingCall that was stopped": ("x = LoopingCall(int)", "not x.running"),
    "a DelayedCall": ("x = reactor.callLater(60, int)", "not x.active()"),
    "a DelayedCall that was run": ("x = reactor.callLater(0, int)", "True"),
    "a Deferred": ("x = Deferred(lambda d: seen.append(1)); x.addErrback(seen.append);", "seen"),
    "a task": (
        "x = asyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)",
        "x.cancelled()",
    ),
    "a task that is done": ("x = asyncio.create_task(asyncio.sleep(0, 1))\nawait x", "x.result()"),
    "a future": (
        "x = asyncio.get_running_loop().create_future()\nawait asyncio.sleep(0)",
        "x.cancelled()",
    ),
}


@pytest.mark.parametrize("where", ["the name", "the value", "a list", "a tuple in a list"])
@pytest.mark.parametrize("thing", THINGS)
def test_things_are_stopped(session: Session, thing: str, where: str) -> None:
    """Whether the name holds one, a job gave it, or it is in a list or tuple."""
    make, stopped = THINGS[thing]
    session.ok("seen = []")
    session.ok(f"%%run_in_reactor --wait --global\n{make}")
    session.ok("thing = x")
    if where == "the value":
        # In a list: a Deferred, task or future would be waited for.
        session.ok("%%run_in_reactor x\nreturn [thing]")
    elif where == "a list":
        session.ok("x = [None, thing]")
    elif where == "a tuple in a list":
        session.ok("x = [(thing,), ()]")
    in_reactor_thread(int)
    assert replace(session) == ""
    assert evaluate(session, stopped.replace("x.", "thing."))


def test_a_task_of_another_loop_is_cancelled_there(session: Session) -> None:
    """In the thread of its loop, and its end is waited for."""
    ended = threading.Event()
    made = threading.Event()

    async def nap() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def main() -> None:
        session.names["x"] = task = asyncio.create_task(nap())
        await asyncio.sleep(0)
        made.set()
        await asyncio.wait([task])

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert made.wait(10)
    assert replace(session) == ""
    assert ended.is_set()
    thread.join()


def test_a_connector_is_disconnected(server: Session) -> None:
    """Its connection is closed, and a factory that connects again does not."""
    server.ok("%%run_in_reactor port\n" + SERVE.format(word="first", port=0))
    server.names["port"].wait(5)
    server.ok(
        "class Again(ReconnectingClientFactory):\n"
        "    initialDelay = 0.001\n"
        "    def __init__(self): self.clients, self.lost = [], Deferred()\n"
        "    def buildProtocol(self, address):\n"
        "        self.clients.append(Client())\n"
        "        return self.clients[-1]\n"
        "    def clientConnectionLost(self, connector, reason):\n"
        "        super().clientConnectionLost(connector, reason)\n"
        "        self.lost.callback(None)\n"
        "again = Again()"
    )
    server.ok(
        "%%run_in_reactor -w\nglobal x\n"
        "x = reactor.connectTCP(LOCAL, (await port).getHost().port, again)\n"
        "while not again.clients: await asyncio.sleep(0.001)\n"
        "await again.clients[0].data"
    )
    assert replace(server) == ""
    evaluate(server, "await again.lost\nawait (await port).stopListening()")
    assert server.names["again"].continueTrying == 0
    assert len(server.names["again"].clients) == 1


@pytest.mark.parametrize(
    "script", ["exec sleep 60", "trap '' TERM; echo; while :; do sleep 0.05; done"]
)
def test_a_child_process_is_ended(
    server: Session, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Politely; one that does not listen is killed."""
    monkeypatch.setattr(replacing, "_POLITE", 0.1)
    server.names["script"] = script
    server.ok(
        "class Child(ProcessProtocol):\n"
        "    def __init__(self): self.ended, self.began = Deferred(), Deferred()\n"
        "    def outReceived(self, data): self.began.called or self.began.callback(data)\n"
        "    def processEnded(self, reason): self.ended.callback(reason.value.signal)\n"
        "child = Child()"
    )
    server.ok(
        "%%run_in_reactor x\nreactor.spawnProcess(child, 'sh', ['sh', '-c', script], env=None)"
    )
    if script.startswith("trap"):
        evaluate(server, "await child.began")
    assert replace(server) == ""
    assert evaluate(server, "await child.ended") == (9 if script.startswith("trap") else 15)


def test_what_cannot_be_stopped_is_left_and_said(session: Session) -> None:
    """One line each, which is not long, whatever the thing is."""

    class Mute:
        def __repr__(self) -> str:
            raise ValueError

    session.names["x"] = {"a": 1}
    assert replace(session) == (
        "x held dict {'a': 1}, which --replace does not know how to stop: it was left\n"
    )
    session.ok("%%run_in_reactor x\n'a\\nb' * 1000")
    said = replace(session)
    assert said.startswith("x held str 'a\\nba\\nb")
    assert said.count("\n") == 1
    assert len(said) < 200
    session.names["x"] = [Mute(), 3]
    first, second = replace(session).splitlines()
    assert first.startswith("x held Mute <Mute instance at ")
    assert second.startswith("x held int 3, ")


def test_a_failure_to_stop_is_said(session: Session) -> None:
    """The rest of the list is stopped all the same, and the cell runs."""

    class Bad(Service):
        def stopService(self) -> Deferred[None]:
            raise ValueError("not now")

        def __repr__(self) -> str:
            return "<bad>"

    call = in_reactor_thread(lambda: start().reactor.callLater(60, int))
    session.names["x"] = [Bad(), call]
    assert replace(session) == "x held Bad <bad>, which did not stop: ValueError: not now\n"
    assert not call.active()


def test_a_protocol_that_was_lost_before_is_no_obstacle(server: Session) -> None:
    """A connection that had ended by then is not aborted a second time."""
    server.ok("%%run_in_reactor x\n" + SERVE.format(word="first", port=0))
    evaluate(
        server,
        "global kept\n"
        "c = await connect(await x)\n"
        "await c.data\n"
        "[kept] = (await x).factory.made\n"
        "c.transport.loseConnection()\n"
        "await c.lost\n"
        "while kept.transport.connected: await asyncio.sleep(0.001)",
    )
    assert replace(server) == ""
