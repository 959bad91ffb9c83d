"""
Failures in the background, shown in the cell that they belong to.

Which cell that is, the context says in which this runs: ipykernel keeps the
cell that output belongs to in a context variable.  Runs in any thread.
"""

from __future__ import annotations

import copy
import sys
import traceback
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._traceback import explain, tidy

__all__ = ["show"]


def show(shell: InteractiveShell | None, error: BaseException, heading: str) -> None:
    """
    Print a failure to stderr as IPython shows one, with the user's frames.

    Args:
        shell: whose style to use.
        error: the exception.
        heading: one line that says what failed.
    """
    explain(error)
    tidy(error)
    try:
        lines = _formatted(shell, error)
    except Exception:  # a traceback of any kind is better than none
        lines = traceback.format_exception(error)
    print(heading, *lines, sep="\n", file=sys.stderr, flush=True)


def _formatted(shell: Any, error: BaseException) -> list[str]:
    """The exception as the shell shows one; its formatter keeps state, so this uses a copy."""
    if shell is None or isinstance(error, BaseExceptionGroup):
        return traceback.format_exception(error)
    formatter = copy.copy(shell.InteractiveTB)
    lines: list[str] = formatter.structured_traceback(
        type(error), error, error.__traceback__, tb_offset=0
    )
    return lines
