"""
The number of a piece of work and of its cell, which a context carries.

Contexts live as long as what was set up in them (a port, a timer), so they
carry numbers, never a cell, its result or the shell.

Thread: any.
"""

from __future__ import annotations

import itertools
from contextvars import Context, ContextVar
from typing import Any, Final, NamedTuple


class WorkId(NamedTuple):
    """
    What a context carries.

    Attributes:
        work: the number of an awaiting cell or a job; no other has it.
        cell: the number that IPython gave the cell.
    """

    work: int
    cell: int


NO_WORK: Final = WorkId(0, 0)
_carried: Final[ContextVar[WorkId]] = ContextVar("twisted_ipython_numbers")
# No two pieces of work of the process have one number, whatever reactor runs them.
_counter: Final = itertools.count(1)


def new_work(cell: int) -> WorkId:
    """A number for work that the cell ``cell`` starts."""
    return WorkId(next(_counter), cell)


def set_work(work_id: WorkId) -> None:
    """Have the current context carry ``work_id``."""
    _carried.set(work_id)


def current_work() -> WorkId:
    """What the current context carries, or `NO_WORK`."""
    return _carried.get(NO_WORK)


class CellNumbers:
    """The numbers of one shell's cells: IPython's, or, of a shell that has counted none, ours."""

    def __init__(self) -> None:
        self._ours = 0

    def begin(self, shell: Any, *, counted: bool) -> int:
        """
        The number of a cell that begins; a cell that another one runs has that one's.

        Args:
            shell: whose cell it is.
            counted: whether the shell counts it.

        Thread: cell.
        """
        if counted or shell.execution_count > 1:
            return int(shell.displayhook.prompt_count)
        if not current_work().cell:
            self._ours += 1
        return current_work().cell or self._ours


def cell_number(shell: Any) -> int:
    """The number of the cell whose code runs.  Thread: any."""
    number: int = current_work().cell or shell.displayhook.prompt_count
    return number


def is_work_variable(variable: ContextVar[Any]) -> bool:
    """Whether it is the variable that carries the number."""
    return variable is _carried


def work_in(context: Context | None) -> WorkId:
    """What ``context`` carries, or `NO_WORK`."""
    return NO_WORK if context is None else context.get(_carried, NO_WORK)
