"""
A cell's statements, made ready for the reactor thread.

Pure: no reactor, no shell.  ``%magic`` and ``!command``, which IPython has
turned into calls of ``get_ipython().run_line_magic(...)`` and the like by now,
are sent back to the thread that the cell was typed in, and so is what IPython
displays before the cell's last expression.

Thread: any.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence, Set
from types import CodeType
from typing import Any, Final, NamedTuple, TypeVar

from twisted_ipython._cells import syntax
from twisted_ipython._failures.running_cell import RunningCell

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
# What IPython 8 and 9 make of its own language.
_CALLS: Final = {"getoutput", "run_cell_magic", "run_line_magic", "system"}
MAGICS: Final = {"run_line_magic": "line", "run_cell_magic": "cell"}
# What async-kernel makes of it, and awaits itself.
_AWAITED: Final = {"run_cell_magic_async", "run_line_magic_async", "system"}

_Tree = TypeVar("_Tree", bound=ast.AST)
Compiler = Callable[[ast.AST, str, str], CodeType]


class Statements:
    """
    Compiled statements of one cell.

    Args:
        nodes: the statements.

    Attributes:
        codes: to be evaluated one after another; what the last one gives is
            the cell's value if ``shows``.
        rest: statements from the first one on that does not compile.
        shows: whether the last code is an expression to display.
        running: how far they are.
    """

    def __init__(self, nodes: Sequence[ast.stmt]) -> None:
        self.running = RunningCell(nodes)
        self.codes: list[CodeType] = []
        self.rest: list[ast.stmt] = []
        self.shows = False


def is_async(code: CodeType) -> bool:
    """Whether evaluating ``code`` gives a coroutine.  Thread: any."""
    return bool(code.co_flags & inspect.CO_COROUTINE)


def awaits_magic(code: CodeType) -> bool:
    """Whether a statement awaits a magic or command as async-kernel does."""
    return "get_ipython" in code.co_names and not _AWAITED.isdisjoint(code.co_names)


class Reading(NamedTuple):
    """
    What one walk through statements finds at the cell's own level.

    Attributes:
        awaits: whether any of the statements awaits.
        language: the statements with ``%magic`` or ``!command`` in them.
    """

    awaits: bool
    language: list[ast.stmt]


def read(nodes: Sequence[ast.stmt]) -> Reading:
    """Read statements; every cell pays for this.  Thread: any."""
    awaits, language = False, []
    for node in nodes:
        for part in syntax.own_level(node):
            if type(part) is ast.Call:
                if _is_language(part) and node not in language:
                    language.append(node)
            elif not awaits and syntax.awaits(part) and not _awaits_magic(part):
                awaits = True
    return Reading(awaits, language)


def prepare(
    nodes: Sequence[ast.stmt],
    shown: Sequence[ast.stmt],
    language: Sequence[ast.stmt],
    name: str,
    compiler: Compiler,
) -> Statements:
    """
    Compile statements for the reactor thread.

    Args:
        nodes: the statements to run.
        shown: those after them whose expressions IPython displays.
        language: those with IPython's own language in them.
        name: the cell's file name.
        compiler: IPython's, set to allow a top-level await.

    Thread: any.
    """
    everything = [*nodes, *shown]
    made = Statements(everything)
    for index, node in enumerate(everything):
        shows = index >= len(nodes) and isinstance(node, ast.Expr)
        made.shows = shows and index == len(everything) - 1
        display_here = index >= len(nodes) and not made.shows
        try:
            if display_here or node in language:
                node = _SendToCellThread(display=display_here).visit(node)
            made.codes.append(_compile(node, name, compiler, value=made.shows))
        except (SyntaxError, ValueError):
            made.rest, made.shows = everything[index:], False
            return made
    return made


_ASSIGNMENTS: Final = (ast.Assign, ast.AugAssign, ast.AnnAssign)


def split(
    nodes: Sequence[ast.stmt], interactivity: str
) -> tuple[Sequence[ast.stmt], Sequence[ast.stmt]]:
    """The statements to run, and after them those to display, as IPython does.  Thread: any."""
    if not nodes or interactivity == "none":
        return nodes, []
    if interactivity == "all":
        return [], nodes
    last = nodes[-1]
    if interactivity == "last_expr_or_assign" and isinstance(last, _ASSIGNMENTS):
        targets = last.targets if isinstance(last, ast.Assign) else [last.target]
        if len(targets) == 1 and isinstance(targets[0], ast.Name):
            name = ast.Expr(ast.Name(targets[0].id, ast.Load()))
            return nodes, [ast.fix_missing_locations(ast.copy_location(name, last))]
    if interactivity == "last" or isinstance(last, ast.Expr):
        return nodes[:-1], [last]
    return nodes, []


def _compile(node: ast.stmt, name: str, compiler: Compiler, *, value: bool) -> CodeType:
    if value:
        assert isinstance(node, ast.Expr)
        return compiler(ast.Expression(node.value), name, "eval")
    return compiler(ast.Module([node], []), name, "exec")


def send_to_cell_thread(tree: _Tree) -> _Tree:
    """Send magics and commands in code for the reactor back to the cell thread.  Thread: any."""
    sent: _Tree = _SendToCellThread(display=False).visit(tree)
    return sent


def await_magics(tree: _Tree) -> _Tree:
    """Have magics that await do so in code that will run in the reactor thread.  Thread: any."""
    awaiting: _Tree = _AwaitMagics().visit(tree)
    return awaiting


class _AwaitMagics(ast.NodeTransformer):
    """Turns the await of a magic into that of what `_cells.await_magics` makes of it."""

    def visit(self, node: ast.AST) -> Any:
        """Leave scopes of their own alone."""
        return node if isinstance(node, syntax.SCOPES) else super().visit(node)

    def visit_Await(self, node: ast.Await) -> ast.Await:
        """Run a magic that awaits as part of the cell; see `_cells.await_magics`."""
        call = node.value
        if not (isinstance(call, ast.Call) and _is_language(call) and not call.keywords):
            self.generic_visit(node)
            return node
        assert isinstance(call.func, ast.Attribute)
        kind = MAGICS.get(call.func.attr)
        if kind is None:
            return node
        args = [call.func.value, ast.copy_location(ast.Constant(kind), call), *call.args]
        return _await("run", args, call, module="_cells.await_magics")


class _SendToCellThread(_AwaitMagics):
    """Sends what is IPython's own to the thread that the cell was typed in."""

    def __init__(self, *, display: bool) -> None:
        self._display = display

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        """display the value in the cell thread, where IPython would display it here."""
        self.generic_visit(node)
        if self._display:
            node.value = _await("show_in_cell_thread", [node.value], node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Run a magic or a command in the cell thread."""
        if not _is_language(node):
            self.generic_visit(node)
            return node
        source = ast.copy_location(ast.Constant(ast.unparse(node)), node)
        return _await("run_in_cell_thread", [source], node)


def _awaits_magic(node: ast.AST) -> bool:
    """Whether this is an await that async-kernel writes for ``%magic`` or ``!command``."""
    call = node.value if isinstance(node, ast.Await) else None
    return isinstance(call, ast.Call) and _is_language(call, _AWAITED)


def _is_language(node: ast.Call, calls: Set[str] = _CALLS) -> bool:
    """Whether this is a call that IPython writes for ``%magic`` or ``!command``."""
    function = node.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in calls
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
        and not any(isinstance(p, (ast.Await, ast.NamedExpr, ast.Yield)) for p in ast.walk(node))
    )


def _await(
    function: str, args: list[ast.expr], at: ast.expr, module: str = "_waiting.calls"
) -> ast.Await:
    """``await twisted_ipython.<module>.<function>(*args)``, without a name in the namespace."""
    path = f"__import__('twisted_ipython.{module}').{module}.{function}()"
    call = ast.parse(path, mode="eval")
    assert isinstance(call.body, ast.Call)
    call.body.args = args
    for part in (call.body, call.body.func, *ast.walk(call.body.func)):
        ast.copy_location(part, at)
    return ast.copy_location(ast.Await(call.body), at)
