"""
An exception, shown on a shell as that of a cell, by a copy of IPython's formatter.

Which cell is the matter of the current context.

Thread: any.
"""

from __future__ import annotations

import copy
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._base.formatting import line_break, message_of
from twisted_ipython._base.tracebacks import explain, tidied
from twisted_ipython._private.ipython import show_traceback

# In the metadata of an error message: the error is not that of the cell, which may have succeeded.
BACKGROUND: Final = "twisted_ipython.background"

_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")


def showing_on(
    shell: InteractiveShell, publish: Callable[..., object] | None = None
) -> Callable[[BaseException, str], None]:
    """
    What shows an exception below a line, on a shell, in the current context's cell.

    Neither ``sys.last_value`` and its like nor the reply of a cell that runs is
    touched.

    Args:
        shell: the shell.
        publish: publishes a message of a kernel that is not ipykernel.

    Thread: any.
    """
    # The context variable of a stream is the one that all ipykernels of 6.29 to
    # 7.4 have; that of the display hook came with 7.0.
    stream = next((one for one in (sys.stdout, sys.stderr) if hasattr(one, "parent_header")), None)

    def show(error: BaseException, head: str) -> None:
        lines = [head, *_formatted(shell, error)]
        hook: Any = shell.displayhook
        about = {BACKGROUND: True}
        content = {"ename": type(error).__name__, "evalue": message_of(error), "traceback": lines}
        if publish is not None:
            publish("error", content, metadata=about)
            return
        if getattr(hook, "session", None) is None or not hasattr(hook, "pub_socket"):
            # A plain prompt is not drawn again: the lines stand below it.
            below = getattr(shell, "pt_app", None) is None or bool(line_break())
            lines[:0] = [""] * below
            if not getattr(sys.stdout, "isatty", bool)():
                lines = [_COLOUR.sub("", line) for line in lines]
            show_traceback(shell, error, lines)
            return
        sys.stdout.flush()
        sys.stderr.flush()
        parent = (hook if stream is None else stream).parent_header
        topic = hook.topic.replace(b"execute_result", b"error") if hook.topic else None
        hook.session.send(hook.pub_socket, "error", content, parent, ident=topic, metadata=about)

    return show


def _formatted(shell: InteractiveShell, error: BaseException) -> list[str]:
    """The lines of an exception as IPython shows it, with the user's frames; never raises."""
    explain(error)
    with tidied(error):
        try:
            if hasattr(error, "_render_traceback_"):
                return list(error._render_traceback_())
            if not isinstance(error, BaseExceptionGroup):  # which IPython 9 leaves to Python too
                # A copy, since the formatter keeps the traceback for `%debug`.
                formatter = copy.copy(shell.InteractiveTB)
                return formatter.structured_traceback(
                    type(error), error, error.__traceback__, tb_offset=0
                )
        except Exception:
            pass  # as IPython does: Python's own words
        return "".join(traceback.format_exception(error)).splitlines()
