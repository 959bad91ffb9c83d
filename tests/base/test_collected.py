"""Failures that nothing holds but themselves are found soon: `_base.collected`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Any

import pytest
from kernels import Kernel
from twisted.python.failure import Failure

from twisted_ipython._base import collected as collecting
from twisted_ipython._base.collected import Unheld

# Seconds within which a failure has to be shown, and what a busy machine may add.
SOON = 1.5
PREPARE = """
import asyncio
from twisted.internet import defer, endpoints, protocol, reactor, task

class Hears(protocol.Protocol):
    def connectionMade(self): self.lost = defer.Deferred()
    def connectionLost(self, reason): self.lost.callback(None)

async def connection():
    server = await asyncio.start_server(lambda _, writer: writer.close(), '127.0.0.1', 0)
    end = endpoints.TCP4ClientEndpoint(reactor, *server.sockets[0].getsockname())
    await (await endpoints.connectProtocol(end, Hears())).lost

async def fails_after(awaits):
    await awaits
    1 / 0

async def begin(awaits):
    defer.ensureDeferred(fails_after(awaits))
"""
KINDS = {
    "at once": "(lambda: defer.ensureDeferred(fails_after(defer.succeed(None))) and None)()",
    "timer": "await begin(task.deferLater(reactor, 0.1, int))",
    "asyncio": "await begin(asyncio.sleep(0.1))",
    "connection": "await begin(connection())",
    "job": """%%run_in_reactor job
defer.ensureDeferred(fails_after(task.deferLater(reactor, 0.1)))
return 1""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_shown_soon(kind: str) -> None:
    """A coroutine that fails, of which nobody kept the Deferred, is shown in an idle kernel."""
    with Kernel() as kernel:
        kernel.ok(PREPARE)
        cell = kernel.ok(KINDS[kind])
        began = monotonic()
        kernel.pump(lambda: cell.error is not None, SOON)
        assert monotonic() - began < SOON
        assert "fails_after(awaits)" in cell.traceback


@pytest.fixture
def collected() -> Iterator[list[int]]:
    """The generations that were collected."""
    generations: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            generations.append(info["generation"])

    thresholds = gc.get_threshold()
    gc.set_threshold(1_000_000)  # Python's own collections would be among them
    gc.callbacks.append(note)
    yield generations
    gc.callbacks.remove(note)
    gc.set_threshold(*thresholds)


def fail() -> None:
    """Make a failure."""
    Failure(ValueError())


def checked(one: Unheld, asked: list[Callable[[], None]]) -> int:
    """Check, and do what is asked for then; gives how much that was."""
    one.check()
    one.check()  # while it is asked for, it is not asked for again
    calls = asked.copy()
    asked.clear()
    for call in calls:
        call()
    return len(calls)


def test_rhythm(collected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is collected after failures only, all of it now and then, and what is young else."""
    monkeypatch.setattr(collecting, "_LONGEST", inf)  # this process may be large
    asked: list[Callable[[], None]] = []
    one = Unheld(asked.append)
    fail()
    assert checked(one, asked) == 0  # it is not on
    one.on = True
    collected.clear()
    assert checked(one, asked) == 1
    assert checked(one, asked) == 0
    assert collected == [2]
    fail()
    assert checked(one, asked) == 1
    assert collected == [2, 1]
    assert checked(one, asked) == 0  # everything will be its turn, but not yet
    one._all_from = 0.0
    assert checked(one, asked) == 1
    assert collected == [2, 1, 2]
    assert checked(one, asked) == 0


def test_large_session(collected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where collecting everything takes long, only what is young is collected from then on."""
    monkeypatch.setattr(collecting, "_LONGEST", 0.0)
    asked: list[Callable[[], None]] = []
    one = Unheld(asked.append)
    one.on = True
    collected.clear()
    for _ in range(3):
        fail()
        checked(one, asked)
    assert collected == [2, 1, 1]
    assert checked(one, asked) == 0


def test_disabled_collector(collected: list[int]) -> None:
    """Who disabled the collector has it disabled."""
    asked: list[Callable[[], None]] = []
    one = Unheld(asked.append)
    one.on = True
    gc.disable()
    try:
        fail()
        collected.clear()
        assert checked(one, asked) == 1
        assert collected == []
    finally:
        gc.enable()
