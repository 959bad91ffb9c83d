"""The statements that stand for those of an awaiting cell."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from reactor_thread import in_reactor

from twisted_ipython._cells import placeholder


class Cell:
    """An awaiting cell that has ended."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome

    def result(self) -> object:
        """Its value, or what it raised."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


def result_of(outcome: object) -> list[object]:
    """What the statement that has a cell's result displays."""
    shown: list[object] = []
    cell: Any = Cell(outcome)
    token = placeholder.current.set(cell)
    before, sys.displayhook = sys.displayhook, shown.append
    try:
        exec(placeholder.RESULT["single"], {})
    finally:
        sys.displayhook = before
        placeholder.current.reset(token)
    return shown


def test_result() -> None:
    """It has the value of the cell of its context; a StopIteration stays one."""
    assert result_of(5) == [5]
    with pytest.raises(StopIteration):
        result_of(StopIteration(5))


@in_reactor
async def test_a_statement_that_displays() -> None:
    """Its last value is given, and is not displayed in the reactor thread."""
    shell: Any = SimpleNamespace(user_global_ns={}, user_ns={"x": 5})
    code = compile("await y() if False else x", "<cell>", "single", flags=placeholder._AWAIT)
    before = sys.displayhook
    assert await placeholder.evaluate_shown(shell, code) == 5
    assert sys.displayhook is before
