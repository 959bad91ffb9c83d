"""
Our statements, which stand for those of an awaiting cell where IPython runs a cell.

One waits for the awaiting cell of its context, the other has its value or
raises what it raised.  In the cell thread, unless a docstring says otherwise.
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

__all__ = ["RESULT", "RUN", "StandIn", "current", "evaluate_shown", "running"]

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

current: Final[ContextVar[AwaitingCell]] = ContextVar("twisted_ipython_running")


def running() -> AwaitingCell:
    """The awaiting cell whose statements ours stand for.  In the cell thread."""
    return current.get()


def _stub(source: str, *modes: str) -> dict[str, CodeType]:
    source = source.format(
        "__import__('twisted_ipython._cells.placeholder')._cells.placeholder.running()"
    )
    return {mode: compile(source, STUB, mode, flags=_AWAIT, dont_inherit=True) for mode in modes}


# What stands for a cell's statements: it has their value, or raises what they
# raised.  `AutoAwait.run_code` waits for them before it runs this, which does not
# await: a StopIteration that left a coroutine would become a RuntimeError.
RESULT: Final = _stub("{}.result()", "exec", "single")
# For one statement of a cell.
RUN: Final = _stub("await {}.run()", "single")


class StandIn:
    """A compiler that gives our statement for its node, and IPython's code for the rest."""

    def __init__(self, compiler: Any) -> None:
        self.node = ast.Expr(ast.Constant(None), lineno=1, col_offset=0)
        self._compiler = compiler
        self.extra_flags = compiler.extra_flags

    def __call__(self, tree: Any, name: str, mode: str) -> CodeType:
        if tree.body[0] is self.node:
            return RESULT[mode]
        code: CodeType = self._compiler(tree, name, mode)
        return code


async def evaluate_shown(shell: InteractiveShell, code: CodeType) -> Any:
    """Run a statement that displays values, but return the last one; in the reactor thread."""
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
