"""The time limit of a cell: what is left of it, and what changes it."""

from __future__ import annotations

import pytest

from twisted_ipython._waiting.time_limit import TimeLimit


def test_without_a_limit() -> None:
    """Without a limit nothing is left to wait for, whatever the reactor takes."""
    limit = TimeLimit(lambda: None)
    limit.extend(5)
    assert limit.left() is None
    assert limit.seconds is None


def test_changes() -> None:
    """A limit runs from its change on, can be extended, and a grace takes its place."""
    limits: list[float | None] = [100.0]
    limit = TimeLimit(lambda: limits[-1])
    assert limit.left() == pytest.approx(100, abs=5)
    limit.extend(50)
    assert limit.left() == pytest.approx(150, abs=5)
    limits.append(1000.0)
    assert limit.left() == pytest.approx(1000, abs=5)
    assert limit.seconds == 1000
    assert limit.allow(10) == 10
    assert limit.left() == pytest.approx(10, abs=5)
    limits.append(None)
    assert limit.left() is None
