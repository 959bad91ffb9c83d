"""
How far the statements of a cell are that runs.

Thread: any.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence


class RunningCell:
    """The statements of a cell that runs, ``done`` of which have run."""

    def __init__(self, statements: Sequence[ast.stmt] = ()) -> None:
        self._statements = statements
        self.done = 0

    def end(self) -> None:
        """It has ended, whether all statements have run or not.  Thread: any."""
        self._statements = ()

    def will_use(self, name: str) -> bool:
        """Whether the statement that runs, or a later one, names it.  Thread: any."""
        left = self._statements[self.done :]
        return any(
            isinstance(part, ast.Name) and part.id == name
            for statement in left
            for part in ast.walk(statement)
        )

    def line_of(self, name: str) -> int:
        """The line on which the statement that ran last names it, or begins.  Thread: any."""
        for statement in self._statements[self.done - 1 : self.done]:
            parts = ast.walk(statement)
            lines = [one.lineno for one in parts if isinstance(one, ast.Name) and one.id == name]
            return [statement.lineno, *lines][-1]
        return 1
