"""
The text of a cell: parsed as it stands, compiled, and quoted in SyntaxErrors.

Thread: any.
"""

from __future__ import annotations

import ast
import io
import tokenize
from types import CodeType
from typing import Any, NamedTuple

_SILENT = frozenset(
    {tokenize.COMMENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.NEWLINE, tokenize.NL}
)


def parse(text: str, *, filename: str, first_line: int, flags: int = 0) -> ast.Module:
    """
    Parse a cell's body as it stands.

    Args:
        text: the body; one that is indented as a whole is taken as it is, below a first line.
        filename: of the cell.
        first_line: the line of the cell at which the body begins, 2 below a ``%%`` line.
        flags: the compiler's, for the futures of earlier cells.

    Returns:
        the tree, with the lines of the cell.

    Raises:
        SyntaxError: with the cell's line and its text.

    Thread: any.
    """
    # Empty lines in front, not a shift afterwards: Python's messages name lines as well.
    if first_line > 1 and _begins_indented(text):
        block = _parse("\n" * (first_line - 2) + "if 1:\n" + text, filename, flags)
        match block.body:
            case [ast.If(body=body, orelse=[])]:
                return ast.Module(body=body, type_ignores=[])
    return _parse("\n" * (first_line - 1) + text, filename, flags)


def _begins_indented(text: str) -> bool:
    for line in io.StringIO(text, newline=None):
        code = line.lstrip(" \t\f")
        if code.rstrip() and not code.startswith("#"):
            # A form feed sets Python's count of the columns back.
            return bool(line.removesuffix(code).rpartition("\f")[2])
    return False


def _parse(text: str, filename: str, flags: int) -> ast.Module:
    flags |= ast.PyCF_ONLY_AST
    try:
        tree: ast.Module = compile(text, filename, "exec", flags=flags, dont_inherit=True)
    except SyntaxError as error:
        # From Python 3.14 on, that of an unknown future comes from here too, and has no text.
        if error.text is None:
            Source(filename, text, flags).quote(error)
        raise
    return tree


def ends_quietly(text: str) -> bool:
    """
    Whether the body of a cell ends in ``;``, as IPython's display hook finds it.

    Args:
        text: the body; what is not Python does not.

    Thread: any.
    """
    if ";" not in text:
        return False
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return False
    return next((t.string == ";" for t in reversed(tokens) if t.type not in _SILENT), False)


class Source(NamedTuple):
    """
    Where a tree comes from.

    Attributes:
        filename: of the cell.
        text: the whole cell as typed.
        flags: the compiler's.
    """

    filename: str
    text: str
    flags: int

    def compile(self, tree: ast.Module | ast.Expression, flags: int = 0) -> CodeType:
        """Compile a tree; a SyntaxError gets the text of its line.  Thread: any."""
        mode = "exec" if isinstance(tree, ast.Module) else "eval"
        try:
            code: CodeType = compile(
                tree, self.filename, mode, flags=self.flags | flags, dont_inherit=True
            )
        except SyntaxError as error:
            self.quote(error)
            raise
        return code

    def refusal(self, message: str, node: ast.AST) -> SyntaxError:
        """A SyntaxError that points at a node.  Thread: any."""
        # Only a comprehension's `async for` has no place of its own.
        place: Any = node.target if isinstance(node, ast.comprehension) else node
        start = (self.filename, place.lineno, place.col_offset + 1)
        end = (place.end_lineno, place.end_col_offset + 1)
        error = SyntaxError(message, (*start, None, *end))
        self.quote(error)
        return error

    def quote(self, error: SyntaxError) -> None:
        """Give a SyntaxError of the compiler's the text of its line.  Thread: any."""
        # The compiler has the tree only: it knows no text, and counts columns in bytes.
        error.text = self._line(error.lineno) or error.text
        error.offset = _in_characters(error.offset, self._line(error.lineno))
        error.end_offset = _in_characters(error.end_offset, self._line(error.end_lineno))

    def _line(self, number: int | None) -> str:
        # Not splitlines: a form feed ends no line of Python.
        lines = io.StringIO(self.text, newline=None).read().split("\n")
        return lines[number - 1] if number and number <= len(lines) else ""


def _in_characters(offset: int | None, line: str) -> int | None:
    if not offset or offset < 0 or not line:
        return offset
    return len(line.encode()[: offset - 1].decode(errors="ignore")) + 1
