"""What a cell starts prints into that cell, seen in a real kernel."""

from __future__ import annotations

import ipykernel
import pytest
from kernels import Execution, Kernel

# Every kind of work says its name when B has set `flag`; B ends when all have.
SETUP = """
import asyncio, logging, os, socket, sys, threading, time, warnings
from IPython.display import clear_output, display
from twisted.internet import defer, protocol, reactor, task, threads
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

LOCAL = "127.0.0.1"
flag = threading.Event()
expected, said, all_said = set(), set(), threading.Event()

def will(*kinds):
    expected.update(kinds)

def say(kind):
    print(kind)
    said.add(kind)
    if said >= expected:
        all_said.set()

def when_set(call, *args):
    if flag.is_set():
        call(*args)
    else:
        reactor.callLater(0.01, when_set, call, *args)
"""

_CALLS = """
will("callLater", "reset", "delayed", "LoopingCall")
when_set(say, "callLater")
def again(call, kind, reset):
    if flag.is_set():
        reset(call)
    else:
        reactor.callLater(0.01, again, call, kind, reset)
sooner = reactor.callLater(1000, say, "reset")
again(sooner, "reset", lambda call: call.reset(0))
later = reactor.callLater(1000, say, "delayed")
again(later, "delayed", lambda call: call.delay(-1000))
cancelled = reactor.callLater(1000, say, "cancelled")
again(cancelled, "cancelled", lambda call: call.cancel())
loops = 0
def looping():
    if flag.is_set():
        looping_call.stop()
        say("LoopingCall")
looping_call = task.LoopingCall(looping)
looping_call.start(0.01)

will("LoopingCall of a Deferred")
ticked, turns = Deferred(), []
def ticking():
    turns.append(None)
    if len(turns) == 1:
        return ticked
    ticking_call.stop()
    say("LoopingCall of a Deferred")
ticking_call = task.LoopingCall(ticking)
ticking_call.start(0)

will("callWhenRunning")
reactor.callWhenRunning(when_set, say, "callWhenRunning")
"""

_BLOCKING = """
def blocking(kind):
    flag.wait(20)
    say(kind)
"""

_COROUTINES = """
will("coroutine", "inlineCallbacks", "task", "handle", "to_thread", "run_in_executor", "reader")
async def coroutine(kind, pause):
    while not flag.is_set():
        await pause()
    say(kind)
ensureDeferred(coroutine("coroutine", lambda: task.deferLater(reactor, 0.01)))
@inlineCallbacks
def inline():
    while not flag.is_set():
        yield task.deferLater(reactor, 0.01)
    say("inlineCallbacks")
inline()
a_task = asyncio.create_task(coroutine("task", lambda: asyncio.sleep(0.01)))
loop = asyncio.get_running_loop()
def handle():
    if flag.is_set():
        say("handle")
    else:
        loop.call_later(0.01, handle)
handle()
in_thread = asyncio.create_task(asyncio.to_thread(blocking, "to_thread"))
in_executor = loop.run_in_executor(None, blocking, "run_in_executor")
ours, theirs = socket.socketpair()
ours.setblocking(False)
def readable():
    loop.remove_reader(ours)
    say("reader")
loop.add_reader(ours, readable)
when_set(theirs.send, b"x")
"""

_FROM_THREADS = """
will("run_coroutine_threadsafe")
async def from_thread():
    say("run_coroutine_threadsafe")
def runs_coroutine():
    flag.wait(20)
    asyncio.run_coroutine_threadsafe(from_thread(), loop).result(20)
reactor.callInThread(runs_coroutine)
"""

_THREADS = """
will("deferToThread", "its callback", "callInThread", "callFromThread", "its chain")
threads.deferToThread(blocking, "deferToThread").addCallback(lambda _: say("its callback"))
def in_thread_and_back():
    flag.wait(20)
    say("callInThread")
    reactor.callFromThread(say, "callFromThread")
    threads.blockingCallFromThread(reactor, task.deferLater, reactor, 0, say, "its chain")
reactor.callInThread(in_thread_and_back)
"""

_NETWORK = """
will("buildProtocol", "server made", "server data", "server timer", "server lost")
class Server(protocol.Protocol):
    def connectionMade(self):
        say("server made")
    def dataReceived(self, data):
        say("server data")
        self.transport.write(data)
        reactor.callLater(0, say, "server timer")
    def connectionLost(self, reason):
        say("server lost")
class Servers(protocol.Factory):
    def buildProtocol(self, addr):
        say("buildProtocol")
        return Server()
port = reactor.listenTCP(0, Servers(), interface=LOCAL)
number = port.getHost().port

will("client made", "client data", "client lost", "client factory lost")
class Client(protocol.Protocol):
    def connectionMade(self):
        say("client made")
    def dataReceived(self, data):
        say("client data")
        self.transport.loseConnection()
    def connectionLost(self, reason):
        say("client lost")
class Clients(protocol.ClientFactory):
    protocol = Client
    def clientConnectionLost(self, connector, reason):
        say("client factory lost")
plain = socket.create_server((LOCAL, 0))
def serve():
    one, _ = plain.accept()
    flag.wait(20)
    one.send(b"x")
    one.close()
reactor.connectTCP(LOCAL, plain.getsockname()[1], Clients())
server = threading.Thread(target=serve)
server.start()

will("closed by B")
class Closed(protocol.Protocol):
    def connectionMade(self):
        global closed
        closed = self.transport
    def connectionLost(self, reason):
        say("closed by B")
quiet = socket.create_server((LOCAL, 0))
factory = protocol.ClientFactory.forProtocol(Closed)
reactor.connectTCP(LOCAL, quiet.getsockname()[1], factory)
while "closed" not in globals():
    await task.deferLater(reactor, 0)

will("datagram", "UDP stopped")
class Datagrams(protocol.DatagramProtocol):
    def datagramReceived(self, data, addr):
        say("datagram")
        self.transport.stopListening()
    def stopProtocol(self):
        say("UDP stopped")
udp = reactor.listenUDP(0, Datagrams(), interface=LOCAL)

will("process data", "process exited", "process ended")
class Child(protocol.ProcessProtocol):
    def outReceived(self, data):
        say("process data")
    def processExited(self, reason):
        say("process exited")
    def processEnded(self, reason):
        say("process ended")
child = reactor.spawnProcess(Child(), "/bin/cat", ["cat"])
def feed():
    child.write(b"x")
    child.closeStdin()
when_set(feed)

will("child in a terminal ended")
class InTerminal(protocol.ProcessProtocol):
    def processEnded(self, reason):
        say("child in a terminal ended")
typed = reactor.spawnProcess(InTerminal(), "/bin/cat", ["cat"], usePTY=True)
when_set(typed.write, b"\\x04")  # the end of what is typed

will("silent child exited", "silent child ended")
class Silent(protocol.ProcessProtocol):
    def processExited(self, reason):
        say("silent child exited")
    def processEnded(self, reason):
        say("silent child ended")
readable_end, writable_end = os.pipe()
reactor.spawnProcess(Silent(), "/bin/cat", ["cat"], childFDs={0: readable_end})
when_set(os.close, writable_end)
"""

_OUTPUTS = """
from twisted.logger import Logger
will("stderr", "logging", "Twisted's logger", "warning", "display", "cleared")
def to_stderr():
    print("to stderr", file=sys.stderr)
    say("stderr")
when_set(to_stderr)
def to_log():
    logging.getLogger("a").warning("to log")
    say("logging")
when_set(to_log)
def to_twisteds_log():
    Logger("a").warn("to Twisted's log")
    say("Twisted's logger")
when_set(to_twisteds_log)
def warn():
    warnings.warn("a warning")
    say("warning")
when_set(warn)
def show():
    display({"text/plain": "displayed"}, raw=True)
    say("display")
when_set(show)
def clear():
    clear_output(wait=True)
    say("cleared")
when_set(clear)
"""

_PARTS = (_CALLS, _BLOCKING, _COROUTINES, _FROM_THREADS, _THREADS, _NETWORK, _OUTPUTS)
_START = "".join(_PARTS) + "\nawait asyncio.sleep(0)\n"

_FIRE = """
print("B begins")
flag.set()
reactor.callFromThread(ticked.callback, None)
reactor.callFromThread(closed.loseConnection)
with socket.create_connection((LOCAL, number), 10) as one:
    one.sendall(b"x")
    assert one.recv(1) == b"x"
with socket.socket(type=socket.SOCK_DGRAM) as one:
    one.sendto(b"x", (LOCAL, udp.getHost().port))
assert all_said.wait(20), expected - said
"""


def shown(execution: Execution, kind: str) -> list[str]:
    """The plain texts of its messages of one kind."""
    return [
        message["content"].get("data", {}).get("text/plain", "")
        for message in execution.messages(kind)
    ]


def test_what_a_cell_starts_prints_into_it(kernel: Kernel) -> None:
    """Every kind of work that a cell starts prints into that cell, while another one runs."""
    first = kernel.ok(_START)
    second = kernel.ok(_FIRE)
    kernel.ok("print('C')")
    kinds = kernel.ok("print(*sorted(expected), sep='\\n')").printed().splitlines()
    assert second.printed() == "B begins\n"
    assert sorted(first.printed().splitlines()) == kinds
    assert "to stderr\n" in first.printed("stderr")
    assert "to log\n" in first.printed("stderr")
    assert "to Twisted's log\n" in first.printed("stderr")
    assert "UserWarning: a warning\n" in first.printed("stderr")
    assert shown(first, "display_data") == ["displayed"]
    assert len(shown(first, "clear_output")) == 1


def test_jobs_print_into_their_cell(kernel: Kernel) -> None:
    """A job in the reactor thread, and one in the pool, print into the cells that began them."""
    kernel.ok("begin, ended = threading.Event(), [threading.Event(), threading.Event()]")
    first = kernel.ok("""%%run_in_reactor
while not begin.is_set():
    await task.deferLater(reactor, 0.01)
print("job")
ended[0].set()
""")
    second = kernel.ok("""%%run_in_reactor --thread
begin.wait(20)
print("job in a thread")
ended[1].set()
""")
    third = kernel.ok("begin.set()\nassert all(event.wait(20) for event in ended)")
    assert (first.wait_for("job").printed(), third.printed()) == ("job\n", "")
    assert second.wait_for("job").printed() == "job in a thread\n"


def test_an_ended_connection_is_forgotten(kernel: Kernel) -> None:
    """The context that a connection is served in does not keep it, whatever the context holds."""
    kernel.ok("""
import contextvars, gc, weakref
held = contextvars.ContextVar("held")
class Known(protocol.Protocol):
    def connectionMade(self):
        held.get().append(self)
        self.transport.loseConnection()
    def connectionLost(self, reason):
        lost.callback(weakref.ref(self.transport))
lost = Deferred()
factory = protocol.Factory.forProtocol(Known)
async def connects(server):
    held.set([])  # in the context of a task: what a cell itself sets stays
    # Not by `connectTCP`: asyncio keeps the context of its time limit, 30 s, although cancelled.
    with socket.create_connection(server.getsockname()) as one:
        reactor.adoptStreamConnection(one.fileno(), socket.AF_INET, factory)
    return await lost
with socket.create_server((LOCAL, 0)) as server:
    known = await asyncio.create_task(connects(server))
del lost
""")
    kernel.ok("await task.deferLater(reactor, 0); gc.collect()")
    assert kernel.value("known() is None") == "True"


# ---- limits


def test_a_bare_callback_prints_where_its_deferred_is_fired(kernel: Kernel) -> None:
    """A callback added with `addCallback` prints into the cell that fires its Deferred."""
    first = kernel.ok("fired = Deferred(); fired.addCallback(lambda _: print('called')); None")
    second = kernel.ok("reactor.callFromThread(fired.callback, None)\nawait fired")
    assert (first.printed(), second.printed()) == ("", "called\n")


def test_a_pooled_connection_prints_where_it_was_opened(kernel: Kernel) -> None:
    """What a connection fires prints into the cell that opened it, whoever wrote to it."""
    first = kernel.ok("""
class Asked(protocol.Protocol):
    def __init__(self):
        self.answers = []
    def ask(self):
        self.transport.write(b"x")
        self.answers.append(Deferred())
        return self.answers[-1]
    def dataReceived(self, data):
        self.answers.pop(0).callback(data)
from twisted.internet.endpoints import connectProtocol, TCP4ClientEndpoint
from twisted.protocols.wire import Echo
echo = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface=LOCAL)
endpoint = TCP4ClientEndpoint(reactor, LOCAL, echo.getHost().port)
pooled = await connectProtocol(endpoint, Asked())
""")
    second = kernel.ok("""
pooled.transport.pauseProducing()
pooled.transport.resumeProducing()
await pooled.ask().addCallback(lambda data: print("a bare callback"))
async def asks():
    await pooled.ask()
    print("a coroutine")
await defer.ensureDeferred(asks())
""")
    kernel.ok("await defer.maybeDeferred(echo.stopListening)")
    assert (first.printed(), second.printed()) == ("a bare callback\n", "a coroutine\n")


# ---- what stays as it is


def test_two_cells_get_their_own_lines(kernel: Kernel) -> None:
    """Two cells whose work interleaves get their own lines, all of them and in order."""
    kernel.ok("""
from itertools import count
turns, both = count(), Deferred()
def lines(name, number):
    print(name, number)
    if number < 49:
        reactor.callLater(0, lines, name, number + 1)
    elif next(turns):
        both.callback(None)
""")
    first = kernel.ok("lines('first', 0)")
    second = kernel.ok("lines('second', 0)\nawait both")
    for execution, name in ((first, "first"), (second, "second")):
        execution.wait_for(f"{name} 49")
        assert execution.printed().splitlines() == [f"{name} {number}" for number in range(50)]


def test_captured_output_is_captured(kernel: Kernel) -> None:
    """`%%capture` and `redirect_stdout` take what is printed meanwhile, as without us."""
    code = "%%capture taken\nprint('a')\nawait asyncio.sleep(0)\nprint('b')"
    assert kernel.ok(code).printed() == ""
    assert kernel.value("taken.stdout") == repr("a\nb\n")
    redirected = kernel.ok("""
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as text:
    print("c")
    await asyncio.sleep(0)
text.getvalue()
""")
    assert (redirected.printed(), redirected.value) == ("", repr("c\n"))


@pytest.mark.parametrize("arguments", [(), ("--IPKernelApp.extensions=twisted_ipython",)])
def test_what_has_no_cell_is_not_lost(arguments: tuple[str, ...]) -> None:
    """What a thread of nobody's has the reactor do prints into the cell that runs then."""
    with Kernel(*arguments, load=not arguments) as kernel:
        kernel.ok("""
import _thread, threading
from IPython.display import display
from twisted.internet import reactor
go, gone = threading.Event(), threading.Event()
def stray():
    print("stray")
    try: display({"text/plain": "displayed"}, raw=True)
    finally: gone.set()
def nobodys():
    go.wait(20)
    reactor.callFromThread(stray)
_thread.start_new_thread(nobodys, ());
""")
        running = kernel.run("go.set()\nassert gone.wait(20)")
        if ipykernel.version_info[:3] != (7, 0, 0):  # which displays for a cell only
            assert shown(running, "display_data") == ["displayed"]
        # Up to ipykernel 7.0.0 a thread of nobody's prints where the extension was loaded: in a
        # cell, or in none.
        in_running = ipykernel.version_info[:3] > (7, 0, 0)
        said = [running] if in_running else kernel.executions
        if in_running or not arguments:
            kernel.pump(lambda: "stray\n" in [one.printed() for one in said])


def test_a_reactor_without_a_loop() -> None:
    """With a reactor that runs on no asyncio loop, timers, threads and servers keep their cell."""
    with Kernel(load=False) as kernel:
        kernel.ok("from twisted.internet import epollreactor; epollreactor.install()")
        kernel.run("%load_ext twisted_ipython\n%autoawait twisted")
        kernel.ok(SETUP)
        first = kernel.ok("await defer.succeed(0)\n" + _CALLS + _BLOCKING + _THREADS + _NETWORK)
        second = kernel.ok(_FIRE)
        kinds = kernel.ok("print(*sorted(expected), sep='\\n')").printed().splitlines()
    assert second.printed() == "B begins\n"
    assert sorted(first.printed().splitlines()) == kinds


def test_an_output_widget_redirects_nothing(kernel: Kernel) -> None:
    """`with Output():` in the reactor thread leaves later work and other threads their cells."""
    first = kernel.ok("""
import ipywidgets
widget = ipywidgets.Output()
enter, entered = threading.Event(), threading.Event()
def enters():
    if not enter.is_set():
        reactor.callLater(0.01, enters)
        return
    with widget:
        pass
    print("entered")
    entered.set()
enters()
""")
    second = kernel.ok("""
enter.set()
assert entered.wait(20)
thread = threading.Thread(target=print, args=["thread"])
thread.start()
thread.join()
""")
    assert (first.printed(), second.printed()) == ("entered\n", "thread\n")
