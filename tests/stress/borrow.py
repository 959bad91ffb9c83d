"""
Stress of the borrowed reactor: plain cells, awaiting cells, threads, jobs and Ctrl-C, mixed.

    python tests/stress/run.py borrow --seed 1

Each round is one cell of a real kernel, of a random kind; some run in a subshell beside the next
ones.  Each asks the reactor for things and notes what it has asked for.  Prints the figures; ends
with status 1 if a cell did not end in time, or anything that was asked for did not come.
"""

from __future__ import annotations

import argparse
import random
import sys
from time import monotonic, sleep
from typing import Any

from kernels import SUBSHELLS, Kernel, submit_to, subshell

# Seconds within which a cell must have ended, and what it asked for must have come.
BOUND = 20.0
# Rounds of one kernel, which is killed after a while whatever it does.
OF_A_KERNEL = 50

SETUP = """
import asyncio, itertools, random, signal, sys, threading, time, treq
from twisted.internet import defer, protocol, reactor, task, threads
from twisted.web import resource, server
from twisted_ipython import in_main_thread

sys.setswitchinterval(1e-4)
numbers, asked, done, wrong = itertools.count(), [], set(), []

class Page(resource.Resource):
    isLeaf = True
    def render_GET(self, request): return b'page'

class Echo(protocol.Protocol):
    def dataReceived(self, data): self.transport.write(data)

class Hears(protocol.Protocol):
    heard = 0
    def dataReceived(self, data): self.heard += len(data)

port = reactor.listenTCP(0, server.Site(Page()), interface='127.0.0.1')
url = f'http://127.0.0.1:{port.getHost().port}/'
echo = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface='127.0.0.1')
made = protocol.ClientCreator(reactor, Hears).connectTCP('127.0.0.1', echo.getHost().port)
loop_ = reactor._asyncioEventloop

def timer(chance):
    number = next(numbers)
    reactor.callLater(chance.random() * 0.02, done.add, number)
    asked.append(number)

def cancelled(chance):
    call = reactor.callLater(60, wrong.append, 'cancelled')
    call.reset(30)
    call.cancel()

def looping(chance):
    number, loop = next(numbers), task.LoopingCall(lambda: turns.append(1))
    turns = []
    loop.start(0.001).addCallback(lambda _: done.add(number))
    reactor.callLater(0.01, loop.stop)
    asked.append(number)

def request(chance):
    number = next(numbers)
    treq.get(url).addCallback(treq.content).addCallback(lambda _: done.add(number))
    asked.append(number)

def asyncios(chance):
    number = next(numbers)
    if threading.current_thread() is threading.main_thread():
        loop_.call_later(chance.random() * 0.02, done.add, number)
    else:
        loop_.call_soon_threadsafe(done.add, number)
    asked.append(number)

def written(chance):
    global sent
    one.transport.write(b'x' * 100)
    sent += 100

def opened(chance):
    reactor.listenTCP(0, protocol.Factory(), interface='127.0.0.1').stopListening()

def slept(chance):
    time.sleep(chance.random() * 0.03)

KINDS = [timer, timer, cancelled, looping, asyncios, opened, slept]

def works(seed, count):
    chance = random.Random(seed)
    for _ in range(count):
        chance.choice(KINDS)(chance)

async def awaits(seed, count):
    chance = random.Random(seed)
    for _ in range(count):
        chance.choice([timer, cancelled, looping, request, opened])(chance)
        await task.deferLater(reactor, chance.random() * 0.005, int)
        await asyncio.sleep(0)
"""
PLAIN = "works({seed}, 30)"
KINDS = {
    "plain": PLAIN,
    "requests": "chance = random.Random({seed})\nfor _ in range(5): request(chance); timer(chance)",
    "connection": "for _ in range(20): written(None)",
    "awaiting": "await awaits({seed}, 10)",
    "sent": "await in_main_thread(works, {seed}, 10)",
    "thread": "threading.Thread(target=works, args=({seed}, 30)).start()",
    "joined": "works({seed}, 3)\nother = threading.Thread(target=works, args=({seed}, 10))\n"
    "other.start(); other.join()",
    "blocking": "works({seed}, 3)\n"
    "threads.blockingCallFromThread(reactor, task.deferLater, reactor, 0.001, int)",
    "job": "%%run_in_reactor job{number} --replace\nawait awaits({seed}, 10)",
    "subshell": PLAIN,
    "interrupted": "print('began')\nwhile True: works({seed}, 10)",
    "interrupted wait": "print('began')\nworks({seed}, 5)\nawait awaits({seed}, 10 ** 9)",
}
ALL = """
from time import monotonic
async def all_came(seconds):
    end = monotonic() + seconds
    while (missing := set(asked) - done) or one.heard != sent:
        if monotonic() > end: return f'{len(missing)} missing, {one.heard} of {sent} heard'
        await asyncio.sleep(0.01)
    return 'all'
"""


class Rounds:
    """
    The rounds of one kernel.

    Args:
        kernel: the kernel.
        chance: what decides.
    """

    def __init__(self, kernel: Any, chance: random.Random) -> None:
        self.ends: list[float] = []
        self._kernel = kernel
        self._chance = chance
        self._beside: list[Any] = []
        self._subshell = subshell(kernel) if SUBSHELLS else None
        kernel.ok(SETUP + ALL)
        kernel.ok("one, sent = await made, 0")

    def run(self, number: int) -> None:
        """
        Run so many of them; then all that was asked for must have come.

        Raises:
            AssertionError: a cell did not end, failed, or something did not come.
        """
        for one in range(number):
            self._one(one)
        for cell in self._beside:
            cell.wait(BOUND)
            # An interrupt is one for whoever waits, in whatever shell.
            assert cell.error in (None, "KeyboardInterrupt"), cell.traceback
        came = self._kernel.value(f"await all_came({BOUND / 2})")
        assert came == "'all'", came
        assert self._kernel.value("wrong") == "[]"

    def _one(self, number: int) -> None:
        kind = self._chance.choice(list(KINDS))
        code = KINDS[kind].format(seed=self._chance.randrange(10**6), number=number % 5)
        if kind == "subshell":
            self._send_beside(code)
            return
        begun = monotonic()
        cell = self._kernel.submit(code, stop_on_error=False)
        if kind.startswith("interrupted"):
            cell.wait_for("began", BOUND)
            sleep(self._chance.random() * 0.05)  # the moment is what is varied
            begun = monotonic()
            self._kernel.interrupt()
        cell.wait(BOUND)
        self.ends.append(monotonic() - begun)
        expected = "KeyboardInterrupt" if kind.startswith("interrupted") else None
        assert cell.error == expected, (kind, code, cell.error, cell.traceback)

    def _send_beside(self, code: str) -> None:
        if self._subshell is not None:
            self._beside.append(submit_to(self._kernel, self._subshell, code))


def rounds(number: int, seed: int) -> None:
    """
    Run ``number`` rounds.

    Raises:
        AssertionError: see `Rounds.run`.
    """
    chance = random.Random(seed)
    ends: list[float] = []
    for begun in range(0, number, OF_A_KERNEL):
        with Kernel(stderr=sys.stderr) as kernel:
            one = Rounds(kernel, chance)
            one.run(min(OF_A_KERNEL, number - begun))
            ends += one.ends
            asked = kernel.value("len(asked)")
        print(f"{begun + OF_A_KERNEL} rounds; {asked} asked for in the last ones", flush=True)
    print(
        f"borrow: {number} rounds; a cell ended after {sorted(ends)[len(ends) // 2]:.3f} s in the"
        f" median, {max(ends):.3f} s at most; nothing lost"
    )


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rounds(options.rounds, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
