"""
Code that is timed: how it is read, what reading it took, and whether that is worth a line.

It is read in the thread that the cell was typed in.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

__all__ = ["SendHome", "TimedCode", "is_long"]

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
# Seconds that reading or compiling the code takes before IPython mentions it.
_LONG: Final = 0.1

SendHome = Callable[[ast.Module], ast.Module]


class TimedCode:
    """How timed code is read: as IPython reads it, and sent home where it is IPython's own."""

    def __init__(self, shell: InteractiveShell, send_home: SendHome) -> None:
        self.shell = shell
        self._send_home = send_home
        self.seconds_parsing = 0.0
        self.seconds_compiling = 0.0

    def parse(self, text: str) -> ast.Module:
        """The statements of transformed text."""
        began = time.thread_time()
        tree = self.shell.compile.ast_parse(text)
        self.seconds_parsing += time.thread_time() - began
        return self._send_home(self.shell.transform_ast(tree))

    def compile(self, tree: ast.Module | ast.Expression, name: str) -> CodeType:
        """Code that may await."""
        mode = "eval" if isinstance(tree, ast.Expression) else "exec"
        compiler: Any = self.shell.compile
        began = time.thread_time()
        with compiler.extra_flags(_AWAIT):
            code: CodeType = compiler(tree, name, mode)
        self.seconds_compiling += time.thread_time() - began
        return code


def is_long(seconds: float) -> bool:
    """Whether reading or compiling code took so long that IPython mentions it.  Any thread."""
    return seconds > _LONG
