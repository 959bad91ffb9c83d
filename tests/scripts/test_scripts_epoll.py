"""Scripts on reactors without an asyncio loop, several at once, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Execution, Kernel
from script_cells import cancel, kernel_of_scripts, script

from twisted_ipython._scripts.registry import SEVERAL_WAIT


@pytest.fixture(scope="module", params=["epoll", "select"])
def shared(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel whose reactor was installed before the extension was loaded."""
    with kernel_of_scripts(reactor=request.param) as one:
        yield one


SCRIPT = """
import sys
from twisted.internet import protocol, reactor, task, threads

class Answers(protocol.Protocol):
    def dataReceived(self, data):
        print("NAME is asked")
        self.transport.write(data)

class Asks(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"?")
    def dataReceived(self, data):
        print("NAME is answered")
        reactor.spawnProcess(Child(), sys.executable, [sys.executable, "-V"])

class Child(protocol.ProcessProtocol):
    def processEnded(self, reason):
        print("NAME has no child")
        threads.deferToThread(go["NAME"].wait, 20).addCallback(lambda _: reactor.stop())

reactor.callWhenRunning(print, "NAME runs")
reactor.addSystemEventTrigger("before", "shutdown", print, "NAME shuts down")
port = reactor.listenTCP(0, protocol.Factory.forProtocol(Answers), interface="127.0.0.1")
number = port.getHost().port
reactor.connectTCP("127.0.0.1", number, protocol.ClientFactory.forProtocol(Asks))
task.LoopingCall(ticks["NAME"].append, 1).start(0.001)
# Too late for this script, and none of the others' business.
reactor.callLater(60, reactor.stop)
reactor.run()
print("NAME is over")
"NAME"
"""
BEGUN = "{0} runs\n{0} is asked\n{0} is answered\n{0} has no child\n"
OVER = "{0} shuts down\n{0} is over\n"
# How many timers would stop a script.
STOPS = "sum('stop' in repr(call.func) for call in reactor.getDelayedCalls())"
NAMES = ("one", "two", "three")


def begin(kernel: Kernel) -> dict[str, Execution]:
    """Begin the scripts, each with a server, a client and a child; give their cells."""
    kernel.ok(f"go = {{name: threading.Event() for name in {NAMES}}}")
    kernel.ok(f"ticks = {{name: [] for name in {NAMES}}}")
    cells = {name: kernel.ok(script(SCRIPT.replace("NAME", name), name)) for name in NAMES}
    for cell in cells.values():
        cell.wait_for("no child")
    return cells


def test_several_at_once(kernel: Kernel) -> None:
    """Each prints into its cell and ends by its own stop; cancelling one leaves the others."""
    cells = begin(kernel)
    jobs = kernel.value("', '.join(str(name.job) for name in (one, two, three))")
    said = kernel.ok("reactor.stop()").printed()
    assert said == SEVERAL_WAIT.format(scripts=str(jobs).strip("'")) + "\n"
    kernel.ok("go['two'].set()")
    assert kernel.value("await two, one.state, three.state") == "('two', 'pending', 'pending')"
    cancel(kernel, "three")
    assert kernel.value("one.state") == "'pending'"
    # What the others have left, their timers too, is gone with them.
    kernel.ok("ticked = len(ticks['two'] + ticks['three'])")
    kernel.ok("await deferLater(reactor, 0.02)")
    assert kernel.value("len(ticks['two'] + ticks['three']) - ticked") == "0"
    assert kernel.value(STOPS) == "1"
    kernel.ok("go['one'].set()")
    assert kernel.value("await one") == "'one'"
    assert kernel.value(STOPS) == "0"
    for name, cell in cells.items():
        cell.wait_for("is over")
        assert cell.printed() == (BEGUN + OVER).format(name)


REACT = """
import treq
from twisted.internet import task

async def main(reactor):
    for number in range(8):
        response = await treq.get(f"{site}/NAME{number}")
        print((await response.text())[9:-5], end=" ")
        await task.deferLater(reactor, 0.001)

task.react(main)
"""


def test_react_at_once(shared: Kernel) -> None:
    """Two that share the connections of treq's pool fetch each its own pages, and end."""
    for _ in range(2):
        cells = {name: shared.submit(script(REACT.replace("NAME", name), name)) for name in "ab"}
        assert shared.value("await a, await b") == "(0, 0)"
        for name, cell in cells.items():
            assert cell.printed() == "".join(f"/{name}{number} " for number in range(8))
