"""
What Twisted keeps private, as seen in Twisted 24.10 to 26.10: names, and locals of its frames.

Each says what is done without its name.

Thread: any, unless a function says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.defer import DebugInfo, Deferred
from twisted.internet.task import LoopingCall, react
from twisted.logger import LogPublisher
from twisted.python.failure import Failure

from twisted_ipython._private.asyncio import code_of

# ---- Deferreds and what drives coroutines

# What drives a coroutine.  Without: asyncio's own words where it has no task.
DRIVER: Final = code_of(defer, "_inlineCallbacks")
# Its local that has the context, and those of ours.  Without: the current context.
DRIVER_LOCALS: Final = ("context", "call", "self")
# What the deprecated `returnValue` raises.  Without: nothing raises it.
RETURNS: Final[Any] = getattr(defer, "_DefGen_Return", ())


class _Shown(DebugInfo):
    """
    What logs a Deferred's failure when it is collected, less one that was handled.

    Awaiting counts as handling but leaves the failure in place for the next await.
    """

    def __init__(self, handled: Failure) -> None:
        self._handled = handled
        self._failure: Failure | None = None

    @property
    def failResult(self) -> Failure | None:
        """The failure that nobody has handled."""
        return self._failure

    @failResult.setter
    def failResult(self, failure: Failure | None) -> None:
        self._failure = None if failure is self._handled else failure


def mark_handled(deferred: Deferred[Any], failure: Failure) -> Failure | None:
    """Let an awaited failure stay unlogged; None if an errback follows, which handles it."""
    shown = _Shown(failure)
    # With Deferred.debug: who made it, who fired it.  Without it, Twisted would log the failure.
    if (before := getattr(deferred, "_debugInfo", None)) is not None:
        before.failResult = None  # what is replaced would log it, if it has failed
        shown.__dict__.update(before.__dict__)
    deferred._debugInfo = shown
    return None if _has_errbacks(deferred) else failure


def unhandled_failure(deferred: Deferred[Any]) -> Failure | None:
    """The failure that a Deferred would log; without, it does when it is collected."""
    failure: Failure | None = getattr(getattr(deferred, "_debugInfo", None), "failResult", None)
    return failure


def _callbacks(deferred: Deferred[Any]) -> list[Any]:
    """Its callbacks: `callbacks`, which 26.10 deprecates; without, none."""
    found: list[Any] = getattr(deferred, "_callbacks", None) or vars(deferred).get("callbacks", [])
    return found


def runs_callbacks(deferred: Deferred[Any]) -> bool:
    """Whether one of its callbacks runs.  Without: no, and a failure may be shown later."""
    return bool(getattr(deferred, "_runningCallbacks", False))


def goes_on(deferred: Deferred[Any]) -> bool:
    """Whether callbacks take the result."""
    return bool(_callbacks(deferred))


def _has_errbacks(deferred: Deferred[Any]) -> bool:
    """Whether an errback, no driver's, Deferred's or ours, takes the failure next; without, no."""
    # AMP adds one for what nobody handles.
    errbacks = [item[1][0] for item in _callbacks(deferred)]
    modules = [str(getattr(one, "__module__", "")) for one in errbacks]
    return any(not one.startswith((defer.__name__, "twisted_ipython.")) for one in modules)


def call_first(deferred: Deferred[Any], callback: Callable[[Any], Any]) -> None:
    """Add a callback before all others; without, behind them.  Thread: reactor."""
    callbacks = _callbacks(deferred)
    others = callbacks.copy()
    callbacks.clear()
    deferred.addBoth(callback)
    callbacks.extend(others)


def waits_of(deferred: Deferred[Any]) -> Iterator[tuple[Any, Deferred[Any], Deferred[Any]]]:
    """Coroutines that a Deferred waits for, what each awaits, its Deferred.  Thread: reactor."""
    parts: list[Any] = []
    if isinstance(chained := getattr(deferred, "result", None), Deferred):
        parts = [chained]
    elif not deferred.called:
        parts = getattr(deferred, "_deferredList", parts)
        for cell in getattr(getattr(deferred, "_canceller", None), "__closure__", None) or ():
            if isinstance(waited := getattr(cell.cell_contents, "waitingOn", None), Deferred):
                parts = [waited]
                for (_, args, _), _ in _callbacks(waited):
                    if cell.cell_contents in args[2:3]:
                        yield args[1], waited, deferred
    for part in parts:
        yield from waits_of(part)


# The attributes of factories and protocols that hold what they wrap: of policies and TLS, and
# of endpoints.  Without: the wrapper is named.
WRAPPED: Final = ("wrappedFactory", "wrappedProtocol", "_wrappedFactory", "_wrappedProtocol")


# ---- the reactor

# What a reactor on epoll, poll or select calls for each event.  Without: what
# was added is served in the loop's context of that moment, or in no cell's.
SERVE: Final = "_doReadOrWrite"
STOP_THREAD_POOL: Final = "_stopThreadPool"
# Whether a reactor ran before.  Without: one that has stopped is said not to run.
STARTED_BEFORE: Final = "_startedBefore"
# A reactor's loop.  Without: a script's tasks are not ended with it.
LOOP: Final = "_asyncioEventloop"
# What `task.cooperate` adds to, and what an endpoint put its own protocol around.
# Without: plain cells do not borrow for it.
COOPERATOR: Final = "_theCooperator"
WRAPPED_PROTOCOL: Final = "_wrappedProtocol"
# Where an idle thread of the pool waits.  Without: it counts as one that works.
POOL_WORKER: Final = "/twisted/_threads/_threadworker.py"


def is_stopping(reactor: Any) -> bool:
    """Whether it was told to stop: `running` stays true until all triggers have run."""
    return bool(getattr(reactor, "_stopped", not reactor.running))


# ---- frames

# What asks for a LoopingCall's next turn.  Without: it goes on in the context that fires it.
SCHEDULE: Final = "_scheduleFrom"
START: Final = code_of(LoopingCall, "start")


def started_in(frame: FrameType) -> LoopingCall | None:
    """The LoopingCall that a frame starts; without, none is noted for its work."""
    loop = frame.f_locals.get("self") if frame.f_code is START else None
    return loop if isinstance(loop, LoopingCall) else None


def awaited_by_react(frame: FrameType) -> Deferred[Any] | None:
    """What `react` waits for, if the frame is its; without, it is not cancelled."""
    ends = frame.f_locals.get("finished") if frame.f_code is react.__code__ else None
    return ends if isinstance(ends, Deferred) else None


def failure_of_react(frame: FrameType) -> Failure | None:
    """What made `react` stop the reactor, which it only logs; without, its exit with 1."""
    if frame.f_code not in react.__code__.co_consts:
        return None
    result = frame.f_locals.get("result")
    return result if isinstance(result, Failure) else None


def shutdown_of_trial(frame: FrameType) -> Deferred[Any] | None:
    """What a run of trial's waits for after it asked for the shutdown; without, it is refused."""
    ended = frame.f_locals.get("d")
    return ended if isinstance(ended, Deferred) else None


# ---- the log


def log_observers(publisher: LogPublisher) -> list[object]:
    """What a publisher gives its events to.  Without: none is known, and events come twice."""
    return [*getattr(publisher, "_observers", ())]
