"""How a script runs and ends: `_scripts.script`, with a reactor that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import new_work
from twisted_ipython._scripts.script import EXITED, Script, Stage


class Turns:
    """A reactor thread, as far as scripts need it, which notes what it is asked."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.closed: Deferred[Any] = succeed(None)
        self.crawls = SimpleNamespace(
            when_closed=lambda _: self.closed, drop=lambda _: self.log.append("crawls dropped")
        )
        self.loops = SimpleNamespace(stop=lambda _: self.log.append("loops stopped"))
        self.reactor = self
        self._calls: list[tuple[Callable[..., object], Any]] = []

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call it in a later turn."""
        self._calls.append((function, args))

    def turn(self) -> None:
        """Make the calls, and those that they ask for."""
        while self._calls:
            function, args = self._calls.pop(0)
            function(*args)

    # ---- the reactor

    stop = crash = int

    def getReaders(self) -> list[Any]:
        """Nothing is watched."""
        return []

    getWriters = getDelayedCalls = getReaders

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], object]) -> str:
        """Note it; the name is the handle."""
        self.log.append(f"added {phase} {event}")
        call()
        return f"{phase} {event}"

    def removeSystemEventTrigger(self, handle: str) -> None:
        """Note it."""
        self.log.append(f"removed {handle}")


class Said(Script):
    """A script that does not block while it waits."""

    def may_run(self) -> bool:
        """Whoever asks is its own code."""
        return True

    starts_later = keeps_stop = may_run

    def __init__(self) -> None:
        self.turns = Turns()
        thread: Any = self.turns
        super().__init__("it", new_work(1), copy_context(), thread, self.may_run)

    def wait(self) -> None:
        """Begin to wait."""
        self._begin_run()

    def _resume(self) -> None:
        self.turns.log.append("goes on")

    def add(self, phase: str) -> None:
        """Have a shutdown trigger note its phase."""
        self.shutdown.add(phase, lambda: self.turns.log.append(phase))


@pytest.fixture
def script() -> Said:
    """A script that has not waited yet."""
    return Said()


def test_stop(script: Said) -> None:
    """Startup, shutdown in three phases, the end of its work; then its code goes on."""
    log = script.turns.log
    script.startup.add("after", lambda: log.append("runs"))
    for phase in ("after", "during", "before"):
        script.add(phase)
    script.wait()
    assert script.ran
    assert script.stage is Stage.WAITS
    over = script.when_over()
    script.stop()
    assert script.stage is Stage.STOPS
    assert log == ["runs"]
    script.turns.turn()
    ended = ["loops stopped", "goes on"]
    assert log == ["runs", "before", "during", "after", "crawls dropped", *ended]
    assert over.called
    assert script.stage is Stage.CODE


def test_stopped_twice(script: Said) -> None:
    """A second stop of one run does nothing, nor does it to the next run."""
    script.wait()
    script.stop()
    script.stop()
    script.turns.turn()
    assert script.turns.log.count("goes on") == 1
    script.wait()
    script.turns.turn()
    assert script.stage is Stage.WAITS


def test_stop_before_run(script: Said) -> None:
    """One that was kept comes as soon as it waits, after the startup."""
    script.stops = script.crash
    script.startup.add("during", lambda: script.turns.log.append("runs"))
    script.wait()
    script.turns.turn()
    assert script.turns.log == ["runs", "goes on"]


def test_crash(script: Said) -> None:
    """It ends the wait without the shutdown triggers, and ends nothing that was started."""
    script.add("before")
    script.wait()
    script.crash()
    script.turns.turn()
    assert script.turns.log == ["goes on"]
    assert len(script.shutdown) == 1


def test_cancelled_twice(script: Said) -> None:
    """The second time it does not wait for its shutdown triggers, but for crawls that end."""
    never: Deferred[None] = Deferred()
    script.turns.closed = crawl = Deferred()
    script.shutdown.add("before", lambda: never)
    script.wait()
    script.cancel()
    script.turns.turn()
    script.cancel()
    script.turns.turn()
    assert script.turns.log == []
    crawl.callback(None)
    script.turns.turn()
    assert script.turns.log == ["goes on"]


def test_main_is_cancelled(script: Said) -> None:
    """What ``react`` waits for ends with its reactor."""
    script.main = main = Deferred()
    main.addErrback(lambda failure: script.turns.log.append(failure.type.__name__))
    script.stop_work()
    assert script.turns.log[-1] == "CancelledError"


def test_handed_over(script: Said) -> None:
    """One that never ran: its startup is made, and its shutdown is the session's from now on."""
    script.startup.add("before", lambda: script.turns.log.append("runs"))
    script.add("during")
    trigger = script.shutdown.add("after", lambda: script.turns.log.append("after"))
    script.hand_over()
    added = ["added during shutdown", "during", "added after shutdown", "after"]
    assert script.turns.log == ["runs", *added]
    trigger.remove()
    assert script.turns.log[-1] == "removed after shutdown"
    assert len(script.shutdown) == 0


def test_exits(script: Said) -> None:
    """A SystemExit is success, a status, or what made ``react`` exit."""
    assert script.exit_of(SystemExit()) is None
    assert script.exit_of(SystemExit(0)) is None
    assert str(script.exit_of(SystemExit(3))) == EXITED.format(status=3)
    error = ValueError("of main")
    script.fail(Failure(error))
    assert script.exit_of(SystemExit(1)) is error
    script.fail(Failure(SystemExit(4)))
    assert str(script.exit_of(SystemExit(4))) == EXITED.format(status=4)
