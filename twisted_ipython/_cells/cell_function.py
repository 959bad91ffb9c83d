"""
The statements of a cell become a function.

Python's parser takes a ``return``, an ``await`` and a ``yield`` at the top level of a module;
only its compiler refuses them.  So a cell is parsed as it stands, and its tree is compiled in
one of two ways, with every line number and every string intact.

A *function* named ``<module>``, so that a traceback reads as that of a plain cell.  Its names
are local, except those that it, or anything nested in it, declares ``global``.  See
`_cells.function_body`.

A *script*, for a cell whose names are to belong to the namespace: module code, so that star
imports, annotations, ``locals()`` and the ``__qualname__`` of classes are those of a script.
Module code gives no value: a last expression is compiled by itself, and evaluated after the
rest.  A cell with a ``return`` or a ``yield`` becomes a function all the same, with all that it
binds declared ``global``; variable annotations are then not kept, and ``locals()`` is empty.

Python's own compiler refuses what neither allows.  What nothing could drive (``await`` beside
``yield``, either of them in a thread or a process) is refused here.

Thread: any.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from twisted_ipython._cells.function_body import compile_function
from twisted_ipython._cells.source import Source
from twisted_ipython._cells.syntax import awaits, own_level, yields

_DRIVES_NOTHING: Final = {
    "--thread": "the thread pool runs blocking code, and only the reactor thread drives coroutines"
    " and Deferreds; leave out --thread",
    "--process": "no reactor runs in its process; leave out --process, or give a coroutine of"
    " asyncio's to asyncio.run",
}
NO_GLOBAL: Final = (
    "'global' in a cell with --process: names that it binds end with its process; return the value"
)


class Kind(enum.Enum):
    """How the function of a cell is driven."""

    PLAIN = "plain"
    COROUTINE = "coroutine"
    GENERATOR = "generator"


class CellFunction(NamedTuple):
    """
    What a cell was compiled to.

    Attributes:
        kind: what a call gives: the value, a coroutine of it, or a generator that returns it.
        codes: run one after the other; the value is that of the last one.
    """

    kind: Kind
    codes: tuple[CodeType, ...]

    def bind(self, namespace: dict[str, Any]) -> Callable[[], Any]:
        """The function, with these globals; it may be called again and again.  Thread: any."""
        # A function over module code has its globals as its locals, as under `exec`.
        steps = [FunctionType(code, namespace) for code in self.codes]
        if len(steps) == 1:
            return steps[0]
        return partial(_await_each if self.kind is Kind.COROUTINE else _call_each, steps)


def rewrite(
    tree: ast.Module,
    *,
    filename: str,
    source: str = "",
    flags: int = 0,
    quiet: bool = False,
    top_level_global: bool = False,
    blocking: str = "",
) -> CellFunction:
    """
    Compile the tree of a cell's body to a function.

    Args:
        tree: with the line numbers of the cell as typed; it is changed.
        filename: of the cell.
        source: the whole cell as typed, for the text of SyntaxErrors.
        flags: the compiler's.
        quiet: whether its last expression is no value; that of a ``return`` is.
        top_level_global: whether what it binds at its top level belongs to the namespace.
        blocking: the option by which it runs where nothing drives a coroutine or a generator.

    Returns:
        the function, to be bound to a namespace.

    Raises:
        SyntaxError: for what Python forbids, in its own words, for ``await`` beside ``yield``,
            and for either of them in a thread or a process.

    Thread: any.
    """
    written = Source(filename, source, flags)
    level = list(own_level(tree))
    _refuse_undrivable(written, level, blocking)
    has_value = any(isinstance(node, ast.Return) or yields(node) for node in level)
    if top_level_global and not has_value:
        codes = _script(written, tree, level, quiet=quiet)
    else:
        codes = (compile_function(written, tree, level, quiet=quiet, all_global=top_level_global),)
    return CellFunction(_kind(codes), codes)


def _refuse_undrivable(source: Source, level: list[ast.AST], blocking: str) -> None:
    """Raise SyntaxError if nothing could drive the cell."""
    suspending = [node for node in level if awaits(node) or yields(node)]
    if blocking and suspending:
        word = _word(suspending[0])
        raise source.refusal(
            f"'{word}' in a cell with {blocking}: {_DRIVES_NOTHING[blocking]}", suspending[0]
        )
    for node in level:
        if blocking == "--process" and isinstance(node, ast.Global):
            raise source.refusal(NO_GLOBAL, node)
    for first, second in itertools.pairwise(suspending):
        if awaits(first) is not awaits(second):
            raise source.refusal(
                f"'{_word(second)}' in a cell that also has '{_word(first)}': a cell is driven as a"
                " coroutine or as inlineCallbacks drives a generator, not as both; write 'await'"
                " in place of every 'yield'",
                second,
            )


def _word(node: ast.AST) -> str:
    match node:
        case ast.Await():
            return "await"
        case ast.AsyncWith():
            return "async with"
        case ast.Yield():
            return "yield"
        case ast.YieldFrom():
            return "yield from"
        case _:
            return "async for"


def _kind(codes: tuple[CodeType, ...]) -> Kind:
    if any(code.co_flags & inspect.CO_COROUTINE for code in codes):
        return Kind.COROUTINE
    if any(code.co_flags & inspect.CO_GENERATOR for code in codes):
        return Kind.GENERATOR
    return Kind.PLAIN


def _script(
    source: Source, tree: ast.Module, level: list[ast.AST], *, quiet: bool
) -> tuple[CodeType, ...]:
    """Compile the cell as module code, with the expression that is its value apart."""
    parts: list[ast.Module | ast.Expression] = [tree]
    match tree.body:
        case [ast.Expr(value=value)] if not quiet:
            parts = [ast.Expression(value)]
        case [*statements, ast.Expr(value=value)] if not quiet:
            parts = [ast.Module(body=statements, type_ignores=[]), ast.Expression(value)]
    # Not in every cell: the flag takes an `await` in a generator expression for the cell's own.
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if any(map(awaits, level)) else 0
    return tuple(source.compile(part, flags) for part in parts)


def _call_each(steps: list[FunctionType]) -> Any:
    for step in steps:
        result = step()
    return result


async def _await_each(steps: list[FunctionType]) -> Any:
    for step in steps:
        result = step()
        if inspect.iscoroutinefunction(step):
            result = await result
    return result
