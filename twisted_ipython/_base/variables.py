"""
Context variables that one cell sets are set in the next, as its names are.

A cell that awaits runs in a context of its own, in the reactor thread; and ipykernel
runs such cells in a task, whose context ends with it.  So what a cell has set is noted
when it ends, and set again when the next one begins in that thread.

The thread in which IPython runs the cell.
"""

from __future__ import annotations

import threading
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

from twisted_ipython._base.work_id import is_work_variable

_UNSET: Final = object()


class Variables(threading.local):
    """The context variables that cells of this thread have set."""

    def __init__(self) -> None:
        self._values: dict[ContextVar[Any], Any] = {}

    def begin(self) -> Context:
        """A cell begins; gives what `end` compares with."""
        for variable, value in self._values.items():
            if variable.get(_UNSET) is not value:
                variable.set(value)
        return copy_context()

    def end(self, before: Context, after: Context) -> None:
        """A cell has ended that ran from one context to another."""
        for variable, value in after.items():
            if before.get(variable, _UNSET) is not value and not is_work_variable(variable):
                self._values[variable] = value
