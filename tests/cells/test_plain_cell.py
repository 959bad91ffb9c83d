"""Plain cells and files that IPython runs: what one leaves, and what a SystemExit means."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from session import Session, eventually

from twisted_ipython._base.work_id import current_work
from twisted_ipython._cells import plain_cell
from twisted_ipython._cells.file import run_file
from twisted_ipython._cells.plain_cell import Exited, PlainCell
from twisted_ipython._reactor.lifecycle import start
from twisted_ipython._scripts import registry

SCRIPT = "from twisted.internet import reactor\nreactor.run()\nraise SystemExit({code})"


def cell_of(source: str) -> PlainCell:
    """A cell with that source."""
    start()
    return plain_cell.of_nodes(ast.parse(source).body, "<cell>")


def test_a_work_of_its_own() -> None:
    """Within, what begins belongs to it; afterwards to what was there before."""
    before = current_work()
    with cell_of("x = 1") as cell:
        assert current_work() != before
        plain_cell.note_failure()
        seen: list[Any] = []
        code = compile("x", "<cell>", "exec")
        plain_cell.note_statement(lambda *told: seen.append(told), code)
        assert seen == [(code, cell.running)]
    assert cell.raised
    assert current_work() == before
    plain_cell.note_statement(lambda *told: seen.append(told), code)
    assert len(seen) == 1


def test_system_exit() -> None:
    """Of a script it ends the cell alone; of other code it is IPython's."""
    with cell_of("raise SystemExit") as cell:
        assert cell.exit(SystemExit(0)) is None
        plain_cell.show_exit(SystemExit(0), print)
    with cell_of(SCRIPT.format(code=0)) as cell, pytest.raises(Exited) as exited:
        plain_cell.show_exit(SystemExit(0), print)
    assert exited.value.error is None
    assert cell.exited


def test_a_status_is_shown() -> None:
    """An exit status that is not 0 is shown as an error of the cell."""
    shown: list[Any] = []
    with cell_of(SCRIPT.format(code=3)), pytest.raises(Exited):
        plain_cell.show_exit(SystemExit(3), lambda told, **_: shown.append(told))
    [(kind, error, _)] = shown
    assert kind is type(error)
    assert "3" in str(error)


@pytest.mark.parametrize(("code", "raises"), [(0, False), (3, True)])
def test_a_file(tmp_path: Path, code: int, raises: bool) -> None:
    """A file whose script exits ends as a cell does; what it raises is no SystemExit."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(code=code))
    ran: list[Any] = []

    def own(fname: Path, *_: Any) -> None:
        ran.append(fname)
        raise SystemExit(code)

    def run() -> None:
        run_file(own, lambda: PlainCell(lambda: compile("", "", "exec")), path)

    start()
    run_or_raise(run, raises=raises)
    assert ran == [path]


def run_or_raise(run: Callable[[], None], *, raises: bool) -> None:
    """Run it, which may have to raise an exception that is no SystemExit."""
    if not raises:
        run()
        return
    with pytest.raises(Exception, match="3"):
        run()


def test_one_that_is_no_script_leaves_what_it_began(session: Session) -> None:
    """A timer of a cell that ends without ``reactor.run()`` goes on."""
    session.ok("fired = []\nreactor.callLater(0.01, fired.append, 1);")
    eventually(lambda: session.names["fired"])
    assert registry.to_stop(crash=False) is None
