"""
``%time`` and ``%timeit`` for code that awaits, with IPython's options and in its words.

The code is transformed and compiled in the thread that the cell was typed in,
where IPython's own magics do it, and runs in the reactor thread as part of the
cell.
"""

from __future__ import annotations

from typing import cast

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics

from twisted_ipython._cells.await_magics import Awaited
from twisted_ipython._magics.time_magic import SendToCellThread, Time
from twisted_ipython._magics.timeit_magic import Timeit

__all__ = ["awaited"]


def awaited(magics: Magics, send_to_cell_thread: SendToCellThread) -> Awaited:
    """
    The magics of this module, for one shell.

    Args:
        magics: any magics of the shell's; they know how to read options.
        send_home: turns what is IPython's own in code, in place or not, so that
            it runs in the thread that the cell was typed in.
    """
    shell = cast(InteractiveShell, magics.shell)
    for_time = Time(shell, send_to_cell_thread)
    for_timeit = Timeit(shell, send_to_cell_thread, magics.parse_options)
    return {
        ("line", "time"): for_time,
        ("cell", "time"): for_time,
        ("line", "timeit"): for_timeit,
        ("cell", "timeit"): for_timeit,
    }
