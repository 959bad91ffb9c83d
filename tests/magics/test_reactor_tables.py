"""The tables of `%reactor`, of real things."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from session import SECONDS, eventually, in_reactor_thread
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import DatagramProtocol, Factory, ProcessProtocol, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from twisted_ipython._base.frames import Place
from twisted_ipython._base.work_id import new_work, set_work
from twisted_ipython._magics.reactor_tables import overview, tasks
from twisted_ipython._reactor.lifecycle import start
from twisted_ipython._reactor.thread import ReactorThread


def label(place: Place) -> str:
    """A place as its file's name and line."""
    return f"{Path(place.file).name}, line {place.line}"


def rows(title: str) -> list[list[str]]:
    """The rows of one table, below its headings."""
    tables = {table.title: table for table in overview(start(), label).tables}
    return tables[title].rows if title in tables else []


Undo = Callable[[Callable[[], object]], None]


def ports() -> list[list[str]]:
    """The rows of ports and connections, without their cells (see `test_sockets`)."""
    return [row[:4] for row in rows("Ports and connections")]


@pytest.fixture
def thread() -> Iterator[ReactorThread]:
    """The reactor thread, with what the extension sets on its reactor."""
    thread = start()
    thread.attach()
    yield thread
    thread.detach()


@pytest.fixture
def undo(thread: ReactorThread) -> Iterator[Undo]:
    """Takes what is to be done at the end, in the reactor thread; Deferreds are waited for."""
    calls: list[Callable[[], object]] = []
    yield calls.append
    for call in reversed(calls):
        thread.run(call).wait(SECONDS)


def in_reactor(coro: Any) -> Any:
    """What a coroutine gives in the reactor thread."""
    thread = start()

    async def body() -> Any:
        return await coro

    from contextvars import copy_context

    return thread.run(lambda: thread.deferred(body(), copy_context())).wait(SECONDS)


class Server(Protocol):
    """The server's side of a connection, which tells when it is made."""

    def connectionMade(self) -> None:
        """Tell the factory."""
        assert isinstance(self.factory, Site)
        self.factory.made.callback(self)


class Site(Factory):
    """Serves one connection."""

    protocol = Server

    def __init__(self) -> None:
        self.made: Deferred[Server] = Deferred()


class Client(Protocol):
    """The client's side of a connection."""


class Sleeps(ProcessProtocol):
    """A child process that tells when it has ended."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def processEnded(self, _: object) -> None:
        """Tell."""
        self.ended.callback(None)


class Datagrams(DatagramProtocol):
    """Listens for nothing."""


SITE, CLIENT, DATAGRAMS = (f"{__name__}.{one.__name__}" for one in (Site, Client, Datagrams))


def test_the_reactor_is_named(thread: ReactorThread) -> None:
    """Its class, its loop, its thread, how long it has run and how fast it answers."""
    about = dict(map(tuple, overview(thread, label).tables[0].rows))  # type: ignore[arg-type]
    assert about["class"] == "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
    assert about["loop"].startswith("asyncio.")
    assert about["thread"] == f"CrochetReactor ({thread.ident})"
    assert about["uptime"].endswith(("s", "min"))
    assert about["state"].startswith("answers in ")
    assert about["state"].endswith(" ms")


@pytest.fixture
def socket_path() -> Iterator[str]:
    """Where a UNIX socket may be: pytest's own folders can be longer than a table shows."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield f"{folder}/socket"


def test_ports_and_connections_are_listed(socket_path: str, undo: Undo) -> None:
    """TCP, UNIX and UDP, both ends of a connection, with addresses and factories."""

    async def open_all() -> tuple[int, int, int]:
        reactor = start().reactor
        site = Site()
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        unix = reactor.listenUNIX(socket_path, Site())
        udp = reactor.listenUDP(0, Datagrams(), interface="127.0.0.1")
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Client())
        await site.made
        for one in (port, unix, udp):
            undo(one.stopListening)
        undo(client.transport.abortConnection)
        return port.getHost().port, udp.getHost().port, client.transport.getHost().port

    port, udp, client = in_reactor(open_all())
    found = ports()
    assert ["listens", f"127.0.0.1:{port}", "", SITE] in found
    assert ["listens", socket_path, "", SITE] in found
    assert ["listens", f"127.0.0.1:{udp}", "", DATAGRAMS] in found
    assert ["connection", f"127.0.0.1:{port}", f"127.0.0.1:{client}", SITE] in found
    ours = [row for row in found if row[1] == f"127.0.0.1:{client}"]
    assert [row[:3] for row in ours] == [["connection", f"127.0.0.1:{client}", f"127.0.0.1:{port}"]]


def test_a_paused_connection_is_listed(undo: Undo) -> None:
    """Neither reads nor writes: the reactor itself does not know it then."""

    async def connect() -> int:
        reactor = start().reactor
        site = Site()
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Client())
        server = await site.made
        undo(port.stopListening)
        undo(client.transport.abortConnection)
        undo(server.transport.abortConnection)  # type: ignore[union-attr]
        server.transport.pauseProducing()  # type: ignore[union-attr]
        return int(client.transport.getHost().port)

    client = in_reactor(connect())
    found = [row for row in ports() if row[2] == f"127.0.0.1:{client}"]
    assert [row[3] for row in found] == [SITE]


def certificate() -> PrivateCertificate:
    """A certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1))
    signed = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return PrivateCertificate.loadPEM(private + signed.public_bytes(pem))


# Twisted 26.10 does so with pyOpenSSL 26.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
def test_tls_is_looked_through(undo: Undo) -> None:
    """A port and a connection with TLS are those of the factory within."""

    async def connect() -> int:
        reactor = start().reactor
        site = Site()
        port = reactor.listenSSL(0, site, certificate().options(), interface="127.0.0.1")
        undo(port.stopListening)
        number = port.getHost().port
        endpoint = SSL4ClientEndpoint(reactor, "127.0.0.1", number, CertificateOptions())
        client = await connectProtocol(endpoint, Client())
        undo(client.transport.abortConnection)
        await site.made
        return int(number)

    port = in_reactor(connect())
    found = ports()
    assert ["listens", f"127.0.0.1:{port}", "", SITE] in found
    served = [row for row in found if row[0] == "connection" and row[1] == f"127.0.0.1:{port}"]
    assert [row[3] for row in served] == [SITE]


def test_asyncios_servers_and_connections_are_listed(undo: Undo) -> None:
    """Those on the reactor's loop, both ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def connect() -> tuple[int, int]:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        undo(server.close)
        undo(writer.close)
        return port, writer.get_extra_info("sockname")[1]

    port, client = in_reactor(connect())
    here, there = f"127.0.0.1:{port}", f"127.0.0.1:{client}"
    eventually(
        lambda: (
            [row[:3] for row in ports() if "asyncio" in row[0]]
            == [
                ["connection (asyncio)", *sorted([here, there], key=str)],
                ["connection (asyncio)", *sorted([here, there], key=str)[::-1]],
                ["listens (asyncio)", here, ""],
            ]
        )
    )


def test_child_processes_are_listed(undo: Undo) -> None:
    """Twisted's and asyncio's; gone when they have ended."""

    async def spawn() -> tuple[Any, asyncio.subprocess.Process]:
        protocol = Sleeps()
        process = start().reactor.spawnProcess(protocol, "sleep", ["sleep", "60"], env=None)
        undo(lambda: protocol.ended)
        undo(partial(process.signalProcess, "KILL"))
        return process, await asyncio.create_subprocess_exec("sleep", "60")

    process, other = in_reactor(spawn())
    try:
        found = rows("Child processes")
        assert [str(process.pid), f"{__name__}.Sleeps"] in found
        assert [str(other.pid), "asyncio.subprocess.SubprocessStreamProtocol"] in found
        assert len(found) == 2
    finally:

        async def end() -> None:
            other.kill()
            await other.wait()

        in_reactor(end())
    assert [row[0] for row in rows("Child processes")] == [str(process.pid)]


def test_the_thread_pool_is_counted(undo: Undo) -> None:
    """How many threads work, and how many calls wait for one."""
    gate = threading.Event()
    pool = start().reactor.getThreadPool()
    calls = in_reactor_thread(lambda: [deferToThread(gate.wait, 10) for _ in range(pool.max + 2)])
    try:
        eventually(lambda: dict(map(tuple, rows("Thread pool")))["working"] == str(pool.max))  # type: ignore[arg-type]
        counted = dict(map(tuple, rows("Thread pool")))  # type: ignore[arg-type]
        assert counted == {
            "working": str(pool.max),
            "idle": "0",
            "queued": "2",
            "at most": str(pool.max),
        }
    finally:
        gate.set()
        for call in calls:
            start().run(lambda call=call: call).wait(SECONDS)  # type: ignore[misc]


def test_delayed_calls_are_listed_in_their_order(undo: Undo) -> None:
    """When, what and whose: a LoopingCall by what it calls, a partial by its function."""

    def tick() -> None:
        """Do nothing."""

    class Mute:
        def __call__(self) -> None:
            """Do nothing."""

        def __repr__(self) -> str:
            raise ValueError

    def arrange() -> None:
        reactor = start().reactor
        loop = LoopingCall(partial(tick))
        loop.start(200, now=False)
        undo(loop.stop)
        for seconds, call in ((300, tick), (100, partial(tick)), (400, Mute())):
            undo(reactor.callLater(seconds, call).cancel)

    def arrange_in_cell() -> None:
        set_work(new_work(7))
        arrange()

    in_reactor_thread(lambda: copy_context().run(arrange_in_cell))
    name = tick.__qualname__
    found = [row for row in rows("Delayed calls") if "min" in row[0]]
    assert [row[1] for row in found[:3]] == [name, f"LoopingCall of {name}", name]
    assert [row[2] for row in found] == ["7"] * 4
    reaps = next(row for row in rows("Delayed calls") if "reapAllProcesses" in row[1])
    assert reaps[2] == ""
    assert "Mute" in found[3][1]
    assert found[0][0] in ("in 1 min 40 s", "in 1 min 39 s")


def test_tasks_are_listed_with_where_they_wait(undo: Undo) -> None:
    """Name, coroutine and line, Task-9 before Task-10; what runs cells is left out."""

    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await inner()

    async def begin() -> list[str]:
        for name in ("Task-110", "Task-19"):
            undo(asyncio.create_task(outer(), name=name).cancel)
        await asyncio.sleep(0)
        return [task.get_name() for task in tasks(start())]

    assert in_reactor(begin()) == ["Task-19", "Task-110"]
    place = f"test_reactor_tables.py, line {inner.__code__.co_firstlineno + 1}"
    assert rows("Tasks") == [
        ["Task-19", outer.__qualname__, "", place],
        ["Task-110", outer.__qualname__, "", place],
    ]


def test_a_report_is_text_and_html(undo: Undo) -> None:
    """The same rows, escaped in HTML; tables without rows are left out."""
    undo(in_reactor_thread(lambda: start().reactor.callLater(60, lambda: None).cancel))
    report = overview(start(), label)
    assert "<locals>.<lambda>" in repr(report)
    assert "&lt;locals&gt;.&lt;lambda&gt;" in report._repr_html_()
    assert "Tasks" not in repr(report)
