"""Ctrl-C while a plain cell has the reactor: `_base.borrowed_sigint`, in a real kernel."""

from __future__ import annotations

import random
from time import monotonic, sleep

import pytest
from kernels import Kernel

SETUP = """
import asyncio, gc, signal, sys, threading, time
from twisted.internet import defer, protocol, reactor, task

class Echo(protocol.Protocol):
    def dataReceived(self, data): self.transport.write(data)

class Hears(protocol.Protocol):
    heard = b''
    def dataReceived(self, data): self.heard += data

def spin():
    print('began')
    while True: pass

@defer.inlineCallbacks
def steps():
    yield defer.succeed(1)
    spin()

async def coroutine(): spin()

class Ends:
    def __del__(self):
        print('began')
        time.sleep(0.5)

class Spins(protocol.Factory):
    def doStart(self): spin()

port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface='127.0.0.1')
number = port.getHost().port
made = protocol.ClientCreator(reactor, Hears).connectTCP('127.0.0.1', number)
"""
# Within so many seconds a cell must have ended.
BOUND = 2.0

LOOP = """
print('began')
while True:
    call = reactor.callLater(60, int)
    call.reset(50)
    reactor.callLater(0, int)
    call.cancel()
    one.transport.write(b'x')
    other = reactor.listenTCP(0, protocol.Factory(), interface='127.0.0.1')
    other.stopListening()
    loop = task.LoopingCall(int)
    loop.start(0.001); loop.stop()
    reactor._asyncioEventloop.call_soon(int)
"""
WORKS = """
before = len(one.heard)
one.transport.write(b'after')
await asyncio.gather(asyncio.sleep(0.01), task.deferLater(reactor, 0.01, int))
while not one.heard.endswith(b'after'): await task.deferLater(reactor, 0.01, int)
reactor.callLater(0, int) in reactor.getDelayedCalls()
"""
HANDLER = "signal.getsignal(signal.SIGINT).__name__"


def ends(kernel: Kernel, code: str, *, after: float = 0.0) -> None:
    """Interrupt a cell once it has printed that it began; it ends."""
    cell = kernel.submit(code, stop_on_error=False).wait_for("began")
    sleep(after)  # the moment is what is varied
    begun = monotonic()
    kernel.interrupt()
    cell.wait(BOUND)
    assert monotonic() - begun < BOUND
    assert cell.error == "KeyboardInterrupt", (cell.traceback, cell.printed("stderr"))
    assert "never" not in cell.printed()


@pytest.mark.parametrize("part", range(4))
def test_at_random(part: int) -> None:
    """At random moments of a loop of calls, 100 times in all: everything works afterwards."""
    chance = random.Random(part)
    with Kernel() as kernel:
        kernel.ok(SETUP)
        kernel.ok("one = await made")
        for _ in range(25):
            ends(kernel, LOOP, after=chance.random() * 0.05)
            assert kernel.value(WORKS) == "True"
            assert kernel.value(HANDLER) == "'default_int_handler'"


@pytest.mark.parametrize(
    "code",
    [
        "reactor.listenTCP(0, Spins(), interface='127.0.0.1')",
        "d = defer.maybeDeferred(spin)",
        "d = defer.maybeDeferred(spin); time.sleep(60)",
        "task.LoopingCall(spin).start(1); time.sleep(60)",
        "d = defer.Deferred(); d.addCallback(lambda _: spin()); d.callback(None); time.sleep(60)",
        "steps(); time.sleep(60)",
        "defer.ensureDeferred(coroutine()); time.sleep(60)",
        "Ends(); time.sleep(60)",
    ],
    ids=["doStart", "maybe", "then-sleep", "loop", "callback", "inline", "coroutine", "del"],
)
def test_swallowed(kernel: Kernel, code: str) -> None:
    """The user's code in a borrowed method is broken at once; who swallows that does not go on."""
    ends(kernel, f"reactor.callLater(60, int)\n{code}\nprint('never')")
    assert kernel.value("reactor.callLater(0, int) in reactor.getDelayedCalls()") == "True"


def test_own_except(kernel: Kernel) -> None:
    """A cell that handles its Ctrl-C itself is interrupted once."""
    cell = kernel.submit(
        "reactor.callLater(60, int)\ntry:\n    spin()\n"
        "except KeyboardInterrupt:\n    time.sleep(0.3)\n    print('handled')\n'value'"
    ).wait_for("began")
    kernel.interrupt()
    cell.wait(BOUND)
    assert (cell.error, cell.value) == (None, "'value'")
    assert cell.printed() == "began\nhandled\n"


SLOW = """
import re
def slow(patience=re.compile(r'(x+x+)+y')):
    print('began')
    patience.match('x' * 60)
# As a library's code, which has no frame of the user's above.
exec(compile(
    "def doStart(self):\\n    print('began')\\n    while True: pass", re.__file__, 'exec'),
    names := {'__name__': 'twisted.slow'})
Slow = type('Slow', (protocol.Factory,), {'doStart': names['doStart']})
"""


def test_second(kernel: Kernel) -> None:
    """A method that hangs is left alone by the first Ctrl-C; the second says what it broke off."""
    kernel.ok(SLOW)
    cell = kernel.submit(
        "reactor.listenTCP(0, Slow(), interface='127.0.0.1')", stop_on_error=False
    ).wait_for("began")
    kernel.interrupt()
    sleep(0.3)  # nothing is to happen
    assert cell.reply is None
    kernel.interrupt()
    cell.wait(BOUND)
    assert cell.error == "KeyboardInterrupt"
    assert "listenTCP() was broken off by a second Ctrl-C" in cell.traceback
    assert kernel.value("reactor.callLater(0, int) in reactor.getDelayedCalls()") == "True"


def test_users_handler(kernel: Kernel) -> None:
    """A handler of SIGINT that the user has set is left alone, before and after a call."""
    kernel.ok("def mine(*_): print('mine')")
    for code in (
        "before = signal.signal(signal.SIGINT, mine)\nreactor.callLater(60, int)\n",
        "reactor.callLater(60, int)\nbefore = signal.signal(signal.SIGINT, mine)\n",
    ):
        code += (
            "signal.raise_signal(signal.SIGINT)\nkept = signal.getsignal(signal.SIGINT) is mine\n"
            "reactor.callLater(60, int)\nkept, signal.getsignal(signal.SIGINT) is mine"
        )
        cell = kernel.ok(code)
        assert (cell.printed(), cell.value) == ("mine\n", "(True, True)")
        # ipykernel gives each cell Python's own.
        assert kernel.value(HANDLER) == "'default_int_handler'"


def test_in_main_thread(kernel: Kernel) -> None:
    """Ctrl-C in a loop of calls that an awaiting cell has sent here breaks none of them."""
    kernel.ok(
        "from twisted_ipython import in_main_thread\n"
        "def calls():\n    print('began')\n"
        "    while True: reactor.callLater(60, int).cancel()"
    )
    for number in range(10):
        ends(kernel, "await in_main_thread(calls)", after=number * 0.005)
        assert kernel.value("reactor.callLater(0, int) in reactor.getDelayedCalls()") == "True"
        kernel.ok("await task.deferLater(reactor, 0.001, int)")
