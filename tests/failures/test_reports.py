"""What shows failures: each once, in its context, and floods in bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import new_work, set_work
from twisted_ipython._failures.alike import MORE, SAME
from twisted_ipython._failures.reports import Reports, mark_shown

Shown = list[tuple[BaseException, str]]


class Later:
    """Timers that go off when they are told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []

    def __call__(self, _seconds: float, call: Callable[..., Any], *args: Any) -> None:
        """Set a timer."""
        self.calls.append(lambda: call(*args))

    def go_off(self) -> None:
        """Let all timers go off."""
        while self.calls:
            self.calls.pop(0)()


def reports_of(shown: Shown) -> tuple[Reports, Later]:
    """What shows failures in a list, and its timers."""
    reports, later = Reports(), Later()
    reports.attach(lambda call, *args: call(*args), later, lambda _: "")
    reports.add(lambda error, head: shown.append((error, head)))
    return reports, later


def test_each_exception_once() -> None:
    """An exception is shown once, whoever else reports it, and so is one inside of a FirstError."""
    shown: Shown = []
    reports, _ = reports_of(shown)
    error = ValueError("x")
    reports.report(error, "first{of_cell}:")
    reports.report(error, "again:")
    assert shown == [(error, "first:")]
    inner = ValueError("inner")
    gathered: Deferred[Any] = gatherResults([Deferred()], consumeErrors=True)
    gathered.addErrback(lambda _: None)
    mark_shown(FirstError(Failure(inner), 0))
    reports.report(inner, "seen in a cell:")
    assert len(shown) == 1


@pytest.mark.parametrize("kind", [CancelledError, asyncio.CancelledError])
def test_cancellations_are_not_shown(kind: type[BaseException]) -> None:
    """A cancellation is no failure."""
    shown: Shown = []
    reports, _ = reports_of(shown)
    reports.report(kind(), "cancelled:")
    assert shown == []


def test_context() -> None:
    """A failure is shown in its context, and the line above it names that context's cell."""
    shown: Shown = []
    reports, _ = reports_of(shown)
    context = copy_context()
    context.run(set_work, new_work(7))
    reports.report(ValueError("a"), "It{of_cell} failed", context)
    context.run(reports.report, ValueError("b"), "Another{of_cell}")
    assert [head for _, head in shown] == ["It of cell 7 failed", "Another of cell 7"]


def test_flood(capsys: pytest.CaptureFixture[str]) -> None:
    """The first ten of a cell are shown, then one line says how many more; then it begins anew."""
    shown: Shown = []
    reports, later = reports_of(shown)
    for number in range(25):
        reports.report(ValueError(number), "It failed")
    assert len(shown) == 10
    later.go_off()
    line = MORE.format(count=15, of_cell="", line="ValueError: 24")
    assert capsys.readouterr().err == line + "\n"
    reports.report(ValueError("x"), "It failed")
    assert len(shown) == 11


def test_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """The first of those that are alike is shown, then a line says how many more there were."""
    shown: Shown = []
    reports, later = reports_of(shown)
    for _ in range(25):
        reports.report(ValueError("x"), "It failed")
    assert len(shown) == 1
    later.go_off()
    line = SAME.format(times="24 times", of_cell="", line="ValueError: x")
    assert capsys.readouterr().err == line + "\n"
    reports.report(ValueError("x"), "It failed")
    reports.show_now()
    assert capsys.readouterr().err == line.replace("24", "25") + "\n"
    later.go_off()
    assert capsys.readouterr().err == ""


def test_showing_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """A failure that cannot be shown as IPython does is printed as Python does."""
    reports, _ = reports_of([])

    def broken(_error: BaseException, _head: str) -> None:
        raise RuntimeError

    undo = reports.add(broken)
    reports.report(ValueError("x"), "It failed")
    assert "It failed\nValueError: x\n" in capfd.readouterr().err
    undo()


def test_without_a_shell() -> None:
    """Nothing is shown, and nothing is marked, while no shell has the extension."""
    shown: Shown = []
    reports = Reports()
    error = ValueError("x")
    reports.report(error, "It failed")
    reports.attach(lambda call, *args: call(*args), Later(), lambda _: "")
    reports.add(lambda one, head: shown.append((one, head)))
    reports.report(error, "It failed")
    assert [one for one, _ in shown] == [error]
