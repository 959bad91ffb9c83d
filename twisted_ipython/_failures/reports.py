"""
A failure that nobody handles is shown once, in the cell whose work it was.

The goal.  What fails in the background is seen at once, as IPython shows an
error of a cell, below the cell that started the work.

What fails.  IPython's own ``showtraceback`` is made for the cell that runs: it
overwrites what ``%tb`` and ``%debug`` read, and in a kernel that cell's reply.
A Deferred's failure is noticed when it is collected, in any thread.

What we do.  Each failure goes to the reactor thread, with the context in which
it was noticed, and is formatted there by a copy of IPython's formatter.  An
exception that was shown is marked, so that what else holds it (a Deferred, a log
record) shows nothing.  Of failures that are alike (of the same work, kind and
lines of code) the first is shown in full, and then a line that counts.  What has
failed when the reactor stops is shown before.

What can still go wrong.  What failed in a context of no cell is shown in the cell that
began last.  While something holds the reactor thread, nothing is shown.

Thread: any; shown in the reactor's.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.exceptions import ReactorInterrupt
from twisted_ipython._base.formatting import one_line, say
from twisted_ipython._base.work_id import NO_WORK, current_work
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._failures.alike import MORE, Alike, Tell, of_cell, sort_of

# Seconds in which somebody may still handle a failure.
GRACE: Final = 0.5
# How many failures of a cell are shown in full in each stretch of so many seconds.
_SHOWN: Final = 10
_STRETCH: Final = 1.0
# How many failures are remembered for what is like them.
_KINDS: Final = 100
# How long the line above a traceback may be.
_HEAD: Final = 200

CANCELLATIONS: Final = (CancelledError, asyncio.CancelledError, ReactorInterrupt)

_Show = Callable[[BaseException, str], None]


def mark_shown(error: BaseException) -> None:
    """Note that the user has seen an exception, and what it is about.  Thread: any."""
    with suppress(AttributeError):  # a slotted class
        error.__dict__["_twisted_ipython_shown"] = True
    inner = getattr(error, "subFailure", None)  # gatherResults: the Deferreds fail with this one
    if isinstance(inner, Failure):
        mark_shown(exception_of(inner))


def mark_unseen(error: BaseException) -> None:
    """Note that an exception is to be shown after all.  Thread: any."""
    getattr(error, "__dict__", {}).pop("_twisted_ipython_shown", None)


class Reports:
    """What shows failures; one in the process."""

    def __init__(self) -> None:
        self._shows: list[tuple[_Show, Tell]] = []
        self._alike: dict[object, Alike] = {}
        # How many failures each cell had in the stretch that began with the first of them.
        self._stretches: dict[int, int] = {}
        self._call: Callable[..., object] | None = None
        self._later: Callable[..., object] | None = None
        self._checks: dict[object, Callable[[], None]] = {}
        self._last_checks: list[Callable[[], None]] = []
        # Of the cell that began last.
        self.latest = Context()

    # ---- set-up

    def attach(
        self,
        call: Callable[..., object],
        later: Callable[..., object],
        ago: Callable[[int], str],
    ) -> None:
        """
        Show failures in the reactor thread.

        Args:
            call: calls a function in the reactor thread soon; any thread.
            later: the same after a number of seconds; in the reactor thread.
            ago: how long ago the failure with a number was made, if that is long.

        Thread: any.
        """
        self._call, self._later, self.ago = call, later, ago

    def add(self, show: _Show, tell: Tell = say) -> Callable[[], None]:
        """Show failures, and lines about them, on one more shell; gives the undo.  Thread: cell."""
        one = show, tell
        self._shows.append(one)
        return lambda: self._shows.remove(one)

    def at_end(self, check: Callable[[], None]) -> Callable[[], None]:
        """Look for failures before the process ends too; returns what undoes it.  Thread: cell."""
        self._last_checks.append(check)
        return lambda: self._last_checks.remove(check)

    @property
    def active(self) -> bool:
        """Whether failures can be shown: a shell has the extension.  Thread: any."""
        return bool(self._shows) and self._call is not None

    # ---- what is told

    def report(self, error: BaseException, head: str, context: Context | None = None) -> None:
        """
        Show an exception that nobody will see otherwise, soon.

        Nothing is shown of a cancellation, nor of an exception that was shown.

        Args:
            error: the exception.
            head: the line above it; ``{of_cell}`` stands for the words " of cell 5".
            context: of the cell that it belongs to; the current one if left out.

        Thread: any.
        """
        if isinstance(error, CANCELLATIONS) or not self.active:
            return
        assert self._call is not None
        context = copy_context() if context is None else context.copy()
        self._call(context.run, self._take, error, head)

    def unless_seen(self, check: Callable[[], None], seconds: float = GRACE) -> None:
        """Call ``check`` after so many seconds, or in `show_now`.  Thread: reactor."""
        if self._later is not None:
            key = object()
            self._checks[key] = check
            self._later(seconds, partial(self._check, key))

    def _check(self, *keys: object) -> None:
        for key in keys:
            if (check := self._checks.pop(key, None)) is not None:
                check()

    def show_now(self) -> Deferred[None] | None:
        """Show what has failed; gives a Deferred that fires when it is shown.  Thread: reactor."""
        if not self.active:
            return None
        assert self._call is not None
        # What nobody holds any more, but for itself; of late only, which takes no time.
        gc.collect(1)
        for check in self._last_checks:
            check()
        self._check(*self._checks)
        shown: Deferred[None] = Deferred()
        # How many are like those shown just now.
        shown.addCallback(lambda _: self._check(*self._checks))
        self._call(shown.callback, None)
        return shown

    # ---- in the reactor thread, in the context of the failure

    def _take(self, error: BaseException, head: str) -> None:
        if "_twisted_ipython_shown" in getattr(error, "__dict__", {}) or not self._shows:
            return
        mark_shown(error)
        sort: object = sort_of(error, head)
        if sort not in self._alike and self._is_too_many():
            sort = current_work().cell
            self._alike.setdefault(sort, Alike(say, MORE))
        if sort in self._alike:
            self._count(self._alike[sort], error)
            return
        self._alike[sort] = Alike(self._tell)
        for oldest in [*self._alike][:-_KINDS]:
            del self._alike[oldest]
        # ipykernel before 7.1 gives what belongs to no cell to the one that loaded the extension.
        nobodys = current_work() == NO_WORK
        context = self.latest.copy() if nobodys else copy_context()
        context.run(self._show, error, one_line(head.replace("{of_cell}", of_cell()), _HEAD))

    def _show(self, error: BaseException, head: str) -> None:
        try:
            self._shows[-1][0](error, head)
        except Exception:  # it would be the next failure: show it in the plainest way
            print(head, *traceback.format_exception(error), sep="\n", file=sys.__stderr__)

    def _count(self, alike: Alike, error: BaseException) -> None:
        """Have a line say that there was one more."""
        alike.count += 1
        if alike.last is None:
            self.unless_seen(partial(copy_context().run, alike.say), alike.seconds)
        alike.last = error

    def _tell(self, line: str) -> Callable[[str], None] | None:
        return self._shows[-1][1](line) if self._shows else None

    def _is_too_many(self) -> bool:
        """Count a failure of this cell; whether it is not among the first of its stretch."""
        cell = current_work().cell
        count = self._stretches[cell] = self._stretches.get(cell, 0) + 1
        if count == 1:
            self.unless_seen(partial(self._end_stretch, cell), _STRETCH)
        return count > _SHOWN

    def _end_stretch(self, cell: int) -> None:
        del self._stretches[cell]
        self._alike.pop(cell, None)


# Global: failures are noticed where no shell and no reactor thread is at hand.
reports: Final = Reports()
