"""Who started LoopingCalls, and contexts without a loop: `_reactor.contexts`, on a Clock."""

from __future__ import annotations

import gc
from contextvars import copy_context
from weakref import ref

import pytest
from reactor_thread import reactor
from twisted.internet.task import Clock, LoopingCall

from twisted_ipython._base.work_id import WorkId, current_work, new_work, set_work
from twisted_ipython._reactor.contexts import LoopingCalls, keep_timer, of_timer


@pytest.fixture(scope="module", autouse=True)
def running() -> None:
    """The reactor of the process is asyncio's: a LoopingCall would install another one."""
    reactor()


def started(loops: LoopingCalls, clock: Clock, work_id: WorkId, seen: list[WorkId]) -> LoopingCall:
    """A LoopingCall that work starts on a Clock."""
    loop = LoopingCall(lambda: seen.append(current_work()))
    loop.clock = clock
    context = copy_context()
    context.run(set_work, work_id)
    context.run(loop.start, 1, now=False)
    return loop


def test_looping_calls() -> None:
    """They are told of, run in the context of who started them, and are stopped with the work."""
    loops, clock, seen = LoopingCalls(), Clock(), list[WorkId]()
    told: list[LoopingCall] = []
    loops.on_start.append(told.append)
    clock.seconds = loops.note(clock.seconds)  # type: ignore[method-assign]
    clock.callLater = keep_timer(clock.callLater)  # type: ignore[method-assign]
    one, two = new_work(1), new_work(1)
    first, second = (started(loops, clock, work_id, seen) for work_id in (one, two))
    assert told == [first, second]
    clock.advance(1)
    assert sorted(seen) == [one, two]
    loops.stop(one)
    assert (first.running, second.running) == (False, True)


def test_one_that_ended_is_gone() -> None:
    """Nothing holds one that was stopped, so it is freed without a collection of garbage."""
    loops, clock = LoopingCalls(), Clock()
    clock.seconds = loops.note(clock.seconds)  # type: ignore[method-assign]
    gc.disable()
    try:
        loop = started(loops, clock, new_work(1), [])
        clock.advance(1)
        loop.stop()
        reference = ref(loop)
        del loop
        assert reference() is None
    finally:
        gc.enable()


def test_timers() -> None:
    """A timer's function runs in the context of who asked for it, which can be told of it."""
    clock, work_id, seen = Clock(), new_work(1), list[WorkId]()
    context = copy_context()
    context.run(set_work, work_id)
    function = lambda: seen.append(current_work())  # noqa: E731
    call = context.run(keep_timer(clock.callLater), 1, function)
    assert of_timer(call)[0] is function
    clock.advance(1)
    assert seen == [work_id]
