"""
The end of a job, or of a Deferred that was shown, is one line where displays do not change.

In a terminal it stands above the prompt.  A line is printed in any thread: while IPython
prompts, its ``sys.stdout`` is prompt_toolkit's, which draws what is printed above the prompt
and leaves what was typed.  In a kernel, for a front end that ignores updates of a display
(jupyter console, qtconsole), it is a line of the cell that showed what ended.

A value whose representation is the user's code is shown in the main thread; at a plain prompt
(``--simple-prompt``), which that thread waits at, in a thread of Twisted's pool.

There is no line for what somebody waited for, nor for a job that failed: its
traceback is shown elsewhere.

Thread: any.
"""

from __future__ import annotations

import shutil
from contextvars import copy_context
from functools import partial
from typing import Final

from IPython.core.interactiveshell import InteractiveShell
from twisted.logger import Logger

from twisted_ipython._base.formatting import duration, line_break, one_line, own_text
from twisted_ipython._display.deferred import DeferredState
from twisted_ipython._display.updates import is_plain, is_terminal
from twisted_ipython._reactor.eventual_result import EventualResult, JobOfResult
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import main_thread

__all__ = ["Notices"]

_log = Logger()

JOB_DONE: Final = "{job} is done{after}"
JOB_CANCELLED: Final = "{job} was cancelled{after}"
NO_JOB: Final = "an EventualResult"
DEFERRED_FIRED: Final = "The {kind} of cell {cell} {fired} after {time}"
DEFERRED_CANCELLED: Final = "The {kind} of cell {cell} was cancelled after {time}"


class Notices:
    """
    The lines of one shell.

    Args:
        shell: the shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._prompts = getattr(shell, "pt_app", None) is not None
        self._waits = is_terminal(shell) and not self._prompts
        self._open = True

    def close(self) -> None:
        """Print no more.  Thread: cell."""
        self._open = False

    def ended(self, job: JobOfResult | None, result: EventualResult) -> None:
        """Say that a job ended, unless somebody waited for it or it failed.  Thread: any."""
        state = result.state
        if result.awaited or state == "failed":
            return
        done = state == "done"
        what = NO_JOB if job is None else f"{job} of cell {job.cell}"
        after = "" if job is None else f" after {duration(job.seconds)}"
        line = (JOB_DONE if done else JOB_CANCELLED).format(job=what, after=after)
        self._say(line, result.peek() if done else None)

    def fired(self, state: DeferredState, result: object, awaited: bool) -> None:
        """Say that a Deferred fired, unless it failed or has other callbacks.  Thread: any."""
        if awaited or state.state == "failed":
            return
        done = state.state == "done"
        text = DEFERRED_FIRED if done else DEFERRED_CANCELLED
        fired = "fired" if state.kind == "Deferred" else "is done"
        time = duration(state.seconds)
        line = text.format(kind=state.kind, fired=fired, cell=state.cell, time=time)
        self._say(line, result if done else None)

    def _say(self, line: str, value: object) -> None:
        def say() -> None:
            try:
                if self._open:
                    self._print(line if value is None else f"{line}: {own_text(value)}")
            except Exception:
                _log.failure("The end of a job could not be shown")

        if is_plain(value):
            say()
        elif self._waits:
            current().reactor.callInThread(say)
        else:
            main_thread.call(partial(copy_context().run, say))

    def _print(self, line: str) -> None:
        line = one_line(line, shutil.get_terminal_size().columns)
        # A plain prompt, or jupyter console's, is not drawn again: the line stands below it.
        print((line_break() if self._prompts else "\n") + line, flush=True)
