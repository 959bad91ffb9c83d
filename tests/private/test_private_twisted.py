"""Twisted has the private names that are used, and without them it goes on as is said."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextvars import ContextVar, copy_context
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest
from twisted._threads import _threadworker
from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Protocol
from twisted.logger import LogPublisher
from twisted.python.failure import Failure
from twisted.trial.runner import TrialSuite

from twisted_ipython._private import twisted as private
from twisted_ipython._reactor import overrides
from twisted_ipython._reactor.contexts import LoopingCalls
from twisted_ipython._reactor.overrides import Overrides, of_reactor

SEEN = f"Twisted 24.10 to 26.10 have it: look for its new name, for {private.__file__}"


def test_names(reactor: Any) -> None:
    """Each name is there."""
    wrapped = endpoints._WrappingProtocol(Deferred(), Protocol())
    for owner, name in (
        (EPollReactor, private.SERVE),
        (reactor, private.STOP_THREAD_POOL),
        (reactor, private.STARTED_BEFORE),
        (reactor, private.LOOP),
        (reactor, "_stopped"),
        (task, private.COOPERATOR),
        (task.LoopingCall, private.SCHEDULE),
        (wrapped, private.WRAPPED_PROTOCOL),
        (Deferred(), "_debugInfo"),
        (Deferred(), "_runningCallbacks"),
    ):
        assert hasattr(owner, name), f"{owner!r} has no {name}; {SEEN}"
    assert _threadworker.__file__.endswith(private.POOL_WORKER), SEEN
    code = TrialSuite._bail.__code__
    assert "d" in code.co_varnames + code.co_cellvars, f"trial's shutdown is in a local; {SEEN}"


def test_driver() -> None:
    """Twisted's driver of coroutines, and its local that has the context."""
    code = private.DRIVER
    assert code.co_name == "_inlineCallbacks", SEEN
    assert private.DRIVER_LOCALS[0] in code.co_varnames + code.co_cellvars, SEEN
    assert issubclass(private.RETURNS, BaseException), SEEN


def test_failures() -> None:
    """A failure that a Deferred would log is found until it is handled; else there is none."""
    deferred: Deferred[None] = Deferred()
    failure = Failure(ValueError())
    deferred.errback(failure)
    assert private.unhandled_failure(deferred) is failure, SEEN
    private.mark_handled(deferred, failure)
    assert private.unhandled_failure(deferred) is None
    other = SimpleNamespace()
    assert private.unhandled_failure(cast(Any, other)) is None
    private.mark_handled(cast(Any, other), failure)


def test_callbacks() -> None:
    """A Deferred goes on to its callbacks, by any of the two names; without, it is not known."""
    deferred: Deferred[None] = Deferred()
    assert not private.goes_on(deferred)
    deferred.addCallback(lambda _: None)
    assert private.goes_on(deferred), SEEN
    assert private.goes_on(cast(Any, SimpleNamespace(callbacks=[1])))
    assert not private.goes_on(cast(Any, SimpleNamespace()))
    deferred = Deferred().addBoth(lambda result: [*result, "second"])
    private.call_first(deferred, lambda result: [result, "first"])
    deferred.callback("value")
    assert deferred.result == ["value", "first", "second"], SEEN


def test_waits() -> None:
    """What a Deferred waits for is found through Twisted's coroutines, lists and chains."""
    leaf: Deferred[None] = Deferred()

    @inlineCallbacks
    def inner() -> Generator[Any, Any, None]:
        yield leaf

    async def outer() -> None:
        await gatherResults([inner()])

    chained = succeed(None).addCallback(lambda _: Deferred.fromCoroutine(outer()))
    waits = list(private.waits_of(chained))
    assert [coro.__name__ for coro, _, _ in waits] == ["outer", "inner"], SEEN
    assert waits[1][1] is leaf, SEEN
    leaf.callback(None)
    assert not list(private.waits_of(chained))


def test_stopping(reactor: Any) -> None:
    """A reactor that runs is not stopping; without the name, one is that runs no more."""
    assert not private.is_stopping(reactor)
    assert private.is_stopping(SimpleNamespace(_stopped=True, running=True))
    assert private.is_stopping(SimpleNamespace(running=False))
    assert not private.is_stopping(SimpleNamespace(running=True))


class Frames:
    """A reactor, or a clock, that notes who calls it."""

    def __init__(self) -> None:
        self.seen: dict[str, FrameType] = {}

    def addSystemEventTrigger(self, *_: object) -> None:
        """See `IReactorCore`."""
        self.seen["trigger"] = sys._getframe(1)

    def run(self) -> None:
        """See `IReactorCore`."""
        self.seen["run"] = sys._getframe(1)

    def callWhenRunning(self, call: Any, *args: Any) -> None:
        """See `IReactorCore`."""
        call(*args)

    def stop(self) -> None:
        """See `IReactorCore`."""
        self.seen["stop"] = sys._getframe(1)

    def seconds(self) -> float:
        """See `IReactorTime`."""
        self.seen["seconds"] = sys._getframe(1)
        return 0.0

    def callLater(self, *_: object) -> Any:
        """See `IReactorTime`."""
        return SimpleNamespace(cancel=int)


def without_locals(frame: FrameType) -> Any:
    """A frame of the same function, whose locals have other names."""
    return SimpleNamespace(f_code=frame.f_code, f_locals={})


def test_react() -> None:
    """`react` tells what it waits for, and what failed; with other locals, nothing."""
    ended: Deferred[None] = Deferred()
    reactor = Frames()
    with pytest.raises(SystemExit):
        task.react(lambda _: ended, [], cast(Any, reactor))
    frame = reactor.seen["run"]
    assert private.awaited_by_react(reactor.seen["trigger"]) is ended, SEEN
    assert private.awaited_by_react(frame) is ended, SEEN
    assert private.awaited_by_react(without_locals(frame)) is None
    assert private.awaited_by_react(sys._getframe()) is None
    ended.errback(ValueError())
    frame = reactor.seen["stop"]
    failure = private.failure_of_react(frame)
    assert failure is not None, SEEN
    assert failure.check(ValueError)
    assert private.failure_of_react(without_locals(frame)) is None
    assert private.failure_of_react(sys._getframe()) is None


def test_looping_call() -> None:
    """`LoopingCall.start` tells which one it starts; with other locals, none."""
    loop = task.LoopingCall(int)
    loop.clock = cast(Any, Frames())
    loop.start(1)
    loop.stop()
    other = task.LoopingCall(int)
    other.clock = clock = Starting()
    other.start(1)
    other.stop()
    assert clock.started is other, SEEN
    assert private.started_in(clock.without) is None
    assert private.started_in(sys._getframe()) is None


class Starting(Frames):
    """A clock that a LoopingCall asks for the time as it starts."""

    started: task.LoopingCall | None = None
    without: Any = None

    def seconds(self) -> float:
        """See `IReactorTime`."""
        frame = sys._getframe(1)
        if self.without is None:
            self.started, self.without = private.started_in(frame), without_locals(frame)
        return 0.0


def test_trial_without_its_local() -> None:
    """Trial's call for the shutdown is refused, if what it waits for is not found."""
    ended: Deferred[None] = Deferred()
    frame: Any = SimpleNamespace(f_locals={"d": ended})
    assert private.shutdown_of_trial(frame) is ended
    assert private.shutdown_of_trial(cast(Any, SimpleNamespace(f_locals={}))) is None
    assert not overrides._end_run(cast(Any, SimpleNamespace(f_locals={})))


def test_serving_without_the_name() -> None:
    """A connection is added in the context in which it was first, by public methods alone."""
    asker: ContextVar[str] = ContextVar("asker", default="nobody")
    added: list[str] = []
    bare = SimpleNamespace(
        addReader=lambda _: added.append(asker.get()),
        addWriter=lambda _: added.append(asker.get()),
        **dict.fromkeys(("spawnProcess", "callLater", "callFromThread"), len),
    )
    undo = Overrides().add("_reactor", (bare, of_reactor(None, LoopingCalls())))
    connection = SimpleNamespace()
    first = copy_context()
    first.run(asker.set, "first")
    first.run(bare.addReader, connection)
    bare.addWriter(connection)
    undo()
    assert added == ["first", "first"]


def test_observers_of_the_log() -> None:
    """What a publisher gives its events to is known, and of one without the name nothing is."""
    publisher = LogPublisher()
    publisher.addObserver(print)
    assert private.log_observers(publisher) == [print]
    assert private.log_observers(cast(Any, object())) == []
