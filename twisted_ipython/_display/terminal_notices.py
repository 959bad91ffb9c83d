"""
In a terminal the end of a job, or of a Deferred that was shown, is one line above the prompt.

A line is printed in any thread: while IPython prompts, its ``sys.stdout`` is
prompt_toolkit's, which draws what is printed above the prompt and leaves what was
typed.  A value whose representation is the user's code is shown in the main
thread; at a plain prompt (``--simple-prompt``), which that thread waits at, in a
thread of Twisted's pool.

There is no line for what somebody waited for, nor for a job that failed: its
traceback is shown elsewhere.

Thread: any.
"""

from __future__ import annotations

import shutil
from typing import Final

from IPython.core.interactiveshell import InteractiveShell
from twisted.logger import Logger

from twisted_ipython._base.formatting import duration, line_break, one_line, own_text
from twisted_ipython._display.deferred import DeferredState
from twisted_ipython._display.updates import is_plain, is_terminal
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import main_thread

__all__ = ["Notices"]

_log = Logger()

JOB_DONE: Final = "{job} of cell {cell} is done after {time}"
JOB_CANCELLED: Final = "{job} of cell {cell} was cancelled after {time}"
DEFERRED_FIRED: Final = "The {kind} of cell {cell} {fired} after {time}"
DEFERRED_CANCELLED: Final = "The {kind} of cell {cell} was cancelled after {time}"


class Notices:
    """
    The lines of one terminal.

    Args:
        shell: the terminal's shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._prompts = getattr(shell, "pt_app", None) is not None
        self._open = is_terminal(shell)

    def close(self) -> None:
        """Print no more.  Thread: cell."""
        self._open = False

    def ended(self, job: Job, result: EventualResult) -> None:
        """Say that a job ended, unless somebody waited for it or it failed.  Thread: any."""
        if result.awaited or job.state == "failed":
            return
        done = job.state == "done"
        text = JOB_DONE if done else JOB_CANCELLED
        line = text.format(job=job, cell=job.cell, time=duration(job.seconds))
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
        elif self._prompts:
            main_thread.call(say)
        else:
            current().reactor.callInThread(say)

    def _print(self, line: str) -> None:
        line = one_line(line, shutil.get_terminal_size().columns)
        # A plain prompt is not drawn again: the line stands below it.
        print((line_break() if self._prompts else "\n") + line, flush=True)
