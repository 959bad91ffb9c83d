"""The reactor's methods, called in a plain cell: `_plain.reactor_methods`, in this process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import pytest
from reactor_thread import logged
from session import SECONDS, Session, eventually, in_reactor_thread
from shells import run_python
from twisted.internet import interfaces, protocol
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.error import AlreadyCancelled, CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.tcp import Port
from twisted.internet.threads import deferToThread
from twisted.python import threadable
from zope.interface import implementer, providedBy
from zope.interface.interface import Method

from twisted_ipython._reactor.interrupt import STOPPED

HOST = "127.0.0.1"


# Its extension is loaded, so that all calls of this thread are carried.
pytestmark = pytest.mark.usefixtures("session")


class Seen(list[Any]):
    """What was called, and whether all of it in the reactor thread."""

    def __call__(self, *args: Any) -> None:
        """Note the arguments."""
        assert threadable.isInIOThread()
        self.append(args)

    def wait(self, number: int = 1) -> None:
        """Wait until there were so many calls."""
        eventually(lambda: len(self) >= number)


class Echo(Protocol):
    """Sends back what it gets, in the reactor thread."""

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        assert threadable.isInIOThread()
        assert self.transport is not None
        self.transport.write(data)


class Hears(Protocol):
    """Notes what it gets."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = threading.Event()

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        self.heard += data

    def connectionLost(self, _: Any = None) -> None:
        """See `IProtocol`."""
        self.lost.set()


class Client(protocol.ClientFactory):
    """Makes one protocol."""

    def __init__(self) -> None:
        self.made = Hears()

    def buildProtocol(self, _: Any) -> Hears:
        """See `IProtocolFactory`."""
        return self.made


def value_of(deferred: Deferred[Any]) -> Any:
    """What a Deferred fires with, whichever thread fires it."""
    values: list[Any] = []
    in_reactor_thread(lambda: deferred.addBoth(values.append) and None)
    eventually(lambda: values)
    return values[0]


@contextmanager
def echoing(reactor: Any) -> Iterator[int]:
    """A server that sends everything back; gives its port's number."""
    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface=HOST)
    try:
        yield port.getHost().port
    finally:
        value_of(port.stopListening())


# ---- the reactor


def test_all_methods(reactor: Any) -> None:
    """All that the reactor's interfaces declare is carried, save what is safe or a script's."""
    declared = {
        name
        for interface in providedBy(reactor).flattened()
        for name, what in interface.namesAndDescriptions()
        if isinstance(what, Method)
    }
    owned = {"run", "stop", "crash", "callWhenRunning"}
    owned |= {"addSystemEventTrigger", "removeSystemEventTrigger"}
    safe = {"callFromThread", "callInThread", "getThreadPool", "seconds"}
    assert declared - owned - safe <= set(vars(reactor))
    assert not vars(reactor).keys() & {"callInThread", "getThreadPool"}
    assert type(reactor) is AsyncioSelectorReactor
    assert reactor.listenTCP.__doc__ == AsyncioSelectorReactor.listenTCP.__doc__
    assert interfaces.IReactorTCP.providedBy(reactor)


def test_unload(reactor: Any, session: Session) -> None:
    """Unloading takes everything off the reactor, its resolver, and what was given back."""
    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface=HOST)
    call = reactor.callLater(60, int)
    assert type(port) is not Port
    assert "resolveHostName" in vars(reactor.nameResolver)
    session.ok("%unload_ext twisted_ipython")
    assert "listenTCP" not in vars(reactor)
    assert type(port) is Port
    assert "resolveHostName" not in vars(reactor.nameResolver)
    in_reactor_thread(port.stopListening)
    in_reactor_thread(call.cancel)


def test_switch(reactor: Any, session: Session) -> None:
    """`share_reactor` switches carrying off and on at once."""
    threads: list[threading.Thread] = []
    for value, thread in (("False", threading.main_thread()), ("True", None)):
        assert session.shown(f"%twisted_config share_reactor {value}") == f"share_reactor={value}\n"
        loop = LoopingCall(lambda: threads.append(threading.current_thread()))
        loop.start(60)
        in_reactor_thread(loop.stop)
        assert (threads.pop() is thread) == (thread is not None)


# ---- time


def test_call_later(reactor: Any) -> None:
    """A timer is asked for, listed, put off and cancelled in any thread, and runs in its own."""
    seen = Seen()
    call = reactor.callLater(0, seen, 1)
    assert interfaces.IDelayedCall.providedBy(call)
    seen.wait()
    cancelled, late = (reactor.callLater(60, seen, number) for number in (2, 3))
    assert {cancelled, late} <= set(reactor.getDelayedCalls())
    cancelled.cancel()
    with pytest.raises(AlreadyCancelled):
        cancelled.cancel()
    late.delay(1)
    late.reset(0)
    seen.wait(2)
    assert seen == [(1,), (3,)]
    assert not late.active()
    assert value_of(deferLater(reactor, 0, threadable.isInIOThread)) is True


def test_timers_of_the_reactor_thread(reactor: Any) -> None:
    """A timer that code in the reactor thread asked for can be cancelled in any thread."""
    call = in_reactor_thread(lambda: reactor.callLater(60, int))
    call.cancel()
    assert call not in reactor.getDelayedCalls()


def test_looping_call(reactor: Any, session: Session) -> None:
    """`start` makes the first call in the reactor thread, before it returns, and goes on there."""
    seen = Seen()
    loop = LoopingCall(seen, "tick")
    ended = loop.start(0.001)
    assert seen[0] == ("tick",)
    assert str(type(loop)) == str(LoopingCall)
    seen.wait(3)
    loop.stop()
    assert value_of(ended) is loop
    session.ok("%unload_ext twisted_ipython")
    assert type(loop) is LoopingCall


def test_looping_calls_of_all_kinds() -> None:
    """Those that count, begin later, fail, wait for a Deferred or are the user's own class."""
    counts, delayed, own = Seen(), Seen(), Seen()
    gate: Deferred[None] = Deferred()

    class Own(LoopingCall):
        def __call__(self) -> None:
            own(self)
            super().__call__()

    def fails() -> None:
        raise ZeroDivisionError

    loops = [LoopingCall.withCount(counts), LoopingCall(delayed), Own(lambda: gate)]
    kinds = ((60, True), (0.001, False), (0.001, True))
    ends = [loop.start(*kind) for loop, kind in zip(loops, kinds, strict=True)]
    assert counts[0] == (1,)
    delayed.wait(2)
    assert own == [(loops[2],)]
    in_reactor_thread(lambda: gate.callback(None))
    own.wait(2)
    for loop, end in zip(loops, ends, strict=True):
        in_reactor_thread(loop.stop)
        assert value_of(end) is loop
    assert [*map(str, map(type, loops))] == [*map(str, (LoopingCall, LoopingCall, Own))]
    assert value_of(LoopingCall(fails).start(1)).type is ZeroDivisionError


def test_quick_looping_calls() -> None:
    """A LoopingCall that runs at each turn is in one piece when `start` returns."""
    for now in [True, False] * 25:
        seen = Seen()
        loop = LoopingCall(seen)
        ended = loop.start(0, now=now)
        seen.wait(3)
        loop.reset()
        loop.stop()
        assert value_of(ended) is loop


# ---- the network


def test_tcp(reactor: Any) -> None:
    """A server answers; a connection is made, written to and closed, all from another thread."""
    with echoing(reactor) as number, socket.create_connection((HOST, number), SECONDS) as plain:
        plain.sendall(b"plain")
        assert plain.recv(100) == b"plain"
        factory = Client()
        connector = reactor.connectTCP(HOST, number, factory)
        hears = factory.made
        eventually(lambda: hears.connected)
        hears.transport.write(b"written ")
        hears.transport.writeSequence([b"in ", b"pieces"])
        eventually(lambda: hears.heard == b"written in pieces")
        connector.disconnect()
        assert hears.lost.wait(SECONDS)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, number), SECONDS)


def test_error(reactor: Any, session: Session) -> None:
    """What the call raises has the caller's line, the library's, and none of ours."""
    session.names["reactor"] = reactor
    with echoing(reactor) as number:
        ran = session.run(f"reactor.listenTCP({number}, None, interface='{HOST}')")
        assert isinstance(ran.error, CannotListenError)
        assert f"----> 1 reactor.listenTCP({number}" in ran.out
        assert "startListening" in ran.out
        assert "twisted_ipython" not in ran.out


def test_endpoints(reactor: Any) -> None:
    """Endpoints listen and connect, by name too; what the same statement adds is called back."""
    server = serverFromString(reactor, f"tcp:0:interface={HOST}")
    port = value_of(server.listen(Factory.forProtocol(Echo)))
    number = port.getHost().port
    for end in (
        clientFromString(reactor, f"tcp:{HOST}:{number}"),
        clientFromString(reactor, f"tcp:localhost:{number}"),
        HostnameEndpoint(reactor, "localhost", number),
    ):
        hears = value_of(end.connect(Client()))
        hears.transport.loseConnection()
        assert hears.lost.wait(SECONDS)
    made = [Client() for _ in range(50)]
    for client in made:
        end.connect(client).addCallback(lambda one: one.transport.abortConnection())
    assert all(client.made.lost.wait(SECONDS) for client in made)
    value_of(port.stopListening())
    assert value_of(end.connect(Client())).type.__name__ == "ConnectionRefusedError"


def test_answer_comes_after_its_question(reactor: Any) -> None:
    """A resolver answers when the function that asked has said what follows from it."""
    events: list[str] = []

    @implementer(interfaces.IResolutionReceiver)
    class Receiver:
        def resolutionBegan(self, _: Any) -> None:
            assert threadable.isInIOThread()

        def addressResolved(self, address: Any) -> None:
            assert address.host == HOST

        def resolutionComplete(self) -> None:
            assert threadable.isInIOThread()
            events.append("complete")

    def asks() -> None:
        reactor.nameResolver.resolveHostName(Receiver(), HOST)
        sleep(0.002)  # other threads run, the reactor's too if it may
        events.append("returns")

    for number in range(1, 101):
        asks()
        eventually(lambda: len(events) == 2 * number)  # noqa: B023  # it is called here
    assert events == ["returns", "complete"] * 100


def test_unix_udp_and_files(reactor: Any) -> None:
    """UNIX sockets, datagrams, sockets made elsewhere and file descriptors."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "s"))
        port = reactor.listenUNIX(path, Factory.forProtocol(Echo))
        factory = Client()
        reactor.connectUNIX(path, factory)
        eventually(lambda: factory.made.connected)
        factory.made.transport.write(b"unix")
        eventually(lambda: factory.made.heard == b"unix")
        factory.made.transport.loseConnection()
        assert factory.made.lost.wait(SECONDS)
        value_of(port.stopListening())
    received = Seen()
    datagrams = DatagramProtocol()
    datagrams.datagramReceived = received  # type: ignore[assignment]
    udp = reactor.listenUDP(0, datagrams, interface=HOST)
    udp.write(b"datagram", (HOST, udp.getHost().port))
    received.wait()
    value_of(udp.stopListening())


def test_adopted_sockets_and_readers(reactor: Any) -> None:
    """Sockets that were made elsewhere are adopted, and file descriptors watched."""
    with socket.socket() as made:
        made.bind((HOST, 0))
        made.listen()
        made.setblocking(False)
        number = made.getsockname()[1]
        port = reactor.adoptStreamPort(made.fileno(), socket.AF_INET, Factory.forProtocol(Echo))
    with socket.create_connection((HOST, number), SECONDS) as plain:
        plain.sendall(b"adopted")
        assert plain.recv(100) == b"adopted"
    value_of(port.stopListening())
    one, other = socket.socketpair()
    with one, other:
        seen = Seen()
        reader = Reader(one, seen)
        reactor.addReader(reader)
        assert reader in reactor.getReaders()
        other.send(b"x")
        seen.wait()
        reactor.removeReader(reader)
        assert reader not in reactor.getReaders()
        reactor.addWriter(reader)
        assert reader in reactor.getWriters()
        seen.wait(2)
        reactor.removeWriter(reader)
        assert reader not in reactor.getWriters()
        slotted = Slotted(one)
        reactor.addReader(slotted)
        reactor.removeReader(slotted)


@implementer(interfaces.ITransport)
class Slotted:
    """One that takes no attributes."""

    __slots__ = ("fileno",)

    def __init__(self, one: socket.socket) -> None:
        self.fileno = one.fileno

    def loseConnection(self) -> None:
        """See `ITransport`."""


class Reader:
    """A socket that the reactor watches."""

    def __init__(self, one: socket.socket, seen: Seen) -> None:
        self._one = one
        self.doRead = lambda: seen(one.recv(10))
        self.doWrite = seen

    def fileno(self) -> int:
        """What the reactor asks for while it changes what it watches."""
        assert threadable.isInIOThread(), "it is changed beside the reactor thread"
        return self._one.fileno()

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "reader"


def test_processes_and_names(reactor: Any) -> None:
    """A process is started, written to and ended; a name is resolved to a Deferred."""
    seen = Seen()
    ended = threading.Event()
    child = protocol.ProcessProtocol()
    child.outReceived = seen  # type: ignore[method-assign]
    child.processEnded = lambda _: ended.set()  # type: ignore[method-assign, assignment]
    process = reactor.spawnProcess(child, "/bin/cat", ["cat"], env=dict(os.environ))
    process.write(b"to a child")
    seen.wait()
    process.signalProcess("TERM")
    assert ended.wait(SECONDS)
    resolved = reactor.resolve("localhost")
    assert isinstance(resolved, Deferred)
    assert value_of(resolved) == HOST
    before = reactor.installNameResolver(reactor.nameResolver)
    assert before is reactor.nameResolver


# ---- threads


def test_pool_and_other_threads(reactor: Any) -> None:
    """Any thread's calls are carried, many at once too."""
    seen = Seen()

    def asks(number: int) -> bool:
        reactor.callLater(0, seen, number)
        return threadable.isInIOThread()

    assert value_of(deferToThread(asks, 0)) is False
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(asks, range(1, 401)))
    seen.wait(401)
    assert sorted(seen) == [(number,) for number in range(401)]


def test_waits_for_this_thread(session: Session) -> None:
    """Code in the reactor thread may wait for a thread that waits for a call of its own."""
    session.ok("from twisted_ipython import in_main_thread")
    session.ok("from twisted.internet.threads import deferToThread\n%autoawait twisted")
    code = "await in_main_thread(lambda: reactor.callLater(0, int)) is None"
    assert session.ok(code) is False
    session.ok("async def nested(): return await in_main_thread(lambda: 5)")
    session.ok(
        "def both(): loop = LoopingCall(lambda: defer.ensureDeferred(nested()));"
        " loop.start(60); return loop"
    )
    assert session.ok("(await in_main_thread(both)).running") is True
    assert session.ok("(await deferToThread(both)).running") is True


def test_nothing_is_logged(reactor: Any) -> None:
    """None of it leaves a failure that nobody handles."""
    with logged() as errors:
        test_call_later(reactor)
        test_tcp(reactor)
    assert errors == []


# ---- the end

STOPPING = """
import sys, threading, time
from twisted_ipython._reactor.lifecycle import start
from twisted_ipython._plain import sharing
thread = start()
sharing.attach(thread)
reactor = thread.reactor
from twisted.internet.protocol import Factory
errors = []
def asks():
    try:
        while True:
            reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()
            time.sleep(0.001)
    except RuntimeError as error:
        errors.append(str(error))
threads = [threading.Thread(target=asks) for _ in range(4)]
for each in threads: each.start()
for _ in range(4): reactor.callInThread(asks)
time.sleep(0.1)
"""
STOPS = """
reactor.callFromThread(type(reactor).stop, reactor)  # a script's own would be ignored
for each in threads: each.join(5)
try: reactor.callLater(0, int)
except RuntimeError as error: print(len(errors) >= 4, error)
"""
BUSY = "reactor.callFromThread(time.sleep, 60)\n"
FORKS = """
if os.fork() == 0:
    try: reactor.callLater(0, int)
    except RuntimeError as error: print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_stopped() -> None:
    """Calls that wait when the reactor stops raise, in all threads, as do all later ones."""
    run = run_python("-c", STOPPING + STOPS, seconds=20)
    assert run.stdout == f"True {STOPPED}\n", run.stderr


@pytest.mark.parametrize("busy", ["", BUSY])
def test_end_of_process(busy: str) -> None:
    """Threads that are no daemons and make such calls do not hold the process."""
    run = run_python("-c", STOPPING + busy, seconds=10)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr


def test_fork() -> None:
    """A fork is told that it has no reactor thread."""
    run = run_python("-c", "import os\n" + STOPPING.partition("errors")[0] + FORKS, seconds=20)
    assert "a fork has no reactor thread" in run.stdout, run.stderr
