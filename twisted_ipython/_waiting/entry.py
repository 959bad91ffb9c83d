"""
The outermost entry into a thread that runs cells: a cell, a file, a message.

A loan of the reactor ends with the entry that it was made in.

The thread that runs cells, unless a docstring says otherwise.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.loans import loans
from twisted_ipython._base.running_loop import soon
from twisted_ipython._waiting.cell_thread import is_blocking


def runs_cells() -> bool:
    """Whether cells are typed in this thread: the main one, or one with a loop of its own."""
    main = threading.current_thread() is threading.main_thread()
    return main or soon() is not None


class _Entry(threading.local):
    """This thread."""

    # Whether it will be told that what it runs now has ended.
    begun = False
    # Whether it waits for the reactor, and runs nothing that it was sent.
    waits = False


entry: Final = _Entry()


def begin_entry() -> None:
    """This thread borrows for the first time in what it runs now: a cell, a message."""
    sigint.begin()
    call_soon = soon()
    if entry.begun or is_blocking() or call_soon is None:
        return  # the runner says when a cell has ended
    entry.begun = True
    call_soon(_end_message)


def _end_message() -> None:
    """`end_entry`, called by a loop, which an interrupt that comes too late must not end."""
    with suppress(KeyboardInterrupt):
        end_entry()


def end_entry() -> None:
    """What this thread ran has ended, and with it its loan.  The cell's thread."""
    entry.begun = False
    loans.give_back()
    sigint.end()
