"""
What IPython keeps private, as seen in IPython 8.18 to 9.18.

Each says what is done without its name.

Thread: cell.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from IPython import get_ipython
from IPython.core.interactiveshell import InteractiveShell

# The module and function that open a prompt in a program.
EMBED: Final = "IPython.terminal.embed", "embed"


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


def make_current(shell: InteractiveShell) -> None:
    """Have `get_ipython` give a shell again, as ``IPython.embed()`` does; without, it does not."""
    walk = getattr(type(shell), "_walk_mro", None)
    if walk is not None:
        type(get_ipython()).clear_instance()
        for kind in walk():
            kind._instance = shell


def shell_of(coro: Coroutine[Any, Any, Any]) -> InteractiveShell | None:
    """The shell whose cell this is, not begun; None if it is none; without, `get_ipython`'s."""
    code, frame = getattr(coro, "cr_code", None), getattr(coro, "cr_frame", None)
    if code is None or frame is None or code.co_name != "run_cell_async":
        return None
    shell = frame.f_locals.get("self")
    return shell if isinstance(shell, InteractiveShell) else get_ipython()
