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
    """What a context carries."""

    work: int  # that of an awaiting cell or a job; no other has it
    cell: int  # that IPython gave the cell


NO_WORK: Final = WorkId(0, 0)
# How many cells run inside of each other.
_NESTED: Final = 16
_carried: Final[ContextVar[WorkId]] = ContextVar("twisted_ipython_numbers")
# What a context carried before the cells that have begun in it, the innermost last.
_outer: Final[ContextVar[tuple[WorkId, ...]]] = ContextVar("twisted_ipython_outer", default=())
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


def work_in(context: Context | None) -> WorkId:
    """What ``context`` carries, or `NO_WORK`."""
    return NO_WORK if context is None else context.get(_carried, NO_WORK)


def is_work_variable(variable: ContextVar[Any]) -> bool:
    """Whether it is the variable that carries the number."""
    return variable is _carried


def cell_number(shell: Any) -> int:
    """The number of the cell whose code runs.  Thread: any."""
    number: int = current_work().cell or shell.displayhook.prompt_count
    return number


class CellNumbers:
    """The numbers of one shell's cells: IPython's, or, where it counts none, ours."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._ours = 0

    def begin(self, *, counted: bool) -> None:
        """Have this context carry a cell's number; inside of another, that one's.  Thread: cell."""
        outer = current_work()
        if counted or self._shell.execution_count > 1:
            number = int(self._shell.displayhook.prompt_count)
        else:
            self._ours += not outer.cell
            number = outer.cell or self._ours
        # Bounded: not everybody who runs cells by `run_cell_async` says that they have ended.
        _outer.set((*_outer.get()[-_NESTED:], outer))
        set_work(new_work(number))

    def end(self) -> None:
        """Have a cell's context belong to the cell around it again, or to none.  Thread: cell."""
        *rest, before = _outer.get() or (NO_WORK,)
        _outer.set(tuple(rest))
        set_work(before)
