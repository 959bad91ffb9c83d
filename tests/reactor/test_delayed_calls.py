"""Twisted's timers on asyncio's heap, and calls from other threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any

import pytest
from reactor_thread import Oops, in_reactor, later, logged, reactor, turns
from shells import run_python
from twisted.internet import defer, threads
from twisted.internet.base import DelayedCall
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.python import threadable

from twisted_ipython._reactor import delayed_calls
from twisted_ipython._reactor.lifecycle import start

LONG = 60.0


async def all_within(seconds: float) -> None:
    """Wait until the timers of the next ``seconds`` have run."""
    await later(None, seconds)


# ---- callLater


@in_reactor
async def test_order() -> None:
    """Calls run in the order of their times, and of their asking where these are equal."""
    seen: list[Any] = []
    for seconds in (0.03, 0.01, 0.02):
        reactor().callLater(seconds, seen.append, seconds)
    for number in range(100):
        reactor().callLater(0, seen.append, number)
    await all_within(0.04)
    assert seen == [*range(100), 0.01, 0.02, 0.03]


@in_reactor
async def test_order_of_what_is_due() -> None:
    """A timer that is due runs before a call without delay that is asked for after its time."""
    seen: list[Any] = []
    reactor().callLater(0, seen.append, "first")
    reactor().callLater(0.001, seen.append, "due")
    began = monotonic()
    while monotonic() - began < 0.003:
        continue
    later_one = reactor().callLater(0, seen.append, "put off")
    reactor().callLater(0, seen.append, "last")
    later_one.reset(0.01)
    await all_within(0.02)
    assert seen == ["first", "due", "last", "put off"]


@in_reactor
async def test_arguments() -> None:
    """What is given is passed on, whatever it is called; the names of `callLater`'s own work."""
    seen: list[Any] = []

    def note(*args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))

    reactor().callLater(0, note, 1, 2, self=3, context=4, loop=5)
    call = reactor().callLater(delay=0, callable=note)
    assert IDelayedCall.providedBy(call)
    assert "note" in str(call)
    await turns(3)
    assert seen == [((1, 2), {"self": 3, "context": 4, "loop": 5}), ((), {})]


@in_reactor
async def test_not_before_its_time() -> None:
    """A call runs once its seconds have passed, and knows its time."""
    began = monotonic()
    call = reactor().callLater(0.02, lambda: None)
    assert call.getTime() == pytest.approx(reactor().seconds() + 0.02, abs=0.01)
    await all_within(0.02)
    assert monotonic() - began >= 0.02
    assert not call.active()


@in_reactor
async def test_cancel() -> None:
    """A cancelled call does not run; what is over cannot be cancelled or put off."""
    seen: list[Any] = []
    cancelled, called = (reactor().callLater(0, seen.append, n) for n in range(2))
    assert cancelled.active()
    cancelled.cancel()
    assert not cancelled.active()
    await turns(3)
    assert seen == [1]
    for each, error in ((cancelled, AlreadyCancelled), (called, AlreadyCalled)):
        for act in (each.cancel, lambda each=each: each.reset(1), lambda each=each: each.delay(1)):
            with pytest.raises(error):
                act()


@in_reactor
async def test_cancelled_while_running() -> None:
    """A call that cancels itself is told that it was called; one that it cancels does not run."""
    seen: list[Any] = []

    def first() -> None:
        with pytest.raises(AlreadyCalled):
            one.cancel()
        two.cancel()
        seen.append("first")

    one = reactor().callLater(0, first)
    two = reactor().callLater(0, seen.append, "second")
    await turns(4)
    assert seen == ["first"]


MOVES: list[tuple[str, Callable[[DelayedCall], None], bool]] = [
    ("reset earlier", lambda call: call.reset(0.01), True),
    ("reset to now", lambda call: call.reset(0), True),
    ("reset later", lambda call: call.reset(LONG), False),
    ("delayed", lambda call: call.delay(LONG), False),
    ("delayed back", lambda call: (call.delay(LONG), call.delay(-LONG)), True),  # type: ignore[func-returns-value]
    ("delayed twice", lambda call: (call.delay(0.005), call.delay(0.005)), True),  # type: ignore[func-returns-value]
    ("made earlier", lambda call: call.delay(-LONG), True),
    ("reset later, then earlier", lambda call: (call.reset(LONG), call.reset(0.01)), True),  # type: ignore[func-returns-value]
]


@pytest.mark.parametrize(("move", "runs"), [each[1:] for each in MOVES], ids=[m[0] for m in MOVES])
@pytest.mark.parametrize("seconds", [0.02, 0.0])
@in_reactor
async def test_moved(move: Any, runs: bool, seconds: float) -> None:
    """A call that is reset or delayed runs once, at its new time."""
    seen: list[float] = []
    call = reactor().callLater(seconds, lambda: seen.append(reactor().seconds()))
    move(call)
    when = call.getTime()
    assert call in reactor().getDelayedCalls()
    await all_within(0.05)
    assert len(seen) == runs
    assert call.active() != runs
    if runs:
        assert seen[0] >= when - 0.001
    else:
        assert call in reactor().getDelayedCalls()
        call.cancel()
    assert call not in reactor().getDelayedCalls()


@in_reactor
async def test_moved_again_after_its_first_time() -> None:
    """A call that was put off can be made earlier after its first time has passed."""
    seen: list[None] = []
    call = reactor().callLater(0.01, seen.append, None)
    call.delay(LONG)
    await all_within(0.02)
    assert seen == []
    call.reset(0.01)
    await all_within(0.02)
    assert seen == [None]


@in_reactor
async def test_delayed_calls() -> None:
    """getDelayedCalls gives what is pending, and nothing else."""
    before = set(reactor().getDelayedCalls())
    calls = [reactor().callLater(LONG, print) for _ in range(3)]
    called = reactor().callLater(0, lambda: None)
    assert set(reactor().getDelayedCalls()) - before == {*calls, called}
    calls.pop().cancel()
    await turns(3)
    assert set(calls) <= set(reactor().getDelayedCalls())
    assert called not in reactor().getDelayedCalls()
    for call in calls:
        call.cancel()
    assert not set(calls) & set(reactor().getDelayedCalls())


@pytest.mark.parametrize("error", [Oops, SystemExit, KeyboardInterrupt])
@in_reactor
async def test_errors(error: type[BaseException]) -> None:
    """What a call raises is logged, and the reactor goes on."""

    def fails() -> None:
        raise error

    with logged() as errors:
        reactor().callLater(0, fails)
        await later()
        await turns(2)
    assert errors == [repr(error())]
    assert threadable.isInIOThread()


@pytest.mark.parametrize("bad", [-1, float("-inf"), float("nan")])
@in_reactor
async def test_bad_delays(bad: float) -> None:
    """A delay that is none is refused, as Twisted does."""
    before = len(reactor().getDelayedCalls())
    with pytest.raises(AssertionError, match="is not greater than or equal to 0 seconds"):
        reactor().callLater(bad, print)
    assert len(reactor().getDelayedCalls()) == before


variable: ContextVar[str] = ContextVar("variable")


@pytest.mark.parametrize("move", ["stays", "earlier", "later"])
@in_reactor
async def test_contexts(move: str) -> None:
    """A call runs in the context in which it was asked for, also after it was moved."""
    seen: list[str] = []
    variable.set("asked")
    call = reactor().callLater(0.01, lambda: seen.append(variable.get()))
    variable.set("moved")
    if move != "stays":
        call.reset(0 if move == "earlier" else 0.02)
    await all_within(0.03)
    assert seen == ["asked"]


@in_reactor
async def test_nothing_is_kept() -> None:
    """A call that has run or was cancelled lets go of what it was given, without the collector."""

    class Big:
        def note(self) -> None:
            """Do nothing."""

    gc.disable()
    try:
        gone = []
        for act in (None, DelayedCall.cancel, lambda call: call.reset(0)):
            big = Big()
            call = reactor().callLater(0, big.note)
            gone.append(weakref.ref(big))
            if act is not None:
                act(call)
            del big, call
        await turns(4)
        assert [each() for each in gone] == [None] * 3
    finally:
        gc.enable()


# ---- what is built on it


@in_reactor
async def test_looping_call() -> None:
    """A LoopingCall runs at its interval until it is stopped."""
    seen: list[int] = []

    def tick() -> None:
        seen.append(len(seen))
        if len(seen) == 5:
            loop.stop()

    loop = LoopingCall(tick)
    assert loop.clock is reactor()
    assert await loop.start(0.001) is loop
    assert seen == [0, 1, 2, 3, 4]


@in_reactor
async def test_defer_later_and_timeouts() -> None:
    """deferLater and addTimeout fire, time out, and can be cancelled."""
    assert await deferLater(reactor(), 0.001, lambda: "value") == "value"
    waiting = deferLater(reactor(), LONG, print)
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    with pytest.raises(defer.TimeoutError):
        await Deferred().addTimeout(0.01, reactor())
    before = len(reactor().getDelayedCalls())
    assert await later("in time").addTimeout(LONG, reactor()) == "in time"
    await turns(2)
    assert len(reactor().getDelayedCalls()) <= before


@in_reactor
async def test_clock() -> None:
    """A Clock of a test of the user's goes by its own time, beside the reactor's."""
    clock, seen = Clock(), []
    clock.callLater(5, seen.append, "clock")
    deferred = deferLater(clock, 7, lambda: "value")
    clock.advance(5)
    assert seen == ["clock"]
    asyncio.get_running_loop().call_soon(clock.advance, 2)
    assert await deferred == "value"


# ---- from other threads


@in_reactor
async def test_call_from_thread() -> None:
    """Calls from another thread run in the reactor thread, in order, with what was given."""
    seen: list[Any] = []
    done: Deferred[None] = Deferred()

    def note(*args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs, threadable.isInIOThread()))

    def calls() -> None:
        for number in range(100):
            reactor().callFromThread(note, number, self=number, thread=None)
        reactor().callFromThread(callable=done.callback, result=None)

    await threads.deferToThread(calls)
    await done
    assert seen == [((n,), {"self": n, "thread": None}, True) for n in range(100)]


@pytest.mark.parametrize("error", [Oops, SystemExit])
@in_reactor
async def test_errors_from_thread(error: type[BaseException]) -> None:
    """What a call from another thread raises is logged, and the reactor goes on."""

    def fails() -> None:
        raise error

    with logged() as errors:
        await threads.deferToThread(reactor().callFromThread, fails)
        await turns(2)
    assert errors == [repr(error())]


@in_reactor
async def test_context_from_thread() -> None:
    """A call from another thread runs in the context of its caller."""
    seen: list[str] = []
    variable.set("reactor's")

    def calls() -> None:
        variable.set("thread's")
        reactor().callFromThread(lambda: seen.append(variable.get()))

    await threads.deferToThread(calls)
    await turns(2)
    assert seen == ["thread's"]


@in_reactor
async def test_blocking_call_in_the_reactor_thread() -> None:
    """blockingCallFromThread fails at once in the reactor thread, and says to await."""
    called: list[None] = []
    with pytest.raises(RuntimeError, match=r"wait for itself for ever.*`await` its Deferred"):
        threads.blockingCallFromThread(reactor(), called.append, None)
    await turns(2)
    assert called == []
    reactor().callFromThread(called.append, None)  # which is allowed
    await turns(2)
    assert called == [None]


def test_blocking_call_from_another_thread() -> None:
    """From any other thread, blockingCallFromThread gives values and failures."""
    assert threads.blockingCallFromThread(reactor(), threading.get_ident) == start().ident
    assert threads.blockingCallFromThread(reactor(), later, "value") == "value"
    with pytest.raises(Oops):
        threads.blockingCallFromThread(reactor(), later, Oops())


# ---- off again

DETACHED = """
import asyncio, threading
from twisted.internet import asyncioreactor

loop = asyncio.SelectorEventLoop()
asyncioreactor.install(loop)
from twisted.internet import reactor
from twisted_ipython._reactor.delayed_calls import Timers
from twisted_ipython._reactor.overrides import Overrides, of_timers

seen = []

def main():
    reactor.callLater(0, seen.append, "from before")
    before = set(vars(reactor))
    timers = Timers(reactor, loop, threading.get_ident())
    undo = Overrides().add("_reactor", (reactor, of_timers(timers)))
    assert set(vars(reactor)) - before == {"callLater", "getDelayedCalls", "callFromThread"}
    reactor.callLater(0.01, seen.append, "pending")
    moved = reactor.callLater(60, seen.append, "moved")
    gone = reactor.callLater(0.01, seen.append, "cancelled")
    threading.Thread(target=reactor.callFromThread, args=(seen.append, "thread")).start()
    undo()
    assert set(vars(reactor)) == before
    moved.reset(0.01)
    gone.cancel()
    reactor.callLater(0.05, reactor.stop)

reactor.callWhenRunning(main)
reactor.run()
loop.close()
print(sorted(seen))
"""

STOPPED = """
import asyncio, threading
from twisted.internet import asyncioreactor

loop = asyncio.SelectorEventLoop()
asyncioreactor.install(loop)
from twisted.internet import reactor, task
from twisted_ipython._bridge import task_factory
from twisted_ipython._reactor.delayed_calls import Timers
from twisted_ipython._reactor.overrides import Overrides, of_timers

def main():
    task_factory.attach(loop)
    timers = Timers(reactor, loop, threading.get_ident())
    Overrides().add("_reactor", (reactor, of_timers(timers)))
    reactor.callLater(60, print, "never")
    reactor.callLater(0.01, reactor.stop)

def clean_up():
    print("before")
    reactor.callLater(0, print, "asked for while it stops")
    return task.deferLater(reactor, 0.02, print, "cleaned up")

reactor.callWhenRunning(main)
reactor.addSystemEventTrigger("before", "shutdown", clean_up)
reactor.addSystemEventTrigger("during", "shutdown", print, "during")
reactor.addSystemEventTrigger("after", "shutdown", print, "after")
reactor.run()
loop.close()
print("ended")
"""


def test_detached() -> None:
    """Taking them off leaves nothing on the instance; pending calls still run, move and cancel."""
    done = run_python("-W", "error", "-c", DETACHED)
    assert done.stdout == "['from before', 'moved', 'pending', 'thread']\n"
    assert done.stderr == ""


def test_stopped_reactor_cleans_up() -> None:
    """reactor.stop() fires the triggers, and those may still use timers."""
    done = run_python("-W", "error", "-c", STOPPED)
    assert done.stdout.splitlines() == [
        "before",
        "asked for while it stops",
        "cleaned up",
        "during",
        "after",
        "ended",
    ]
    assert done.stderr == ""


def test_names() -> None:
    """The reactor's class keeps its own methods."""
    kind = type(reactor())
    assert kind.callLater.__module__.startswith("twisted.")
    assert reactor().callLater.__module__ == delayed_calls.__name__
