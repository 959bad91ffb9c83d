"""
Which failures are nobody's: of Deferreds and tasks that a cell bound to a name, and asyncio's.

The goal.  A Deferred or task that failed, and that a variable holds so that it
is never collected, is reported as soon as it is clear that nobody looks.

What fails.  A callback of ours on the user's Deferred would be one of its
callbacks, run before those that the user adds later, and would have to be
added anew after each of them.  Twisted and asyncio both note whether anybody
has looked at a failure, but say so only when the Deferred or task is collected.

What we do.  After each cell the values of the namespace are looked through.
What is pending, or has failed, is then watched from the reactor thread, a few
times a second, by reading what Twisted or asyncio notes; nothing is added to
it.  What has been in that state for `GRACE` seconds is reported, and noted as
looked at: it is still there for whoever awaits it, or adds a callback, later.

What can still go wrong.  What is in a list, or is an attribute, is reported
when it is collected, as ever.  IPython's names for the text and the value of
each cell (``_i5``, ``_5``) are looked at once, since every cell would pay for
those of all cells before: to touch 400 names takes 0.1 ms when they are not in
the processor's cache.
"""

from __future__ import annotations

import logging
import traceback
import weakref
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from twisted.internet.defer import Deferred

from twisted_ipython._base.frames import is_user_frame
from twisted_ipython._base.work_id import NO_WORK, current_work, new_work, set_work
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._bridge.futures import FutureAwait, WrappedExit
from twisted_ipython._failures.logs import is_shown_by_logging
from twisted_ipython._failures.names import Names
from twisted_ipython._failures.reports import Reports
from twisted_ipython._private.asyncio import LOG_TRACEBACK
from twisted_ipython._private.twisted import mark_handled, unhandled_failure

__all__ = ["Watch", "attach", "is_pending", "kind_of"]

# Seconds between two looks at what is watched.
_LOOK: Final = 0.4
# What most names hold, to be passed over quickly.
_DULL: Final = frozenset(
    {type(None), bool, int, float, str, bytes, list, tuple, dict, set, type}
    | {BuiltinFunctionType, FunctionType, MethodType, ModuleType}
)

NOBODY_WAITS: Final = "{name}, a {kind}{of_cell}, failed, and nobody waits for it:"
ASYNCIO: Final = "Failure{of_cell}: {message}"


# ---- what names hold


def _is_unhandled(held: Any) -> bool:
    """Whether it has failed and nobody has looked, by what it says of it when collected."""
    if isinstance(held, Future):
        return bool(getattr(held, LOG_TRACEBACK, False))
    return held.called and not held.paused and unhandled_failure(held) is not None


def is_pending(held: Any) -> bool:
    """Whether a Deferred or a future has not come to the end of its work.  Any thread."""
    if isinstance(held, Future):
        return not held.done()
    return not held.called or held.paused or isinstance(held.result, Deferred)


def _take(held: Any) -> BaseException:
    """Note that its failure has been looked at; gives the exception."""
    if isinstance(held, Future):
        error = held.exception()
        assert error is not None
        return error
    failure = unhandled_failure(held)
    assert failure is not None
    mark_handled(held, failure)
    return exception_of(failure)


class _Named(NamedTuple):
    """
    What a name holds.

    Attributes:
        held: the Deferred or the future, while it exists.
        name: the name.
        kind: what it is, in a word.
        context: of the cell.
    """

    held: weakref.ref[Any]
    name: str
    kind: str
    context: Context


def _named(name: str, held: Any, context: Context) -> _Named:
    return _Named(weakref.ref(held), name, kind_of(type(held)) or "", context)


class Watch:
    """
    Deferreds and asyncio's futures that the cells of one shell bound to names.

    Args:
        shell: the shell.
        reports: what shows failures.
        loop: the reactor's loop, or None; futures of other loops are left alone.
        call: calls a function in the reactor thread soon; any thread.
        later: the same after a number of seconds; in the reactor thread.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        reports: Reports,
        loop: AbstractEventLoop | None,
        call: Callable[..., object],
        later: Callable[..., object],
    ) -> None:
        self._shell = shell
        self._reports = reports
        self._loop = loop
        self._call = call
        self._later = later
        # By the id of what is held.
        self._watched: dict[int, _Named] = {}
        self._looks = False
        self._names = Names()

    def look_through(self, result: ExecutionResult) -> None:
        """After a cell: find what its names hold, and its value.  In the cell thread."""
        number = result.execution_count or 0
        bound = self._names.bound(self._shell.user_ns)
        found = self._new([(f"Out[{number}]", result.result), *bound])
        if found:
            context = copy_context()
            if current_work() == NO_WORK:  # a kernel may end cells elsewhere
                context.run(set_work, new_work(number))
            self._call(self._add, [_named(*one, context) for one in found])

    def _new(self, bound: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """What is to be watched of what names hold."""
        types = {type(held) for _, held in bound} - _DULL
        kinds = {one for one in types if kind_of(one) is not None}
        if not kinds:
            return []
        return [one for one in bound if type(one[1]) in kinds and self._is_new(one[1])]

    def _is_new(self, held: Any) -> bool:
        """Whether it is to be watched, and is not."""
        if isinstance(held, Future) and held.get_loop() is not self._loop:
            return False
        if not (is_pending(held) or _is_unhandled(held)):
            return False
        watched = self._watched.get(id(held))
        return watched is None or watched.held() is not held

    # ---- in the reactor thread

    def _add(self, found: list[_Named]) -> None:
        for one in found:
            held = one.held()
            if held is not None and self._is_new(held):
                self._watched[id(held)] = one
        if not self._looks:
            self._look()

    def look_last(self) -> None:
        """Before the process ends: find which have failed, also in cells without events."""
        context = copy_context()
        self._add([_named(*one, context) for one in self._new([*self._shell.user_ns.items()])])
        self._look_once()

    def _look_once(self) -> None:
        for key, one in list(self._watched.items()):
            held = one.held()
            if held is not None and is_pending(held):
                continue
            del self._watched[key]
            if held is not None and _is_unhandled(held):
                self._reports.unless_seen(partial(self._judge, one))

    def _look(self) -> None:
        self._look_once()
        self._looks = bool(self._watched) and self._reports.active
        if self._looks:
            self._later(_LOOK, self._look)

    def _judge(self, one: _Named) -> None:
        """Report what had failed a while ago, if nobody has looked at it since."""
        held = one.held()
        if held is not None and _is_unhandled(held) and self._reports.active:
            head = NOBODY_WAITS.format(name=one.name, kind=one.kind, of_cell="{of_cell}")
            self._reports.report(_take(held), head, one.context)
        elif held is not None:
            self._add([one])


def kind_of(kind: type) -> str | None:
    """What instances are, in a word, if they are of what is watched."""
    # Not by `isinstance`: it asks proxies, and is slow for an abstract base class.
    bases = kind.__mro__
    if Deferred in bases:
        return None if FutureAwait in bases else "Deferred"
    if Future in bases:
        return "task" if Task in bases else "future"
    return None


# ---- asyncio's


def attach(loop: AbstractEventLoop, reports: Reports, *, ours: bool = True) -> Callable[[], None]:
    """
    Show what asyncio reports of handles, and of tasks that nobody looked at.

    Any thread.  A loop that has an exception handler of somebody's keeps it.

    Args:
        loop: the loop.
        reports: what shows failures.
        ours: whether it is the reactor's; of another, which others work on too,
            only failures of the user's code are shown.

    Returns:
        what takes ours off.
    """
    if loop.get_exception_handler() is not None:
        return lambda: None
    logger = logging.getLogger("asyncio")

    def take(loop: AbstractEventLoop, told: dict[str, Any]) -> None:
        """What asyncio calls an exception handler.  In the loop's thread."""
        error: Any = told.get("exception")
        context = _context_of(told)
        shown = error is None or is_shown_by_logging(logger, logging.ERROR)
        shown = shown or not (ours or _is_users(error))
        if shown or not reports.active or logger.hasHandlers():  # these only keep it
            # A copy, since Python 3.12 and later have entered it.
            context.copy().run(loop.default_exception_handler, told)
        if not shown:
            error = error.error if isinstance(error, WrappedExit) else error
            head = ASYNCIO.replace("{message}", str(told.get("message", "")))
            reports.report(error, head, context)

    loop.set_exception_handler(take)

    def undo() -> None:
        if loop.get_exception_handler() is take:
            loop.set_exception_handler(None)

    return undo


def _is_users(error: BaseException) -> bool:
    """Whether an exception went through the user's code."""
    return any(is_user_frame(frame) for frame, _ in traceback.walk_tb(error.__traceback__))


def _context_of(told: dict[str, Any]) -> Context:
    """The context of what failed; that in which asyncio tells it, if that is not known."""
    thing = told.get("task") or told.get("future") or told.get("handle")
    context = None
    if isinstance(thing, Task):
        tells = getattr(thing, "get_context", None)  # since Python 3.12
        context = None if tells is None else tells()
        thing = thing.get_coro()  # that of a task of ours has it
    context = getattr(thing, "_context", context)
    return context if isinstance(context, Context) else copy_context()
