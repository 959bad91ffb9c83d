"""
Magics whose code awaits: a cell with ``%time await f()`` in it is an awaiting cell.

IPython hands a magic its code as text: ``get_ipython().run_line_magic('time',
'await f()')`` has no await that makes the cell one that awaits.  `AddAwaits`, a
hook on the shell, puts it there, ``(await get_ipython()...)``, in the text that
IPython goes on with.  What is awaited then is not what IPython's method gives,
but `run`, to which the cell's call is turned on its way to the reactor thread.

Thread: cell; magics are awaited in the reactor's.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._cells.statements import MAGICS
from twisted_ipython._cells.syntax import SCOPES
from twisted_ipython._waiting.calls import in_cell_thread

# How many arguments a call of a magic has.
_ARGUMENTS: Final = {"line": 2, "cell": 3}
# An await put into one of these would be another scope's; and before Python 3.12
# the columns of what stands in an f-string are wrong.
_CLOSED: Final = (*SCOPES, ast.JoinedStr)
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_NOT_PYTHON: Final = (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError)


class AwaitedMagic(NamedTuple):
    """
    A magic of one shell that can be awaited, by its line and, for a cell magic, the lines below.

    Attributes:
        awaits: whether it has to be; it does not raise, and has no effects.  Thread: cell.
        run: what it gives, as part of the cell.  Thread: reactor.
    """

    awaits: Callable[[str, str | None], bool]
    run: Callable[[str, str | None], Coroutine[Any, Any, Any]]


# By kind and name.
Awaited = Mapping[tuple[str, str], AwaitedMagic]


class _Call(NamedTuple):
    """A call of a magic, as IPython writes it into a cell."""

    kind: str
    name: str
    line: str
    cell: str | None = None


class AddAwaits:
    """
    A hook for ``shell.input_transformers_post`` that awaits the magics that have to be.

    Args:
        awaited: the magics.
        on: whether cells may await now.
    """

    def __init__(self, awaited: Awaited, on: Callable[[], bool]) -> None:
        self.awaited = awaited
        self._on = on
        names = "|".join({re.escape(name) for _, name in awaited})
        self._may_call = re.compile(rf"_magic\s*\(\s*['\"](?:{names})['\"]").search

    def __call__(self, lines: list[str]) -> list[str]:
        """Put ``(await ...)`` around each such call; every other character stays."""
        text = "".join(lines)
        if not self._may_call(text) or not self._on():
            return lines
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(text)
        except _NOT_PYTHON:
            return lines
        return _put_awaits(text, list(self._found(tree))).splitlines(keepends=True)

    def magic_of(self, call: _Call) -> AwaitedMagic | None:
        """The magic that a call has to await, or None.  Thread: cell."""
        magic = self.awaited.get((call.kind, call.name))
        # IPython refuses a cell magic without lines below it.
        if magic is None or call.cell == "" or not magic.awaits(call.line, call.cell):
            return None
        return magic

    def _found(self, tree: ast.AST) -> Iterator[ast.Call]:
        """The calls to await.  Not by recursion: a sum of 400 terms is 400 levels deep."""
        todo = [tree]
        while todo:
            node = todo.pop()
            call = _call_of(node)
            if call is not None and self.magic_of(call) is not None:
                assert isinstance(node, ast.Call)
                yield node
            elif not _is_closed(node):
                todo.extend(ast.iter_child_nodes(node))


async def run(shell: InteractiveShell, kind: str, *args: str) -> Any:
    """
    What ``await get_ipython().run_line_magic(name, line)`` means in an awaiting cell.

    Args:
        shell: the shell.
        kind: of the magic.
        args: its name and line, and the lines below for a cell magic.

    Returns:
        what the magic gives; if it does not await, what awaiting its value
        gives, since such an await is the user's own.

    Thread: reactor.
    """
    call = _Call(kind, *args)
    hooks = shell.input_transformers_post
    hook = next((hook for hook in hooks if isinstance(hook, AddAwaits)), None)
    magic = None if hook is None else await in_cell_thread(lambda: hook.magic_of(call))
    if magic is not None:
        return await magic.run(call.line, call.cell)
    own = shell.run_line_magic if kind == "line" else shell.run_cell_magic
    return await (await in_cell_thread(partial(own, *args)))


def code_awaits(shell: InteractiveShell, code: str) -> bool:
    """Whether code that could be typed as a cell has an await at its top level.  Thread: cell."""
    try:
        text = "".join(_transformed(shell, code))
        if "await" not in text and "async" not in text:
            return False
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        with warnings.catch_warnings(action="ignore"):
            compiled = compile(text, "<awaits>", "exec", flags=flags, dont_inherit=True)
    except _NOT_PYTHON:
        return False
    return bool(compiled.co_flags & inspect.CO_COROUTINE)


def _transformed(shell: InteractiveShell, code: str) -> list[str]:
    """
    The lines of code after the steps of `InteractiveShell.transform_cell` without effects.

    Those are not what IPython does to single lines (autocall), which prints.
    """
    own = shell.input_transformer_manager
    before = [*own.cleanup_transforms, *own.line_transforms]
    lines = f"{code}\n".splitlines(keepends=True)
    for step in (*before, own.do_token_transforms, *shell.input_transformers_post):
        if not getattr(step, "has_side_effects", False):
            lines = step(lines)
    return lines


def _call_of(node: ast.AST) -> _Call | None:
    """The call of a magic that a node is, if it is one with constant arguments."""
    match node:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Call(func=ast.Name(id="get_ipython"), args=[], keywords=[]), attr=method
            ),
            args=[*arguments],
            keywords=[],
        ) if method in MAGICS:
            kind = MAGICS[method]
            texts: list[Any] = [getattr(one, "value", None) for one in arguments]
            if len(texts) == _ARGUMENTS[kind] and all(isinstance(text, str) for text in texts):
                return _Call(kind, *texts)
    return None


def _is_closed(node: ast.AST) -> bool:
    """Whether nothing below a node may be awaited: another scope, or it is awaited already."""
    if isinstance(node, ast.Await):
        return _call_of(node.value) is not None
    return isinstance(node, _CLOSED)


def _put_awaits(text: str, calls: list[ast.Call]) -> str:
    """The text with ``(await ...)`` around calls, none of which holds another."""
    source = text.encode()
    starts = [0, *(end.end() for end in _LINE_END.finditer(source))]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset), reverse=True):
        assert call.end_lineno is not None
        assert call.end_col_offset is not None
        first = starts[call.lineno - 1] + call.col_offset
        last = starts[call.end_lineno - 1] + call.end_col_offset
        source = b"%b(await %b)%b" % (source[:first], source[first:last], source[last:])
    return source.decode()
