"""
The nodes of one scope: what a cell, or a part of it, evaluates at its own level.

A function, a class or a generator expression in it has a scope of its own; only decorators,
defaults and the like belong to the scope around it.  A list comprehension has none: what it
awaits, the scope around it awaits.

Thread: any.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, Final


def own_level(tree: ast.AST) -> Iterator[ast.AST]:
    """
    The nodes of a tree's own scope, each before what it holds, without names and constants.

    Args:
        tree: the tree; each cell is walked through once.

    Thread: any.
    """
    # A list, not recursion: a long chain of `elif` or `+` is nested deeper than Python may call.
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        inner = _in_same_scope(node) if type(node) in _ASIDE else _children(node)
        waiting += [
            child
            for child in reversed(inner)
            if isinstance(child, ast.AST) and type(child) not in _LEAVES
        ]


def _children(node: ast.AST) -> list[Any]:
    """What the fields of a node hold; `ast.iter_child_nodes` takes twice as long."""
    inner: list[Any] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            inner += value
        else:
            inner.append(value)
    return inner


_LEAVES: Final = {ast.Load, ast.Store, ast.Del, ast.Name, ast.Constant}
_ASIDE: Final = {
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.GeneratorExp,
}
# What begins a scope of its own: an await put there would belong to that scope.
SCOPES: Final = (*_ASIDE, ast.ListComp, ast.SetComp, ast.DictComp)


def _in_same_scope(node: ast.AST) -> Sequence[ast.AST]:
    """What of a scope is evaluated outside of it."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*node.decorator_list, node.args, *filter(None, [node.returns])]
        case ast.Lambda():
            return [node.args]
        case ast.ClassDef():
            return [*node.decorator_list, *node.bases, *node.keywords]
        case ast.GeneratorExp():
            return [node.generators[0].iter]
        case _:
            return []


def awaits(node: ast.AST) -> bool:
    """Whether a node makes its scope one that awaits.  Thread: any."""
    # The other comprehensions pass an `await` on to the scope that they stand in.
    return type(node) in _AWAITS or (isinstance(node, ast.comprehension) and bool(node.is_async))


_AWAITS: Final = {ast.Await, ast.AsyncFor, ast.AsyncWith}


def yields(node: ast.AST) -> bool:
    """Whether a node makes a generator of its scope.  Thread: any."""
    return isinstance(node, ast.Yield | ast.YieldFrom)
