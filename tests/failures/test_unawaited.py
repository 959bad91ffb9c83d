"""Coroutines that cells left in names, and nobody awaits."""

from __future__ import annotations

import ast
import warnings
from typing import Any

import pytest

from twisted_ipython._failures.running_cell import RunningCell
from twisted_ipython._failures.unawaited import Unawaited

CELL = "x = 1\nc = f()"


async def f() -> int:
    """What has to be awaited."""
    return 5


@pytest.fixture
def names() -> dict[str, Any]:
    """The names of a cell that has run, whose second statement left a coroutine in one."""
    names: dict[str, Any] = {"f": f}
    exec(CELL, names)
    return names


def seen(names: dict[str, Any]) -> Unawaited:
    """What knows the names."""
    code = compile(CELL, "<cell>", "exec")
    cell = RunningCell(ast.parse(CELL).body)
    cell.done = 2
    unawaited = Unawaited()
    unawaited.note(((name, names.get(name)) for name in code.co_names), code, cell)
    return unawaited


def test_warned_of_where_it_was_made(names: dict[str, Any]) -> None:
    """As soon as no name holds it, once, with file and line."""
    unawaited = seen(names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        unawaited.check()
        assert caught == []
        names["c"] = None
        unawaited.check()
        unawaited.check()
    [warning] = caught
    assert (str(warning.message), warning.filename, warning.lineno) == (
        "coroutine 'f' was never awaited",
        "<cell>",
        2,
    )


def test_awaited(names: dict[str, Any]) -> None:
    """One that has begun is no longer noted."""
    unawaited = seen(names)
    with pytest.raises(StopIteration):
        names["c"].send(None)
    names["c"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unawaited.check()


def test_where_the_warning_is_an_error(names: dict[str, Any]) -> None:
    """It is left to Python."""
    unawaited = seen(names)
    names["c"].close()
    exec(CELL, names)
    unawaited = seen(names)
    kept = names["c"]
    names["c"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unawaited.check()
    kept.close()
