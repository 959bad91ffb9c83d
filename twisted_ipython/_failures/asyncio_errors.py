"""
What asyncio reports of its handles and tasks is shown as a failure.

Thread: any.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final

from twisted_ipython._failures.alike import user_lines
from twisted_ipython._failures.handlers import is_shown_by_logging, takers
from twisted_ipython._failures.reports import Reports
from twisted_ipython._private.asyncio import context_of, in_handle

ASYNCIO: Final = "Failure{of_cell}: {message}"


def attach(loop: AbstractEventLoop, reports: Reports, *, ours: bool = True) -> Callable[[], None]:
    """
    Show what asyncio reports on a loop without an exception handler; returns the undo.

    Args:
        ours: whether it is the reactor's; of another, which others work on too,
            only failures of the user's code are shown.

    Thread: any.
    """
    if loop.get_exception_handler() is not None:
        return lambda: None
    logger = logging.getLogger("asyncio")

    def take(loop: AbstractEventLoop, told: dict[str, Any]) -> None:
        """What asyncio calls an exception handler.  In the loop's thread."""
        error: Any = told.get("exception")
        context = _context_of(told)
        shown = error is None or is_shown_by_logging(logger, logging.ERROR)
        shown = shown or not (ours or user_lines(error))
        if shown or not reports.active or takers(logger):  # these only keep it
            # A copy, since Python 3.12 and later have entered it.
            context.copy().run(loop.default_exception_handler, told)
        if not shown:
            head = ASYNCIO.replace("{message}", str(told.get("message", "")))
            reports.report(error, head, context)

    loop.set_exception_handler(take)

    def undo() -> None:
        if loop.get_exception_handler() is take:
            loop.set_exception_handler(None)

    return undo


def _context_of(told: dict[str, Any]) -> Context:
    """The context of what failed; that in which asyncio tells it, if that is not known."""
    thing = told.get("task") or told.get("future") or told.get("handle")
    context = context_of(thing) if isinstance(thing, Task) else in_handle(thing)[1]
    return context if isinstance(context, Context) else copy_context()
