"""Deferreds, jobs and bare coroutines show themselves in one shell.  Thread: cell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from types import CoroutineType

from IPython.core.interactiveshell import InteractiveShell
from twisted.internet.defer import Deferred

from twisted_ipython._display.shown_results import ShownResults, coroutine_text
from twisted_ipython._display.streams import CellStreams
from twisted_ipython._display.updates import has_updates, is_silent, is_terminal, use_printer
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.lifecycle import current


def attach(shell: InteractiveShell) -> Callable[[], None]:
    """Set a shell's printers, and what tells of ends in a terminal; returns the undo."""
    undo = ExitStack()
    shown = ShownResults(shell)
    undo.callback(shown.close)
    _set_printers(shell, shown, undo)
    if is_terminal(shell):
        jobs = current().jobs
        jobs.when_ended.append(shown.job_ended)
        undo.callback(jobs.when_ended.remove, shown.job_ended)
    if is_silent(shell):
        undo.callback(CellStreams().attach(shell.events))
        shell.events.register("post_run_cell", shown.show_itself)
        undo.callback(shell.events.unregister, "post_run_cell", shown.show_itself)
    return undo.close


def _set_printers(shell: InteractiveShell, shown: ShownResults, undo: ExitStack) -> None:
    formatter = shell.display_formatter
    assert formatter is not None
    rich, plain = formatter.ipython_display_formatter, formatter.mimebundle_formatter
    undo.callback(use_printer(plain, CoroutineType, coroutine_text))
    updates = has_updates(shell)
    for kind in (Deferred, asyncio.Future, *([EventualResult] if updates else [])):
        undo.callback(use_printer(plain, kind, shown.bundle))
        if updates:
            undo.callback(use_printer(rich, kind, shown.show))
