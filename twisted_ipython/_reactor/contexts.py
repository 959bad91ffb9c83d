"""
Later work runs in the context of who asked for it, which decides where it prints.

ipykernel keeps the cell that output belongs to in context variables.  asyncio
captures contexts by itself, and so do our timers and `_reactor.thread_pool`;
here is the rest:

- a connection is served in the context in which its reactor first heard of it,
  whoever writes to it, pauses or closes it later: that of the cell that opened
  it, and for an accepted one that of the cell that listens;
- a process protocol hears of its process's end in the context of who started
  the process; crochet looks for ended children from its own;
- a LoopingCall has neither a context nor, while it waits for the Deferred of its
  own function, a timer by which it could be found.  But its `start` asks the
  reactor for the time, in the context of who starts it: there it is noted, and
  there it stays.

A reactor without an asyncio loop captures no contexts: there timers, calls from
other threads and events of connections are put into theirs too.

What stays: a callback added to a Deferred runs where the Deferred is fired.
What Twisted's one cooperator (`task.coiterate`, `cooperate`) steps may run in
the context of another's step.

All is set on instances: the reactor, by `_reactor.overrides`, and each process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, Self
from weakref import WeakKeyDictionary, ref

from twisted.internet.task import LoopingCall

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import WorkId, current_work
from twisted_ipython._private.twisted import SCHEDULE, START, started_in

# The attribute of a connection that holds its context: a table beside them would keep
# alive each connection that something in its own context knows.
_CONTEXT: Final = "_twisted_ipython_context"


def keep_connection(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """``reactor.addReader`` or ``addWriter``, of which a loop captures the context."""

    def add(selectable: Any) -> None:
        context = getattr(selectable, _CONTEXT, None)  # at once: each write asks
        if context is None:
            context = _context_of(selectable)
        context.run(original, selectable)

    return add


def _context_of(selectable: Any) -> Context:
    """The context that a connection was first seen in.  Thread: reactor."""
    context: Context | None = getattr(selectable, _CONTEXT, None)
    if context is None:
        context = copy_context()
        with suppress(AttributeError):  # one with slots is served where it was added last
            setattr(selectable, _CONTEXT, context)
    return context


def opened_in(selectable: Any) -> Context | None:
    """The context in which a port or a connection was opened, if that is known.  Thread: any."""
    return getattr(selectable, _CONTEXT, None)


def keep_process(original: Callable[..., Any]) -> Callable[..., Any]:
    """``reactor.spawnProcess``; runs in the reactor thread."""

    def spawn_process(*args: Any, **kwargs: Any) -> Any:
        process = original(*args, **kwargs)
        override(process, {"processEnded": partial(copy_context().run, process.processEnded)})
        return process

    return spawn_process


# ---- on a reactor without a loop


class _Keeping(partial[Any]):
    """A function that runs in the context in which this was made, and is shown as what it is."""

    context: Context

    def __new__(cls, function: Callable[..., Any]) -> Self:
        kept = super().__new__(cls, function)
        kept.context = copy_context()
        return kept

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.context.run(super().__call__, *args, **kwargs)


def of_timer(call: Any) -> tuple[Callable[..., Any], Context | None]:
    """The function that a timer calls, and the context in which it was asked for.  Thread: any."""
    if isinstance(call.func, _Keeping):
        return call.func.func, call.func.context
    return call.func, getattr(call, "context", None)


def keep_timer(original: Callable[..., Any]) -> Callable[..., Any]:
    """``reactor.callLater``; runs in the reactor thread."""

    def call_later(delay: float, callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return original(delay, _Keeping(callable), *args, **kwargs)

    return call_later


def keep_call(original: Callable[..., None]) -> Callable[..., None]:
    """``reactor.callFromThread``; any thread."""

    def call_from_thread(callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        original(_Keeping(callable), *args, **kwargs)

    return call_from_thread


def keep_event(original: Callable[..., None]) -> Callable[..., None]:
    """What the reactor calls for an event of a connection; runs in the reactor thread."""

    def serve(selectable: Any, *event: Any) -> None:
        # A copy: code that runs in it may serve, and what it sets is its own.
        _context_of(selectable).copy().run(original, selectable, *event)

    return serve


class LoopingCalls:
    """
    The LoopingCalls that were started, by who started them; none is kept alive.

    Attributes:
        on_start: is called with each that is started, in any thread.
    """

    def __init__(self) -> None:
        self.on_start: list[Callable[[LoopingCall], object]] = []
        self._started: WeakKeyDictionary[LoopingCall, WorkId] = WeakKeyDictionary()

    def note(self, original: Callable[[], float]) -> Callable[[], float]:
        """``reactor.seconds``, which notes the LoopingCalls that are being started."""

        def seconds() -> float:
            caller = sys._getframe(1)
            if caller.f_code is START and (loop := started_in(caller)) is not None:
                self._started[loop] = current_work()
                _stay_here(loop)
                for tell in self.on_start:
                    tell(loop)
            return original()

        return seconds

    def stop(self, work_id: WorkId) -> None:
        """Stop those that a cell or job started.  Thread: reactor."""
        for reference in self._started.keyrefs():
            loop = reference()
            if loop is not None and loop.running and self._started.get(loop) == work_id:
                loop.stop()


def _stay_here(loop: LoopingCall) -> None:
    """Have the loop ask for its next turn in this context."""
    # The class's own, as it may be started more than once.
    if (schedule := getattr(type(loop), SCHEDULE, None)) is not None:
        # Weakly: each connection of an endpoint's makes one, which its end is to free at once.
        run: Callable[..., object] = copy_context().run
        override(loop, {SCHEDULE: partial(run, _schedule, schedule, ref(loop))})


def _schedule(schedule: Callable[..., None], loop: ref[LoopingCall], when: float) -> None:
    schedule(loop(), when)
