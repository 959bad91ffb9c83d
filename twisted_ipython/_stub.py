"""
Our statements, which stand for those of an awaiting cell where IPython runs a cell.

One waits for the awaiting cell of its context, the other has its value or
raises what it raised.  In the home's thread.
"""

from __future__ import annotations

import ast
from contextvars import ContextVar
from types import CodeType
from typing import Any, Final

from twisted_ipython._awaiting import AwaitingCell
from twisted_ipython._traceback import STUB

__all__ = ["RESULT", "RUN", "StandIn", "current", "running"]

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

current: Final[ContextVar[AwaitingCell]] = ContextVar("twisted_ipython_running")


def running() -> AwaitingCell:
    """The awaiting cell whose statements ours stand for.  In the home's thread."""
    return current.get()


def _stub(source: str, *modes: str) -> dict[str, CodeType]:
    source = source.format("__import__('twisted_ipython._stub')._stub.running()")
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
