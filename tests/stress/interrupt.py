"""
Stress of Ctrl-C: throws into the reactor thread, and interrupts of cells in a real kernel.

    python tests/stress/run.py throws interrupts --seed 1

Prints the figures; ends with status 1 if the reactor or the kernel did not work
afterwards.  `test_interrupt` runs a short form.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

CHECKOUT = Path(__file__).parents[2]
# Each interrupt must end its cell within so many seconds.
BOUND = 2.0
# Seconds after which a run of throws that land nowhere has failed.
PATIENCE = 300.0


# ---- throws


class Load:
    """
    Short callbacks, timers and tasks with Deferreds, as user's code in the reactor thread.

    Args:
        thread: the reactor thread.
        seed: for how long each callback takes.
    """

    def __init__(self, thread: Any, seed: int) -> None:
        self.callbacks = 0
        self._thread = thread
        self._random = random.Random(seed)

    def add(self) -> None:
        """Ask for one of each; from another thread, as what is broken must not end the load."""
        self._thread.call(self._work)
        self._thread.call(self._timer)
        self._thread.call(self._task)

    def _timer(self) -> None:
        self._thread.reactor.callLater(self._random.random() / 1000, self._work)

    def _task(self) -> None:
        asyncio.create_task(self._awaits())  # noqa: RUF006  # it is short

    def _work(self) -> None:
        from twisted.internet.defer import Deferred

        for number in range(self._random.randint(1, 6000)):
            if number % 50 == 0:
                deferred: Deferred[int] = Deferred()
                deferred.addCallback(lambda value: value + 1)
                deferred.callback(number)
        self.callbacks += 1

    async def _awaits(self) -> None:
        from twisted.internet.task import deferLater

        await asyncio.sleep(0)
        await deferLater(self._thread.reactor, 0, self._work)
        self._work()


def throws(number: int, seed: int) -> None:
    """
    Throw ``number`` times into a reactor thread under load, then check that everything works.

    Raises:
        AssertionError: something does not.
    """
    from twisted_ipython import runner
    from twisted_ipython._reactor import interrupt
    from twisted_ipython._reactor.lifecycle import start

    logging.disable(logging.CRITICAL)  # each broken callback is logged
    thread = start()
    load = Load(thread, seed)
    chance = random.Random(seed)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    begun, raised, tried = monotonic(), 0, 0
    while raised < number and monotonic() - begun < PATIENCE:
        load.add()
        sleep(chance.random() * 1e-3)
        tried += 1
        raised += interrupt.throw(thread.ident)
    sys.setswitchinterval(switching)
    took = monotonic() - begun
    works = runner(_works(thread.reactor))
    print(
        f"throws: {raised} raised of {tried} in {took:.1f} s, among {load.callbacks} callbacks;"
        f" afterwards: {works}"
    )
    assert raised == number
    assert works == ["timer", 5, b"hello"]


async def _works(reactor: Any) -> list[Any]:
    """Wait for a timer of each kind and a socket."""
    from twisted.internet.task import deferLater

    return await asyncio.wait_for(
        asyncio.gather(
            asyncio.sleep(0.05, "timer"), deferLater(reactor, 0.05, lambda: 5), _echo(reactor)
        ),
        30,
    )


async def _echo(reactor: Any) -> bytes:
    """What comes back from an echo server of Twisted's."""
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
    from twisted.internet.protocol import Factory, Protocol

    heard: Deferred[bytes] = Deferred()

    class Server(Protocol):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(data)

    class Client(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"hello")

        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.loseConnection()
            heard.callback(data)

    port = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")
    try:
        end = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        await connectProtocol(end, Client())
        return await heard
    finally:
        await port.stopListening()


# ---- interrupts

SETUP = """
import asyncio, random, time
from twisted.internet import defer, reactor, task
def later(seconds): return task.deferLater(reactor, seconds, lambda: None)
def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
async def nested(depth, seconds):
    await (nested(depth - 1, seconds) if depth else asyncio.sleep(seconds))
async def grouped(seconds):
    async with asyncio.TaskGroup() as group:
        for one in range(3): group.create_task(awaits(random.Random(one), seconds))
KINDS = [
    later, asyncio.sleep, grouped,
    lambda seconds: nested(20, seconds),
    lambda seconds: asyncio.wait_for(later(seconds), 60),
    lambda seconds: asyncio.gather(asyncio.sleep(seconds), nested(3, seconds)),
    lambda seconds: defer.gatherResults([later(seconds), later(seconds / 2)]),
    lambda seconds: later(0).addCallback(lambda _: spin(seconds)),
    lambda seconds: asyncio.to_thread(time.sleep, min(seconds, 0.01)),
]
async def awaits(chance, seconds):
    for one in range(3):
        kind = chance.choice(KINDS[:2] if seconds < 0.01 else KINDS)
        await kind(seconds * chance.random() / 3)
"""
CELL = """
print('began')
chance = random.Random({seed})
end = time.monotonic() + 20
while time.monotonic() < end:
    await awaits(chance, chance.choice([0.001, 0.005, 0.02, 0.3, 20]))
    if chance.random() < 0.3: spin(0.005)
"""
AFTER = "import asyncio\nawait asyncio.gather(asyncio.sleep(0.01, 'timer'), later(0.01))"


def interrupts(number: int, seed: int) -> None:
    """
    Interrupt ``number`` cells of random awaits at random moments; a cell after each must work.

    Raises:
        AssertionError: a cell did not end in time, or the next one did not work.
    """
    from kernels import Kernel

    chance = random.Random(seed)
    ends: list[float] = []
    for begun in range(0, number, 25):  # a kernel is killed after a while, whatever it does
        with Kernel() as kernel:
            kernel.ok(SETUP)
            for _ in range(min(25, number - begun)):
                ends.append(_interrupt_one(kernel, chance))
                assert kernel.value(AFTER) == "['timer', None]"
                assert kernel.value("asyncio.all_tasks(reactor._asyncioEventloop)") == "set()"
    print(
        f"interrupts: {len(ends)}; a cell ended after {sorted(ends)[len(ends) // 2]:.3f} s in the"
        f" median, {max(ends):.3f} s at most"
    )


def _interrupt_one(kernel: Any, chance: random.Random) -> float:
    """Interrupt one cell; the seconds until it ended."""
    cell = kernel.submit(CELL.format(seed=chance.random())).wait_for("began")
    sleep(chance.random() * 0.3)  # the moment is what is varied
    begun = monotonic()
    kernel.interrupt()
    cell.wait(BOUND)
    assert cell.error == "KeyboardInterrupt", (cell.error, cell.traceback)
    return monotonic() - begun


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--throws", type=int, default=10_000)
    parser.add_argument("--interrupts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(CHECKOUT)
    sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support")]
    stages: list[tuple[Callable[[int, int], None], int]] = [
        (interrupts, options.interrupts),
        (throws, options.throws),
    ]
    for stage, number in stages:
        if number:
            stage(number, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
