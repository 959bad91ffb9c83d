"""
A background job's card: its EventualResult, displayed, changes in place when the job ends.

A card is displayed in any thread.  When the job ends, it changes as `_display.updates` says.
Nothing runs while the job does, and nothing holds the result: a pending card is a
callback of the result's.  Of one result the last `_KEPT` cards are followed.

For a front end where a card cannot change, a line says when the job ends.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Final

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._base.formatting import (
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

__all__ = ["Cards"]

# How many cards of one result are followed; a loop may display it again and again.
_KEPT: Final = 100


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
        self._lock = threading.Lock()
        self._displays: weakref.WeakKeyDictionary[EventualResult, deque[DisplayUpdate]] = (
            weakref.WeakKeyDictionary()
        )
        self._told: weakref.WeakSet[EventualResult] = weakref.WeakSet()
        self._open = True

    def close(self) -> None:
        """Leave all cards as they are."""
        self._open = False
        with self._lock:
            self._displays.clear()

    def show(self, result: EventualResult) -> None:
        """
        Display a card that will change: a printer for ``ipython_display_formatter``.

        Raises:
            NotImplementedError: it has ended, or no card can change, and is for the other
                formatters; see `bundle`.

        Thread: any.
        """
        if result.state != "pending" or not can_update(self._shell):
            raise NotImplementedError
        display = DisplayUpdate(self._shell, **{CARD: True})
        display.show(_bundle(result, "pending"))
        if self._open:
            self._follow(result, display)

    def bundle(self, result: EventualResult) -> Bundle:
        """What a card shows now: a printer for ``mimebundle_formatter``.  Thread: any."""
        state = result.state
        if state == "pending" and self._open and not can_update(self._shell):
            self._tell(result)
        own = bundle_of(self._shell, result.peek()) if state == "done" else None
        return _bundle(result, state, own)

    def _follow(self, result: EventualResult, display: DisplayUpdate) -> None:
        with self._lock:
            followed = self._displays.get(result)
            if followed is not None:
                followed.append(display)
                return
            self._displays[result] = deque([display], maxlen=_KEPT)
        result.when_done(partial(self._end, weakref.ref(result)))

    def _tell(self, result: EventualResult) -> None:
        """Have a line in this context say when it ends, and not for each time that it is shown."""
        with self._lock:
            if result in self._told:
                return
            self._told.add(result)
        context, ref = copy_context(), weakref.ref(result)

        def tell() -> None:
            ended = ref()
            if ended is not None and self._open:
                context.run(self._notice, ended.job, ended)

        result.when_done(tell)

    def _end(self, ref: weakref.ref[EventualResult]) -> None:
        """Replace what the cards show.  In the thread that ends the work."""
        result = ref()
        if result is None:
            return
        with self._lock:
            displays = self._displays.pop(result, None)
        if not displays:
            return
        state = result.state
        value = result.peek() if state == "done" else None
        show = partial(_bundle, result, state)
        finish(self._shell, displays, value, show, wanted=lambda: self._open)


def _bundle(result: EventualResult, state: str, own: Bundle | None = None) -> Bundle:
    """
    What a card shows.

    Args:
        result: the result.
        state: its state.
        own: what is shown of its value; without it only that it is done.
    """
    job = result.job
    if state != "done":
        text, html = as_text(state, job, result.peek()), as_html(state, job, result.peek())
    elif own is None:
        text, html = with_text(state, job, ""), with_html(state, job, "")
    else:
        text = with_text(state, job, cut(own.data["text/plain"]))
        html = with_html(state, job, bundle_as_html(own.data, own.metadata))
    return Bundle({"text/plain": text, "text/html": html}, {})
