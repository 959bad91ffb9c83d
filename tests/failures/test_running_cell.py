"""Whether a cell that runs will use a name."""

from __future__ import annotations

import ast

from twisted_ipython._failures.running_cell import RunningCell


def test_names_that_will_be_used() -> None:
    """Those of the statement that runs and of later ones count, in functions too; then none."""
    cell = RunningCell(ast.parse("a = 1\nwhile b: pass\ndef f(): return d").body)
    assert [name for name in "abcdf" if cell.will_use(name)] == ["a", "b", "d"]
    cell.done += 1
    assert [name for name in "abcdf" if cell.will_use(name)] == ["b", "d"]
    cell.end()
    assert not cell.will_use("d")


def test_line_of_a_name() -> None:
    """The line on which the statement that ran last names it; else that of the statement."""
    cell = RunningCell(ast.parse("a = 1\nif a:\n    b = f()\n").body)
    cell.done = 2
    assert (cell.line_of("b"), cell.line_of("c")) == (3, 2)
