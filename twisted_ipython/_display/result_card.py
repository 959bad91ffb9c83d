"""
A background job's card: its EventualResult, displayed, changes in place when the job ends.

It changes as `_display.updates` says.  Nothing runs while the job does, and nothing holds
the result: a pending card is a callback of the result's.  For a front end where a card
cannot change, a line says when the job ends.

Thread: any.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._base.formatting import (
    Shown,
    as_html,
    as_text,
    bundle_as_html,
    cut,
    with_html,
    with_text,
)
from twisted_ipython._display.updates import (
    CARD,
    Bundle,
    DisplayUpdate,
    bundle_of,
    can_update,
    finish,
)
from twisted_ipython._reactor.eventual_result import EventualResult, JobOfResult

__all__ = ["Cards", "card"]


class Cards:
    """
    The cards in one shell's notebook.

    Args:
        shell: the shell.
        notice: is told of a job that was shown where no card can change, and its result, when
            it ends; any thread.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        notice: Callable[[JobOfResult | None, EventualResult], object],
    ) -> None:
        self._shell = shell
        self._notice = notice
        self._told: weakref.WeakSet[EventualResult] = weakref.WeakSet()
        self._open = True

    def close(self) -> None:
        """Leave all cards as they are.  Thread: cell."""
        self._open = False

    def show(self, result: EventualResult) -> None:
        """
        Display a card that will change: a printer for ``ipython_display_formatter``.

        Args:
            result: of the job.

        Raises:
            NotImplementedError: it has ended, or no card can change, and is for the other
                formatters; see `bundle`.

        Thread: any.
        """
        if result.state != "pending" or not can_update(self._shell):
            raise NotImplementedError
        display = DisplayUpdate(self._shell, **{CARD: True})
        display.show(card("pending", result.job))
        result.when_done(partial(self._end, weakref.ref(result), display))

    def bundle(self, result: EventualResult) -> Bundle:
        """What a card shows now: a printer for ``mimebundle_formatter``.  Thread: any."""
        state, value = result.state, result.peek()
        if state == "pending" and not can_update(self._shell):
            self._tell(result)
        if state != "done":
            return card(state, result.job, value)
        return _with_value(result.job, bundle_of(self._shell, value))

    def _tell(self, result: EventualResult) -> None:
        """Have a line in this context say when it ends, once however often it is shown."""
        if result in self._told:
            return
        self._told.add(result)
        context, ref = copy_context(), weakref.ref(result)

        def tell() -> None:
            ended = ref()
            if ended is not None and self._open:
                context.run(self._notice, ended.job, ended)

        result.when_done(tell)

    def _end(self, ref: weakref.ref[EventualResult], display: DisplayUpdate) -> None:
        """Replace what a card shows.  In the thread that ends the work."""
        result = ref()
        if result is None or not self._open:
            return
        state, value, job = result.state, result.peek(), result.job

        def shown(own: Bundle | None) -> Bundle:
            if state != "done" or own is None:
                return card(state, job, value)
            return _with_value(job, own)

        done = value if state == "done" else None
        finish(self._shell, display, done, shown, wanted=lambda: self._open)


def card(
    state: str, about: Shown | None, error: object = None, kind: str = "EventualResult"
) -> Bundle:
    """
    What is shown of a result without its value.

    Args:
        state: ``pending``, ``done``, ``failed`` or ``cancelled``.
        about: the job, or what else knows cell and times; None if nothing does.
        error: what it failed with.
        kind: what it is, in a word.

    Returns:
        text and HTML.

    Thread: any.
    """
    if state == "done":
        text, html = with_text(state, about, "", kind), with_html(state, about, "", kind)
    else:
        text, html = as_text(state, about, error, kind), as_html(state, about, error, kind)
    return Bundle({"text/plain": text, "text/html": html}, {})


def _with_value(about: Shown | None, own: Bundle) -> Bundle:
    """A card with what is shown of its value."""
    text = with_text("done", about, cut(own.data["text/plain"]))
    html = with_html("done", about, bundle_as_html(own.data, own.metadata))
    return Bundle({"text/plain": text, "text/html": html}, {})
