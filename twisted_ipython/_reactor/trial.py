"""
Trial in a cell: each test fails at once, and the session's reactor is left alone.

What fails.  A test case of trial's (whoever runs it) ends by turning the
reactor itself, which stops asyncio's for good, and by taking off it everything
that it waits for; a run of trial's ends by firing the shutdown.

What we do.  The reactor is first asked for the timer of the test's time limit,
once ``setUp`` has begun: that fails with `CasesRefused` then, which trial takes
as a failed test and as the user's wish to run no further ones.  The methods that do
harm are set on the one reactor instance, for the reactor's own code only; trial
is told that there is nothing to clean, and that the shutdown was fired.  (An
exception there would leave the process in trial's folder.)  Refusing only those
would be simpler, but trial would have run its tests by then, and taken
`reactor.stop` of ours off the instance: the next stop would be the real one.

Thread: any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final, NoReturn

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred

from twisted_ipython._base.instance import override
from twisted_ipython._private.twisted import STOP_THREAD_POOL, shutdown_of_trial

__all__ = [
    "CASES",
    "METHODS",
    "is_cleaning",
    "is_trials",
    "refuse_all",
    "refuse_case",
    "refuse_cases",
    "refuse_others",
]

REFUSED: Final = (
    "trial would stop and empty the reactor of this session. Run the tests in a child process:"
    " !python -m twisted.trial NAME"
)
FOR_REACTOR: Final = (
    "reactor.{name}() would stop or empty the reactor of this session: only the reactor itself"
    " calls it, and trial, whose tests are to be run in a child process"
)
# What only the reactor itself calls; the last is no method of any interface.
METHODS: Final = ("disconnectAll", "fireSystemEvent", "iterate", "removeAll", STOP_THREAD_POOL)
# The module of what a test case has called at its time limit.
CASES: Final = "twisted.trial._asynctest"


class CasesRefused(KeyboardInterrupt):
    """What ends a run of test cases: they take it as Ctrl-C."""


def refuse_case(limit: Callable[..., object], step: Deferred[Any]) -> DelayedCall:
    """
    Have a test case fail.

    Args:
        limit: what it has called at its time limit.
        step: what has begun of it.

    Returns:
        a call that is not pending.

    Thread: reactor.
    """
    if step.called:
        step.addCallback(_fail)
    else:
        step.errback(CasesRefused(REFUSED))
    call = DelayedCall(0, limit, (step,), {}, _ignore, _ignore, lambda: 0.0)
    call.cancelled = True
    return call


def _ignore(_: DelayedCall) -> None:
    """Nothing runs this call."""


def _fail(_: object) -> None:
    raise CasesRefused(REFUSED)


def is_cleaning() -> bool:
    """Whether trial asks what is left after a test.  Call in a method of the reactor."""
    return _module(_caller()) == "twisted.trial.util"


def is_trials() -> bool:
    """Whether trial calls, by way of what it puts around a method.  Call in that method."""
    frame: FrameType | None = _caller()
    while frame is not None and _module(frame).startswith("twisted.python."):
        frame = frame.f_back
    return frame is not None and _module(frame).startswith("twisted.trial.")


def refuse_others(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    """The method of that name, for the reactor's own code only."""

    def method(*args: Any, **kwargs: Any) -> Any:
        caller = _caller()
        module = _module(caller)
        if name == "fireSystemEvent" and module == "twisted.trial.runner":
            return _end_run(caller)
        if module.startswith("twisted.trial."):
            return []
        # asyncio's reactor ends after one turn, whoever asks for it.
        if name != "iterate" and module.startswith("twisted.internet."):
            return own(*args, **kwargs)
        return _refuse(name)

    return method


def refuse_all(name: str, _: object) -> Callable[..., NoReturn]:
    """The method of that name, for nobody."""
    return partial(_refuse, name)


def refuse_cases(own: Callable[..., DelayedCall]) -> Callable[..., DelayedCall]:
    """``reactor.callLater``, which trial's time limits do not get to."""

    def call_later(
        delay: float, callable: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> DelayedCall:
        if getattr(callable, "__module__", None) == CASES:
            return refuse_case(callable, *args)
        return own(delay, callable, *args, **kwargs)

    return call_later


def _refuse(name: str, *_: object, **__: object) -> NoReturn:
    raise RuntimeError(FOR_REACTOR.format(name=name))


def _end_run(bail: FrameType) -> None:
    """Let a run go on that waits for the shutdown, by the Deferred that its trigger would fire."""
    ended = shutdown_of_trial(bail)
    if ended is None:
        _refuse("fireSystemEvent")
    ended.callback(None)
    override(ended, {"callback": lambda _: None})  # when the process ends


def _caller() -> FrameType:
    """The frame that called the method."""
    frame = sys._getframe(1)
    while _module(frame).startswith("twisted_ipython") and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
