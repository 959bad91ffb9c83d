"""
A Deferred or a task at the end of a cell shows its result.

In a notebook a Deferred is shown as pending, and replaced in place by its value's
own representation or its failure's line, as `_display.updates` says.  In a terminal and a
console it is IPython's ``Out[n]`` as usual, and a line says when it fires.

Its result is not consumed.  One callback looks at it, which is added in the reactor
thread, as its others are, and passes the result on.  What is shown is the result at
that point of its chain.  A failure stays unhandled.

A task or a future of the reactor's loop is shown in the same way; asyncio goes on to
note whether anybody has looked at its exception.  A bare coroutine shows that it needs
an await.

The callback raises nothing.

Thread: any; a Deferred may fire in any.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from time import time
from types import CoroutineType
from typing import Any, Final

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_ipython._base.formatting import bundle_as_html, own_text
from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import cell_number
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._display.result_card import card
from twisted_ipython._display.updates import Bundle, DisplayUpdate, bundle_of, can_update, finish
from twisted_ipython._failures.namespace import is_pending, kind_of
from twisted_ipython._private.asyncio import EXCEPTION
from twisted_ipython._private.twisted import goes_on
from twisted_ipython._reactor.eventual_result import CANCELLATIONS
from twisted_ipython._reactor.lifecycle import current

__all__ = ["DeferredState", "ShownDeferreds", "coroutine_text"]

_log = Logger()

NOT_AWAITED: Final = "{coroutine} was not awaited, so it has not run: put `await` in front of it"


_Held = Deferred[Any] | asyncio.Future[Any]


class DeferredState:
    """
    What is known of a Deferred or a future that is shown; it does not hold that.

    Attributes:
        kind: what it is, in a word.
        name: None: a Deferred has no name.
        cell: the number of the cell that showed it.
        began: when it was shown, in seconds since the epoch.
        ended: when it fired, or None.
        state: ``pending``, ``done``, ``failed`` or ``cancelled``.
        error: the exception that it failed with.
    """

    def __init__(self, cell: int, kind: str) -> None:
        self.kind = kind
        self.name: str | None = None
        self.cell = cell
        self.began = time()
        self.ended: float | None = None
        self.state = "pending"
        self.error: BaseException | None = None

    @property
    def seconds(self) -> float:
        """How long it took since it was shown.  Thread: any."""
        return (time() if self.ended is None else self.ended) - self.began

    def end(self, result: object) -> None:
        """Note what it fired with.  Thread: any."""
        self.ended = time()
        if not isinstance(result, Failure):
            self.state = "done"
            return
        self.error = exception_of(result)
        self.state = "cancelled" if isinstance(self.error, CANCELLATIONS) else "failed"

    def bundle(self, own: Bundle | None = None) -> Bundle:
        """What is shown, given what is shown of its value, if there is that.  Thread: any."""
        if self.state == "done" and own is not None:
            return own
        return card(self.state, self, self.error, self.kind)


class ShownDeferreds:
    """
    The Deferreds that one shell shows.

    Args:
        shell: the shell.
        notice: is told of one that was shown where displays do not change when it fires, with
            its value and whether its result goes on to other callbacks; any thread.
    """

    def __init__(
        self, shell: InteractiveShell, notice: Callable[[DeferredState, object, bool], object]
    ) -> None:
        self._shell = shell
        self._notice = notice
        self._open = True

    def close(self) -> None:
        """Leave all that is shown as it is.  Thread: cell."""
        self._open = False

    def show(self, deferred: _Held) -> None:
        """
        Display one that is pending: a printer for ``ipython_display_formatter``.

        Args:
            deferred: the Deferred, or a future.

        Raises:
            NotImplementedError: it has fired, or displays do not change, and is for the other
                formatters; see `bundle`.

        Thread: any.
        """
        state = self._look(deferred)
        if state.state != "pending" or not can_update(self._shell):
            raise NotImplementedError
        display = DisplayUpdate(self._shell)
        display.show(state.bundle())
        self._follow(deferred, state, partial(self._replace, display))

    def bundle(self, deferred: _Held) -> Bundle:
        """
        What a Deferred shows now: a printer for ``mimebundle_formatter``.

        Args:
            deferred: the Deferred, or a future.

        Returns:
            its value's own representation, if it has one; else what is known of it.

        Raises:
            NotImplementedError: a future of another loop, which shows what it is.

        Thread: any.
        """
        state = self._look(deferred)
        if state.state == "pending":
            context = copy_context()
            self._follow(deferred, state, lambda *told: context.run(self._notice, *told))
        elif state.state == "done":
            return bundle_of(self._shell, _outcome(deferred))
        return state.bundle()

    def show_itself(self, result: ExecutionResult) -> None:
        """Have a cell's value show itself to a front end that formats it alone.  Thread: cell."""
        # A display hook of the front end's own may leave the value there only.
        value: Any = result.result
        if value is None:
            value = self._shell.user_ns.get("_")
        if isinstance(value, (Deferred, asyncio.Future)):
            override(value, {"_repr_html_": partial(self._html, weakref.ref(value))})

    def _html(self, value: Callable[[], Any]) -> str | None:
        held = value()
        return bundle_as_html(*self.bundle(held)) if self._open else None

    def _look(self, deferred: _Held) -> DeferredState:
        """What is known of it now."""
        if isinstance(deferred, asyncio.Future) and deferred.get_loop() is not current().loop:
            raise NotImplementedError
        cell = cell_number(self._shell)
        state = DeferredState(cell, kind_of(type(deferred)) or "")
        if not is_pending(deferred):
            state.end(_outcome(deferred))
        return state

    def _follow(
        self,
        deferred: _Held,
        state: DeferredState,
        tell: Callable[[DeferredState, object, bool], object],
    ) -> None:
        """Have ``tell`` called when a pending Deferred fires."""

        def fired(result: Any) -> Any:
            try:
                if self._open:
                    state.end(result)
                    shown = ref()
                    tell(state, result, isinstance(shown, Deferred) and goes_on(shown))
            except Exception:
                _log.failure("A Deferred could not be shown")
            return result

        ref = weakref.ref(deferred)  # or each would keep the other alive
        add: Callable[..., object]
        if isinstance(deferred, Deferred):
            add = partial(deferred.addBoth, fired)
        else:
            add = partial(deferred.add_done_callback, lambda future: fired(_outcome(future)))
        thread = current()
        if thread.here():
            add()
        else:
            thread.call(add)

    def _replace(
        self, display: DisplayUpdate, state: DeferredState, result: object, _: bool
    ) -> None:
        value = result if state.state == "done" else None
        finish(self._shell, display, value, state.bundle, wanted=lambda: self._open)


def _outcome(held: _Held) -> object:
    """Its result, a value or a Failure; this does not count as looking at a failure."""
    if isinstance(held, Deferred):
        return held.result
    if held.cancelled():
        return Failure(asyncio.CancelledError())
    error = getattr(held, EXCEPTION, None)
    return held.result() if error is None else Failure(error)


def coroutine_text(
    coroutine: CoroutineType[Any, Any, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One line for a bare coroutine: a printer for ``mimebundle_formatter``.  Thread: any."""
    return {"text/plain": NOT_AWAITED.format(coroutine=own_text(coroutine))}, {}
