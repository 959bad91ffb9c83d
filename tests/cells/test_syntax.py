"""What belongs to the scope of a cell: `_cells.syntax`."""

from __future__ import annotations

import ast

import pytest

from twisted_ipython._cells.syntax import awaits, own_level, yields


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("await x", True),
        ("[await x for y in z]", True),
        ("[y async for y in z]", True),
        ("async with x: pass", True),
        ("async def f(a=await x): pass", True),
        ("@(await x)\nclass C: pass", True),
        ("(await x for y in z)", False),
        ("(y for y in await x)", True),
        ("async def f(): await x", False),
        ("lambda: (yield)", False),
        ("class C:\n    x = 1", False),
    ],
)
def test_awaits(code: str, does: bool) -> None:
    """Scopes inside await for themselves; what stands outside of them is the cell's."""
    assert any(map(awaits, own_level(ast.parse(code)))) is does


def test_yields() -> None:
    """A ``yield`` in a function is not the cell's."""
    assert any(map(yields, own_level(ast.parse("x = yield 1"))))
    assert not any(map(yields, own_level(ast.parse("def f(): yield from x"))))
