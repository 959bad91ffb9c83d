"""
A cell's statements as the body of a function.

The statements get a ``def`` around them, with every line number as it was.  Names that are to
belong to the namespace are declared ``global`` above them, futures stand in front of the
``def``, and star imports, which no function may have, are done by ``exec``.

Thread: any.
"""

from __future__ import annotations

import ast
import itertools
from types import CodeType

from twisted_ipython._cells.source import Source
from twisted_ipython._cells.syntax import awaits


def compile_function(
    source: Source, tree: ast.Module, level: list[ast.AST], *, quiet: bool, all_global: bool
) -> CodeType:
    """
    Compile a cell as a function, a coroutine function if its own level awaits.

    Args:
        source: of the cell.
        tree: its statements; it is changed.
        level: the tree's own level.
        quiet: whether its last expression is no value.
        all_global: whether every name that it binds belongs to the namespace.

    Thread: any.
    """
    futures = _futures(tree.body)
    if all_global:
        _import_stars_by_exec(level, source.filename)
    body = tree.body if quiet else _returning(tree.body)
    if not all_global:
        body = [statement for statement in body if statement not in futures]
    shared = _names_of_namespace(tree, level, all_global=all_global)
    _allow_annotations(level, shared)
    # A `pass` makes a function of an empty cell, and keeps its first string from being a docstring.
    first = ast.Global(names=sorted(shared)) if shared else ast.Pass()
    definition = _definition(
        [ast.fix_missing_locations(first), *body], awaits=any(map(awaits, level))
    )
    # In front of the function they are where Python looks for them, and has them as flags.
    module = source.compile(ast.Module(body=[*futures, definition], type_ignores=[]))
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def _definition(body: list[ast.stmt], *, awaits: bool) -> ast.stmt:
    [definition] = ast.parse("async def cell(): pass" if awaits else "def cell(): pass").body
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    definition.name = "<module>"
    definition.body = body
    return definition


def _returning(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [*statements, ast.Expr(value=value) as last]:
            return [*statements, ast.copy_location(ast.Return(value=value), last)]
        case _:
            return body


def _futures(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            body = rest
    return list(itertools.takewhile(_is_future, body))


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _names_of_namespace(tree: ast.Module, level: list[ast.AST], *, all_global: bool) -> set[str]:
    """The names to declare global above the cell's statements."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.update(node.names)
        elif all_global:
            # Names bound deeper down as well: a scope that binds one goes on having its own.
            names.update(filter(None, [_name_bound_by(node)]))
    # The cell's own declarations stay where they are: Python minds a use above them.
    for node in level:
        if isinstance(node, ast.Global | ast.Nonlocal):
            names.difference_update(node.names)
    return names


def _name_bound_by(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.alias(name=module, asname=name):
            return name or module.partition(".")[0].strip("*")
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return name
        case ast.MatchMapping(rest=name):
            return name
        case _:
            return None


def _allow_annotations(level: list[ast.AST], shared: set[str]) -> None:
    """Make ``x: int = 1`` legal where we, and not the cell, declare x global."""
    for node in level:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) if name in shared:
                # As if it were `(x): int = 1`, which Python takes for a global too.
                node.simple = 0


def _import_stars_by_exec(level: list[ast.AST], filename: str) -> None:
    """Replace the star imports of the cell's own level, which no function may have."""
    for node in level:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                block[:] = [_without_star(statement, filename) for statement in block]


def _without_star(statement: ast.stmt, filename: str) -> ast.stmt:
    match statement:
        case ast.ImportFrom(names=[ast.alias(name="*")]):
            source = "\n" * (statement.lineno - 1) + ast.unparse(statement)
            # Names that the cell may have bound to something else are not relied upon.
            builtins = "__import__('builtins')"
            code = f"{builtins}.compile({source!r}, {filename!r}, 'exec')"
            [replacement] = ast.parse(f"{builtins}.exec({code}, {builtins}.globals())").body
            for node in ast.walk(replacement):
                ast.copy_location(node, statement)
            return replacement
        case _:
            return statement
