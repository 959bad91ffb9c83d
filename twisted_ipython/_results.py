"""Deferreds, jobs and bare coroutines show themselves in one shell.  Thread: cell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from types import CoroutineType

from IPython.core.interactiveshell import InteractiveShell
from twisted.internet.defer import Deferred

from twisted_ipython._display.deferred import ShownDeferreds, coroutine_text
from twisted_ipython._display.result_card import Cards
from twisted_ipython._display.streams import CellStreams
from twisted_ipython._display.terminal_notices import Notices
from twisted_ipython._display.updates import has_updates, is_silent, is_terminal, use_printer
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.lifecycle import current


def attach(shell: InteractiveShell) -> Callable[[], None]:
    """
    Set the printers of a shell, and what tells in a terminal that something has ended.

    Args:
        shell: the shell.

    Returns:
        what undoes it; what was shown as pending stays so.

    Thread: cell.
    """
    undo = ExitStack()
    notices = Notices(shell)
    undo.callback(notices.close)
    shown = ShownDeferreds(shell, notices.fired)
    undo.callback(shown.close)
    _set_printers(shell, shown, notices, undo)
    if is_terminal(shell):
        jobs = current().jobs
        jobs.when_ended.append(notices.ended)
        undo.callback(jobs.when_ended.remove, notices.ended)
    if is_silent(shell):
        undo.callback(CellStreams().attach(shell.events))
        shell.events.register("post_run_cell", shown.show_itself)
        undo.callback(shell.events.unregister, "post_run_cell", shown.show_itself)
    return undo.close


def _set_printers(
    shell: InteractiveShell, shown: ShownDeferreds, notices: Notices, undo: ExitStack
) -> None:
    formatter = shell.display_formatter
    assert formatter is not None
    rich, plain = formatter.ipython_display_formatter, formatter.mimebundle_formatter
    undo.callback(use_printer(plain, CoroutineType, coroutine_text))
    if has_updates(shell):
        cards = Cards(shell, notices.ended)
        undo.callback(cards.close)
        undo.callback(use_printer(rich, EventualResult, cards.show))
        undo.callback(use_printer(plain, EventualResult, cards.bundle))
        undo.callback(use_printer(rich, Deferred, shown.show))
        undo.callback(use_printer(rich, asyncio.Future, shown.show))
    undo.callback(use_printer(plain, Deferred, shown.bundle))
    undo.callback(use_printer(plain, asyncio.Future, shown.bundle))
