"""
The end of a job, or of a Deferred that was shown, is one line where displays do not change.

In a terminal it stands above the prompt.  A line is printed in any thread: while IPython
prompts, its ``sys.stdout`` is prompt_toolkit's, which draws what is printed above the prompt
and leaves what was typed.  In a kernel, for a front end that ignores updates of a display
(jupyter console, qtconsole), it is a line of the cell that showed what ended.

There is no line for what somebody waited for, nor for a failure: its traceback is shown elsewhere.

Thread: any.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from IPython.core.interactiveshell import InteractiveShell
from twisted.logger import Logger

from twisted_ipython._base.formatting import line_break, one_line, own_text
from twisted_ipython._display.updates import is_plain, is_terminal
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import main_thread

_log = Logger()


def notice(shell: InteractiveShell, line: str, value: object, wanted: Callable[[], bool]) -> None:
    """
    Print that something ended, with its value; raises nothing.

    A value whose representation is the user's code is shown in the main thread; at a plain
    prompt (``--simple-prompt``), which that thread waits at, in a thread of Twisted's pool.

    Args:
        shell: the shell.
        line: what ended, and how.
        value: its value, or None.
        wanted: whether to print it, asked when it is printed.

    Thread: any.
    """
    prompts = getattr(shell, "pt_app", None) is not None

    def say() -> None:
        try:
            if wanted():
                said = line if value is None else f"{line}: {own_text(value)}"
                said = one_line(said, shutil.get_terminal_size().columns)
                # A plain prompt, or jupyter console's, is not drawn again: it stands below it.
                print((line_break() if prompts else "\n") + said, flush=True)
        except Exception:
            _log.failure("The end of a job could not be shown")

    if is_plain(value):
        say()
    elif is_terminal(shell) and not prompts:
        current().reactor.callInThread(say)
    else:
        main_thread.call(partial(copy_context().run, say))
