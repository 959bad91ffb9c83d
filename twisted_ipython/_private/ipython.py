"""
What IPython keeps private, as seen in IPython 8.18 to 9.18.

Each says what is done without its name.

Thread: cell.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from IPython import get_ipython
from IPython.core.interactiveshell import InteractiveShell

__all__ = ["format_time", "shell_of", "show_traceback"]


def format_time(seconds: float) -> str:
    """Seconds as %time shows them; without, with three digits."""
    from IPython.core.magics import execution  # which takes milliseconds to import

    form: Callable[[float], str] = getattr(execution, "_format_time", "{:.3g} s".format)
    return form(seconds)


def show_traceback(shell: InteractiveShell, error: BaseException, lines: list[str]) -> None:
    """Show lines where the shell shows tracebacks; without, print them."""
    show = getattr(shell, "_showtraceback", None)
    if show is None:
        print(*lines, sep="\n")
    else:
        show(type(error), error, lines)


def shell_of(coro: Coroutine[Any, Any, Any]) -> InteractiveShell | None:
    """The shell whose cell this is, not begun; None if it is none; without, `get_ipython`'s."""
    code, frame = getattr(coro, "cr_code", None), getattr(coro, "cr_frame", None)
    if code is None or frame is None or code.co_name != "run_cell_async":
        return None
    shell = frame.f_locals.get("self")
    return shell if isinstance(shell, InteractiveShell) else get_ipython()
