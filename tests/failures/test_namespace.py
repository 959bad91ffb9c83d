"""Names that hold what failed, with a shell that is a namespace and a reactor that is a list."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from reactor_thread import logged
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from twisted_ipython._failures.namespace import Watch, is_pending, kind_of
from twisted_ipython._failures.reports import Reports
from twisted_ipython._failures.running_cell import RunningCell


class Cells:
    """
    Cells of one shell.

    Attributes:
        shown: the lines above the failures that were shown.
        reports: what shows them.
        names: the namespace.
        running: the cell that runs.
    """

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.names: dict[str, Any] = {}
        self.running = RunningCell()
        self._timers: list[Callable[[], None]] = []
        self.reports = reports = Reports()
        reports.attach(lambda call, *args: call(*args), self._later, lambda _: "")
        reports.add(lambda _, head: self.shown.append(head))
        self.loop = asyncio.new_event_loop()
        shell: Any = SimpleNamespace(user_ns=self.names)
        self.watch = Watch(shell, reports, self.loop, lambda call, *args: call(*args), self._later)

    def _later(self, _seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(call)

    def time_passes(self) -> None:
        """Let the timers go off twice: what has failed is found, and then judged."""
        for _ in range(2):
            timers, self._timers = self._timers, []
            for call in timers:
                call()

    def run(self, code: str, rest: str = "", **held: Any) -> None:
        """A statement binds names; those after it in its cell have not run."""
        self.running = RunningCell(ast.parse(f"{code}\n{rest}").body)
        self.names |= held
        self.watch.check_statement(compile(code, "<cell>", "exec"), self.running)


@pytest.fixture
def cells() -> Any:
    """Cells; at the end their loop is closed."""
    cells = Cells()
    yield cells
    cells.loop.close()


def test_a_failure_that_a_name_holds(cells: Cells) -> None:
    """It is shown by its name, once, and is there for whoever wants it later."""
    failed: Deferred[None] = fail(ValueError("x"))
    cells.run("d = f()", d=failed)
    cells.time_passes()
    cells.time_passes()
    assert cells.shown == ["d, a Deferred, failed, and nobody waits for it:"]
    caught: list[Failure] = []
    failed.addErrback(caught.append)
    assert caught[0].type is ValueError


def test_shown_once(cells: Cells) -> None:
    """What was shown counts as handled: Twisted does not log it when it is collected."""
    with logged() as errors:
        cells.run("d = f()", d=fail(ValueError("x")))
        cells.time_passes()
        assert len(cells.shown) == 1
        cells.names.clear()
    assert errors == []


def test_one_that_fails_later(cells: Cells) -> None:
    """A pending Deferred is polled until it has failed."""
    pending: Deferred[None] = Deferred()
    cells.run("d = f()", d=pending)
    cells.time_passes()
    assert cells.shown == []
    pending.errback(ValueError("x"))
    cells.time_passes()
    assert len(cells.shown) == 1


def test_a_future(cells: Cells) -> None:
    """One of the reactor's loop is polled too; another's is not; nobody knows when it failed."""
    cells.reports.ago = lambda _number: "9 s ago"
    other = asyncio.new_event_loop()
    futures = [loop.create_future() for loop in (cells.loop, other)]
    for future in futures:
        future.set_exception(ValueError("x"))
    cells.run("a, b = f()", a=futures[0], b=futures[1])
    cells.time_passes()
    assert cells.shown == ["a, a future, failed, and nobody waits for it:"]
    assert futures[1].exception() is not None
    other.close()


def test_handled_in_time(cells: Cells) -> None:
    """What was handled before it was judged is nobody's failure."""
    failed: Deferred[None] = fail(ValueError("x"))
    cells.run("d = f()", d=failed)
    failed.addErrback(lambda _: None)
    cells.time_passes()
    assert cells.shown == []


def test_a_cell_that_will_use_the_name(cells: Cells) -> None:
    """While the cell runs that goes on to use it, nothing is said."""
    failed: Deferred[None] = fail(ValueError("x"))
    cells.run("d = f()", rest="await d", d=failed)
    cells.time_passes()
    assert cells.shown == []
    cells.running.end()
    cells.time_passes()
    assert len(cells.shown) == 1


def test_bound_by_other_code(cells: Cells) -> None:
    """After a cell before which something has failed all names are checked, however old."""
    cells.names |= {f"x{number}": number for number in range(100)}
    cells.names |= {"d": fail(ValueError("x"))} | {f"y{number}": [] for number in range(100)}
    result: Any = SimpleNamespace(info=None, execution_count=3, result=fail(KeyError("y")))
    cells.watch.check_cell(result)
    cells.time_passes()
    assert cells.shown == [
        "Out[3], a Deferred of cell 3, failed, and nobody waits for it:",
        "d, a Deferred of cell 3, failed, and nobody waits for it:",
    ]


def test_at_the_end_of_the_process(cells: Cells) -> None:
    """What was bound elsewhere is found by a check of all names."""
    cells.names["d"] = fail(ValueError("x"))
    cells.watch.check_all()
    cells.time_passes()
    assert len(cells.shown) == 1


def test_words() -> None:
    """What is polled, and when it is pending."""
    loop = asyncio.new_event_loop()
    waiting = succeed(None)
    waiting.addCallback(lambda _: Deferred())
    assert [is_pending(one) for one in (Deferred(), succeed(1), waiting, loop.create_future())] == [
        True,
        False,
        True,
        True,
    ]
    kinds = [Deferred, type("Own", (Deferred,), {}), asyncio.Future, asyncio.Task, object]
    assert list(map(kind_of, kinds)) == ["Deferred", "Deferred", "future", "task", None]
    loop.close()
