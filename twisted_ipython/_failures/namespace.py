"""
Failures that nobody handles, of Deferreds and tasks that a cell bound to a name.

The goal.  A Deferred or task that failed, and that a variable holds so that it
is never collected, is reported as soon as it is clear that nobody handles it.

What fails.  A callback of ours on the user's Deferred would be one of its
callbacks, run before those that the user adds later, and would have to be
added anew after each of them.  Twisted and asyncio both note whether anybody
has handled a failure, but say so only when the Deferred or task is collected.

What we do.  After each statement of a cell the names that its code uses are
checked, and after the cell the latest of the namespace.  What is pending, or has
failed, is then polled from the reactor thread, a few times a second, by reading
what Twisted or asyncio notes; nothing is added to it.  What has been in that
state for `GRACE` seconds is reported, unless the cell still runs and will use
the name, and noted as handled: it is still there for whoever awaits it, or adds
a callback, later.

What can still go wrong.  What is in a list, or is an attribute, is reported
when it is collected, as ever.  A name that code elsewhere binds anew (a function
with ``global``) is found after a cell before which something has failed, or at
the process's end.

Thread: cell, and the reactor's for what is polled.
"""

from __future__ import annotations

import weakref
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from functools import partial
from itertools import islice
from types import CodeType, FunctionType, ModuleType, NoneType
from typing import Any, Final, NamedTuple

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from twisted.internet.defer import Deferred
from twisted.python import failure
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import NO_WORK, current_work, new_work, set_work
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._failures.reports import Reports
from twisted_ipython._failures.running_cell import RunningCell
from twisted_ipython._failures.unawaited import Unawaited
from twisted_ipython._private.asyncio import LOG_TRACEBACK
from twisted_ipython._private.twisted import mark_handled, runs_callbacks, unhandled_failure

# Seconds between two polls.
_POLL_INTERVAL: Final = 0.4
# How many of the latest names are checked after each cell: what a function or ``%run`` binds
# is among them, and so are the few that IPython adds.
_LATEST: Final = 16

# What most names hold: each cell pays for looking.
_NEVER: Final = frozenset((FunctionType, ModuleType, NoneType, dict, float, int, list, str, type))

NOBODY_WAITS: Final = "{name}, a {kind}{of_cell}, failed{ago}, and nobody waits for it:"


def _is_unhandled(held: Any) -> bool:
    """Whether it has failed and nobody has handled that: it would say so when collected."""
    if isinstance(held, Future):
        return bool(getattr(held, LOG_TRACEBACK, False))
    return held.called and not held.paused and unhandled_failure(held) is not None


def is_pending(held: Any) -> bool:
    """Whether a Deferred or a future has not come to the end of its work.  Thread: any."""
    if isinstance(held, Future):
        return not held.done()
    # It has a result a moment after it was called.
    waits = isinstance(getattr(held, "result", held), Deferred)
    return not held.called or held.paused or waits or runs_callbacks(held)


def _may_fail(held: Any) -> bool:
    """Whether it is pending or has failed."""
    if isinstance(held, Future):
        return is_pending(held) or _is_unhandled(held)
    # Whether somebody has handled it can be told in the reactor thread only.
    return is_pending(held) or isinstance(held.result, Failure)


class _Named(NamedTuple):
    """A Deferred or a future, while it exists; its name, what it is, and whose cell's it is."""

    held: weakref.ref[Any]
    name: str
    kind: str
    context: Context
    cell: RunningCell


class Watch:
    """
    Deferreds and futures of the reactor's loop that the cells of one shell bound to names.

    Args:
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
        self._polled: dict[int, _Named] = {}
        self._polls = False
        self._unawaited = Unawaited()
        # How many failures Twisted had made when a cell ended last.
        self._failures = failure.count

    def check_statement(self, code: CodeType, cell: RunningCell) -> None:
        """After a statement: check the names that its code uses.  Thread: any."""
        cell.done += 1
        get = self._shell.user_ns.get
        bound = [(name, get(name)) for name in code.co_names]
        self._unawaited.note(bound, code, cell)
        found = self._new(bound, cell)
        if found:
            self._call(self._add, found)

    def check_cell(self, result: ExecutionResult) -> None:
        """After a cell: check its value, and what was bound elsewhere.  Thread: cell."""
        self._unawaited.check()
        counted = result.info is None or result.info.store_history
        number = (result.execution_count or 0) if counted else current_work().cell
        value = f"Out[{number}]" if counted else "_"
        failed, self._failures = self._failures != failure.count, failure.count
        # In one go, or it would fail when another thread binds a name.
        names = self._shell.user_ns
        latest = [*names] if failed else [*islice(reversed(names), _LATEST)]
        bound = [(value, result.result), *[(name, names.get(name)) for name in latest]]
        found = self._new(bound, RunningCell())
        if found and current_work() == NO_WORK:  # a kernel may end cells elsewhere
            found[0].context.run(set_work, new_work(number))
        if found:
            self._call(self._add, found)

    def _new(self, bound: Iterable[tuple[str, Any]], cell: RunningCell) -> list[_Named]:
        """What is to be polled of what names hold, all with one context."""
        context = copy_context()
        return [
            _Named(weakref.ref(held), name, kind, context, cell)
            for name, held in bound
            if type(held) not in _NEVER
            and (kind := kind_of(type(held)))
            and _may_fail(held)
            and self._is_new(held)
        ]

    def _is_new(self, held: Any) -> bool:
        """Whether it is to be polled, and is not."""
        if isinstance(held, Future) and held.get_loop() is not self._loop:
            return False
        known = self._polled.get(id(held))
        return known is None or known.held() is not held

    # ---- in the reactor thread

    def _add(self, found: list[_Named]) -> None:
        for one in found:
            held = one.held()
            pays = held is not None and (is_pending(held) or _is_unhandled(held))
            if pays and self._is_new(held):
                self._polled[id(held)] = one
        if not self._polls:
            self._poll()

    def check_all(self) -> None:
        """Before the process ends: find which failed, also in silent cells.  Thread: reactor."""
        self._add(self._new([*self._shell.user_ns.items()], RunningCell()))
        self._check()

    def _check(self) -> None:
        for key, one in list(self._polled.items()):
            held = one.held()
            if held is not None and is_pending(held):
                continue
            del self._polled[key]
            if held is not None and _is_unhandled(held):
                self._reports.unless_seen(partial(self._report, one))

    def _poll(self) -> None:
        self._check()
        self._polls = bool(self._polled) and self._reports.active
        if self._polls:
            self._later(_POLL_INTERVAL, self._poll)

    def _report(self, one: _Named) -> None:
        """Report what had failed a while ago, if nobody has handled it since."""
        held = one.held()
        if held is None:
            return
        if not _is_unhandled(held) or not self._reports.active or one.cell.will_use(one.name):
            self._add([one])
            return
        ago = ""
        if isinstance(held, Future):
            error = held.exception()  # which notes that somebody has seen it
            assert error is not None
        else:
            failed = unhandled_failure(held)
            assert failed is not None
            mark_handled(held, failed)
            error = exception_of(failed)
            ago = self._reports.ago(failed.count)  # asyncio counts none
        words = {"name": one.name, "kind": one.kind, "ago": ago and f" {ago}"}
        head = NOBODY_WAITS.format(**words, of_cell="{of_cell}")
        self._reports.report(error, head, one.context)


def kind_of(kind: type) -> str | None:
    """What instances are, in a word, if they are of what is watched.  Thread: any."""
    # Not by `isinstance`: it asks proxies, and is slow for an abstract base class.
    bases = kind.__mro__
    if Deferred in bases:
        return "Deferred"
    if Future in bases:
        return "task" if Task in bases else "future"
    return None
