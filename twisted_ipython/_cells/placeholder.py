"""
Our statements, which stand for those of an awaiting cell where IPython runs a cell.

One has the value of the awaiting cell of its context, or raises what that raised;
the other waits for it first.

Thread: cell, unless a docstring says otherwise.
"""

from __future__ import annotations

import ast
import sys
from contextvars import ContextVar
from types import CodeType
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._base.tracebacks import STUB
from twisted_ipython._reactor import lifecycle
from twisted_ipython._waiting.awaiting_cell import AwaitingCell
from twisted_ipython._waiting.calls import show_in_cell_thread

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

current: Final[ContextVar[AwaitingCell]] = ContextVar("twisted_ipython_running")


def running() -> AwaitingCell:
    """The awaiting cell whose statements ours stand for.  Thread: cell."""
    return current.get()


def _stub(source: str, *modes: str) -> dict[str, CodeType]:
    source = source.format(
        "__import__('twisted_ipython._cells.placeholder')._cells.placeholder.running()"
    )
    return {mode: compile(source, STUB, mode, flags=_AWAIT, dont_inherit=True) for mode in modes}


# For a cell's statements, when they have ended.  It does not await: a StopIteration
# that left a coroutine would become a RuntimeError.
RESULT: Final = _stub("{}.result()", "exec", "single")
# For one statement of a cell; it waits.
RUN: Final = _stub("await {}.run()", "single")


async def evaluate_shown(shell: InteractiveShell, code: CodeType) -> Any:
    """Run a statement that displays values, but return the last one.  Thread: reactor."""
    thread = lifecycle.current()
    shown: list[object] = []
    before = sys.displayhook

    def displayhook(value: object) -> None:
        if thread.here():
            shown.append(value)
        else:
            before(value)

    sys.displayhook = displayhook
    try:
        await eval(code, shell.user_global_ns, shell.user_ns)
    finally:
        if sys.displayhook is displayhook:
            sys.displayhook = before
    for value in shown[:-1]:
        await show_in_cell_thread(value)
    return shown[-1] if shown else None
