"""
The number of a piece of work and of its cell, which a context carries.

Contexts live as long as what was set up in them (a port, a timer), so they
carry numbers, never a cell, its result or the shell.  Any thread.
"""

from __future__ import annotations

import itertools
from contextvars import Context, ContextVar
from typing import Any, Final, NamedTuple

__all__ = ["NOBODY", "Numbers", "carry", "current", "is_ours", "new", "numbers_in"]


class Numbers(NamedTuple):
    """
    What a context carries.

    Attributes:
        work: the number of an awaiting cell or a job; no other has it.
        cell: the number that IPython gave the cell.
    """

    work: int
    cell: int


NOBODY: Final = Numbers(0, 0)
_carried: Final[ContextVar[Numbers]] = ContextVar("twisted_ipython_numbers")
_numbers: Final = itertools.count(1)


def new(cell: int) -> Numbers:
    """Numbers for work that the cell ``cell`` starts."""
    return Numbers(next(_numbers), cell)


def carry(numbers: Numbers) -> None:
    """Have the current context carry ``numbers``."""
    _carried.set(numbers)


def current() -> Numbers:
    """What the current context carries, or `NOBODY`."""
    return _carried.get(NOBODY)


def is_ours(variable: ContextVar[Any]) -> bool:
    """Whether it is the variable that carries the numbers."""
    return variable is _carried


def numbers_in(context: Context | None) -> Numbers:
    """What ``context`` carries, or `NOBODY`."""
    return NOBODY if context is None else context.get(_carried, NOBODY)
