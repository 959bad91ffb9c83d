"""
A job's result, a Deferred or a task that a cell shows changes when it ends.

In a notebook what is pending is replaced in place, as `_display.updates` says.  A job's
result is a card, which gets the value; a Deferred, and a task or a future of the reactor's
loop, is replaced by its value's own representation or its failure's line.  Where displays do
not change it is IPython's ``Out[n]`` as usual, and a line says when it ends.

Nothing runs meanwhile, and nothing holds what is shown: it gets a callback, in the reactor
thread, as its others do.  That raises nothing and passes a Deferred's result on, so what is
shown is the result at that point of its chain.  A failure stays unhandled, and asyncio goes
on to note whether anybody has looked at an exception.

A bare coroutine shows that it needs an await.

Thread: any; a Deferred may fire in any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from time import time
from types import CoroutineType
from typing import Any, Final
from weakref import WeakSet, ref

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._base import formatting
from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import cell_number
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._display.updates import (
    CARD,
    Bundle,
    DisplayUpdate,
    bundle_of,
    can_update,
    notice,
)
from twisted_ipython._failures.namespace import is_pending, kind_of
from twisted_ipython._failures.reports import CANCELLATIONS
from twisted_ipython._private.asyncio import EXCEPTION
from twisted_ipython._private.twisted import goes_on
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.lifecycle import current

_Held = EventualResult | Deferred[Any] | asyncio.Future[Any]
_log = Logger()

NOT_AWAITED: Final = "{coroutine} was not awaited, so it has not run: put `await` in front of it"
NO_JOB: Final = "an EventualResult"


class _Outcome:
    """What is known of something that is shown, which it does not hold."""

    def __init__(self, held: _Held, cell: int) -> None:
        self.is_job = isinstance(held, EventualResult)
        self._job = held.job if isinstance(held, EventualResult) else None
        self._kind = kind_of(type(held)) or "EventualResult"
        # What is read of a job: of anything else, where and when it was shown.
        self.name: str | None = None
        self.cell = cell
        self.began = time()
        self.state = "pending"
        self.value: object = None
        self._error: BaseException | None = None
        # Whether its end is shown elsewhere.
        self.told = False

    def _about(self) -> formatting.Shown | None:
        return self._job if self.is_job else self

    @property
    def seconds(self) -> float:
        return time() - self.began

    def note(self, held: _Held, result: Any) -> None:
        """Note what it has come to, which does not count as looking at a failure."""
        error: Any
        if isinstance(held, EventualResult):
            result, self.told = held.peek(), held.awaited
            error = None if held.state == "done" else result
        elif isinstance(held, Deferred):
            self.told = goes_on(held)
            error = exception_of(result) if isinstance(result, Failure) else None
        else:
            error = asyncio.CancelledError() if held.cancelled() else getattr(held, EXCEPTION, None)
            result = held.result() if error is None else None
        if error is None:
            self.state, self.value = "done", result
        elif isinstance(error, CANCELLATIONS):
            self.state = "cancelled"
        else:
            self.state, self._error, self.told = "failed", error, True

    def bundle(self, own: Bundle | None = None) -> Bundle:
        """What is shown, given what is shown of its value, if there is that."""
        if self.state == "done" and own is not None and not self.is_job:
            return own
        text = html = ""
        if self._error is not None:
            own = Bundle({"text/plain": formatting.failure_line(self._error)}, {})
        if own is not None and self.state in ("done", "failed"):
            text = formatting.cut(own.data["text/plain"])
            html = formatting.bundle_as_html(*own)
        about = self.state, self._about()
        text = formatting.with_text(*about, text, self._kind)
        html = formatting.with_html(*about, html, self._kind)
        return Bundle({"text/plain": text, "text/html": html}, {})

    def __str__(self) -> str:
        how = "fired" if self._kind == "Deferred" else "is done"
        how = "was cancelled" if self.state == "cancelled" else how
        about = self._about()
        if about is None:
            return f"{NO_JOB} {how}"
        what = f"The {self._kind}" if about is self else about
        return f"{what} of cell {about.cell} {how} after {formatting.duration(about.seconds)}"


class ShownResults:
    """What one shell shows of results."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        # What a line will tell of, however often it was shown.
        self._noted: WeakSet[_Held] = WeakSet()
        self._open = True

    def close(self) -> None:
        """Leave all that is shown as it is.  Thread: cell."""
        self._open = False

    def show(self, held: _Held) -> None:
        """Display what is pending, for ``ipython_display_formatter``.  Thread: any."""
        outcome = self._outcome_of(held)
        if outcome.state != "pending" or not can_update(self._shell):
            raise NotImplementedError  # `bundle` shows it
        about = {CARD: True} if outcome.is_job else {}
        display = DisplayUpdate(self._shell, **about)
        display.show(outcome.bundle())
        self._follow(
            held, outcome, lambda: display.finish(outcome.value, outcome.bundle, self._wanted)
        )

    def bundle(self, held: _Held) -> Bundle:
        """What it shows now, for ``mimebundle_formatter``.  Thread: any."""
        outcome = self._outcome_of(held)
        if outcome.state == "pending" and held not in self._noted:
            self._noted.add(held)
            self._follow(held, outcome, partial(copy_context().run, self._notice, outcome))
        done = outcome.state == "done"
        return outcome.bundle(bundle_of(self._shell, outcome.value) if done else None)

    def job_ended(self, _: Job, result: EventualResult) -> None:
        """Print that a job ended: one of ``Jobs.when_ended``.  Thread: any."""
        self._notice(self._outcome_of(result))

    def show_itself(self, result: ExecutionResult) -> None:
        """Have a cell's value show itself to a front end that formats it alone.  Thread: cell."""
        # A display hook of the front end's own may leave the value there only.
        value: Any = result.result
        if value is None:
            value = self._shell.user_ns.get("_")
        if isinstance(value, (Deferred, asyncio.Future)):
            itself = ref(value)

            def html() -> str | None:
                held = itself()
                if held is None or not self._open:
                    return None
                return formatting.bundle_as_html(*self.bundle(held))

            override(value, {"_repr_html_": html})

    def _outcome_of(self, held: _Held) -> _Outcome:
        """What is known of it now; a future of another loop shows what it is."""
        if isinstance(held, asyncio.Future) and held.get_loop() is not current().loop:
            raise NotImplementedError
        outcome = _Outcome(held, cell_number(self._shell))
        pending = held.state == "pending" if isinstance(held, EventualResult) else is_pending(held)
        if not pending:
            outcome.note(held, getattr(held, "result", None))
        return outcome

    def _follow(self, held: _Held, outcome: _Outcome, tell: Callable[[], object]) -> None:
        """Have ``tell`` called when what is pending has ended."""

        def ended(result: Any = None) -> Any:
            one = itself()
            try:
                if self._open and one is not None:
                    outcome.note(one, result)
                    tell()
            except Exception:
                _log.failure("A result could not be shown")
            return result

        itself = ref(held)  # or each would keep the other alive
        add: Callable[..., object]
        if isinstance(held, Deferred):
            add = held.addBoth
        else:
            add = held.when_done if isinstance(held, EventualResult) else held.add_done_callback
        thread = current()
        if thread.here():
            add(ended)
        else:
            thread.call(add, ended)

    def _wanted(self) -> bool:
        return self._open

    def _notice(self, outcome: _Outcome) -> None:
        """Print that something ended, unless that is shown elsewhere."""
        if not outcome.told:
            notice(self._shell, str(outcome), outcome.value, self._wanted)


def coroutine_text(coroutine: CoroutineType[Any, Any, Any]) -> Bundle:
    """One line for a bare coroutine: a printer for ``mimebundle_formatter``.  Thread: any."""
    return Bundle({"text/plain": NOT_AWAITED.format(coroutine=formatting.own_text(coroutine))}, {})
