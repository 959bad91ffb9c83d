"""
What is set on the instances of the reactor, its thread pool and its loop.

Several modules have something to say about one method, and the order matters.
Each gives wrappers: functions that take a method and return what stands for it.
Here they are put together, name by name, the innermost first, so that who reads
the tables sees what a call goes through.  Upper folders put theirs
around these when the extension is loaded (`LAYERS`).

What stops or empties the reactor is for its own code alone.  A test case of
trial's would end by that: in a cell it fails, when its own code has run.  A run
of trial's is told that the shutdown was fired: an exception there would leave
the process in trial's folder.

Thread: any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial, reduce
from types import FrameType
from typing import Any, Final

from twisted_ipython._base.frames import callers, module_of
from twisted_ipython._base.instance import override
from twisted_ipython._private.twisted import SERVE, STOP_THREAD_POOL, shutdown_of_trial
from twisted_ipython._reactor import contexts
from twisted_ipython._reactor.delayed_calls import Timers, refuse_blocking_calls

Wrapper = Callable[[Any], Callable[..., Any]]
Table = Mapping[str, Sequence[Wrapper]]

# From the inside out; what the folders set, each once.
LAYERS: Final = ("_reactor", "_scripts", "_magics", "_plain")
WRONG_ORDER: Final = "What {layer} sets on the reactor has to be set before what {last} sets"
REFUSED: Final = (
    "reactor.{name}() would stop or empty the reactor of this session, so only the reactor itself"
    " calls it. Run trial's tests in a child process: !python -m twisted.trial NAME"
)
# What only the reactor itself calls; the last is no method of any interface.
FOR_REACTOR_ONLY: Final = (
    "disconnectAll",
    "fireSystemEvent",
    "iterate",
    "removeAll",
    STOP_THREAD_POOL,
)


class Overrides:
    """What is set on the instances, layer upon layer."""

    def __init__(self) -> None:
        self._layers: list[int] = [0]

    def add(self, layer: str, *tables: tuple[object, Table]) -> Callable[[], None]:
        """
        Set what wraps the methods of instances.

        Args:
            layer: one of `LAYERS`, not below those that are set.
            tables: for each instance the wrappers by a method's name, the innermost
                first; a method that the instance lacks is left out.

        Returns:
            What takes it off.

        Thread: any.
        """
        number, last = LAYERS.index(layer), self._layers[-1]
        if number < last:
            raise ValueError(WRONG_ORDER.format(layer=layer, last=LAYERS[last]))
        self._layers.append(number)
        with ExitStack() as undo:
            undo.callback(self._layers.remove, number)
            for instance, table in tables:
                methods = {
                    name: reduce(lambda method, wrap: wrap(method), table[name], method)
                    for name in table
                    if (method := getattr(instance, name, None)) is not None
                }
                undo.callback(override(instance, methods))
            return undo.pop_all().close


def replacement(method: Callable[..., Any]) -> Wrapper:
    """A wrapper that calls ``method`` and not what it wraps."""
    return lambda _: method


def of_reactor(timers: Timers | None, loops: contexts.LoopingCalls) -> Table:
    """What this folder sets on the reactor, which has timers if it runs on a loop.  Thread: any."""
    table: dict[str, Sequence[Wrapper]] = {
        "seconds": [loops.note],
        "addReader": [contexts.keep_connection],
        "addWriter": [contexts.keep_connection],
        "spawnProcess": [contexts.keep_process],
        **{name: [partial(_refuse_others, name)] for name in FOR_REACTOR_ONLY},
    }
    return table | of_timers(timers)


def of_timers(timers: Timers | None) -> dict[str, Sequence[Wrapper]]:
    """What calls functions later; on a loop, each in its context.  Thread: any."""
    if timers is None:
        return {
            # What epoll, poll and select call for each event; a reactor on a loop that does
            # not run yet has none.
            SERVE: [contexts.keep_event],
            "callLater": [contexts.keep_timer],
            "callFromThread": [contexts.keep_call, refuse_blocking_calls],
        }
    return {
        "callLater": [replacement(timers.call_later)],
        "getDelayedCalls": [replacement(timers.delayed_calls)],
        "callFromThread": [replacement(timers.call_from_thread), refuse_blocking_calls],
    }


def _refuse_others(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    """The method of that name, for the reactor's own code only."""

    def method(*args: Any, **kwargs: Any) -> Any:
        caller = _caller()
        module = module_of(caller)
        # asyncio's reactor ends after one turn, whoever asks for it.
        if name != "iterate" and module.startswith("twisted.internet."):
            return own(*args, **kwargs)
        if name != "fireSystemEvent" or module != "twisted.trial.runner" or not _end_run(caller):
            raise RuntimeError(REFUSED.format(name=name))
        return None

    return method


def _end_run(bail: FrameType) -> bool:
    """Let a run go on that waits for the shutdown, by the Deferred that its trigger would fire."""
    ended = shutdown_of_trial(bail)
    if ended is not None:
        ended.callback(None)
        override(ended, {"callback": lambda _: None})  # when the process ends
    return ended is not None


def is_asked_by_trial() -> bool:
    """Whether trial calls.  Call in a method of the reactor."""
    return module_of(_caller()).startswith("twisted.trial.")


def _caller() -> FrameType:
    """The frame that called the method."""
    frames = callers(sys._getframe(1))
    return next(frame for frame in frames if not module_of(frame).startswith("twisted_ipython"))
