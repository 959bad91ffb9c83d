"""The cut through a shell's cells: what is put on the shell, and where statements run."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import CodeType
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from twisted_ipython import runner
from twisted_ipython._base.instance import override
from twisted_ipython._cells.autoawait import AutoAwait
from twisted_ipython._failures.running_cell import RunningCell
from twisted_ipython._reactor.lifecycle import start


class Cut:
    """A shell whose cells are cut."""

    def __init__(self) -> None:
        self.shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        self.ended: list[int] = []
        self.statements: list[str] = []
        self.auto = AutoAwait(self.shell, lambda: None, runner, nullcontext, self.ended.append)
        self.auto.after_statement = self._note
        override(self.shell, self.auto.methods())
        self.shell.user_ns["ident"] = threading.get_ident

    def _note(self, code: CodeType, _: RunningCell) -> None:
        self.statements.append(code.co_names[0] if code.co_names else "")

    def run(self, code: str) -> Any:
        """The value of a cell."""
        result = self.shell.run_cell(code)
        result.raise_error()
        return result.result


@pytest.fixture
def cut() -> Cut:
    """A shell, which awaits by our runner."""
    start()
    cut = Cut()
    cut.auto.switch_on()
    return cut


def test_where_statements_run(cut: Cut) -> None:
    """All of a cell that awaits in the reactor thread, those of a plain one in this one."""
    assert cut.run("ident()") == threading.get_ident()
    assert len(cut.ended) == 1
    awaits = "import asyncio\na = ident()\nawait asyncio.sleep(0)\na, ident()"
    assert cut.run(awaits) == (start().ident, start().ident)
    assert cut.statements == ["ident", "asyncio", "ident", "asyncio", "a"]
    assert len(cut.ended) == 1
    assert cut.auto.awaiting == 0


def test_what_an_awaiting_cell_raises(cut: Cut) -> None:
    """It ends the cell, and statements before it have run."""
    with pytest.raises(ZeroDivisionError):
        cut.run("import asyncio\nx = 1\nawait asyncio.sleep(0)\n1 / 0\nx = 2")
    assert cut.shell.user_ns["x"] == 1


def test_switched_off(cut: Cut) -> None:
    """Then the shell's own runners are back, and cells are IPython's matter."""
    assert cut.shell.trio_runner is runner
    cut.auto.switch_off()
    assert cut.shell.trio_runner is not runner
    cut.shell.loop_runner = InteractiveShell.loop_runner_map["asyncio"][0]
    assert cut.run("import asyncio\nawait asyncio.sleep(0)\nident()") == threading.get_ident()


def test_when_idle(cut: Cut) -> None:
    """At once, or after the cells that await; unless it is forgotten before."""
    calls: list[str] = []
    cut.auto.when_idle(lambda: calls.append("idle"))
    cut.shell.user_ns.update(cut=cut, calls=calls)
    cut.run(
        "import asyncio\ncut.auto.when_idle(lambda: calls.append('after'))\n"
        "await asyncio.sleep(0)\nduring = [*calls]"
    )
    assert (cut.shell.user_ns["during"], calls) == (["idle"], ["idle", "after"])
    cut.run(
        "cut.auto.when_idle(lambda: calls.append('never'))\ncut.auto.stay()\nawait asyncio.sleep(0)"
    )
    assert calls == ["idle", "after"]
