"""Whose a stop of the reactor is: `_scripts.registry`, with stand-ins for scripts."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ReactorNotRunning

from twisted_ipython._base.work_id import WorkId, new_work, set_work
from twisted_ipython._scripts.registry import NOBODY_WAITS, NOT_YET, SEVERAL_WAIT, STOPPING, Scripts
from twisted_ipython._scripts.script import Stage


class Said:
    """A script, as far as a stop is concerned."""

    def __init__(self, stage: Stage, *, keeps: bool = True, would: bool = True) -> None:
        self.work_id, self.stage, self.stops = new_work(1), stage, None
        self.keeps_stop: Callable[[], bool] = lambda: keeps
        self.would_run: Callable[[], bool] = lambda: would
        self.stop: Callable[[], None] = lambda: None
        self.crash: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return f"script {self.work_id.work}"


def of(*scripts: Said) -> Scripts:
    """A table of scripts, of a reactor that is not there."""
    pool = SimpleNamespace(min=0, max=1)
    reactor = SimpleNamespace(resolver=1, nameResolver=2, getThreadPool=lambda: pool)
    made = Scripts(SimpleNamespace(reactor=reactor, crawls=None))  # type: ignore[arg-type]
    for script in scripts:
        made.enter(script)  # type: ignore[arg-type]
    return made


def to_stop(scripts: Scripts, work_id: WorkId | None = None, *, crash: bool = False) -> Any:
    """What a stop in the context of some work is meant for."""

    def ask() -> Any:
        set_work(new_work(1) if work_id is None else work_id)
        return scripts.to_stop(crash=crash)

    return copy_context().run(ask)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since it was asked last."""
    return lambda: capsys.readouterr().out


def test_ones_own() -> None:
    """The script that waits and whose context it is, whatever others wait."""
    one, two = Said(Stage.WAITS), Said(Stage.WAITS)
    assert to_stop(of(one, two), two.work_id) is two


def test_only_one_waits() -> None:
    """From another context it is the only one that waits."""
    one = Said(Stage.WAITS)
    assert to_stop(of(one, Said(Stage.CODE))) is one


def test_several_wait(out: Callable[[], str]) -> None:
    """From another context it is ignored where several wait, and the line names them."""
    one, two = Said(Stage.WAITS), Said(Stage.WAITS)
    assert to_stop(of(one, two)) is None
    assert out() == SEVERAL_WAIT.format(scripts=f"{one}, {two}") + "\n"


def test_nobody_waits(out: Callable[[], str]) -> None:
    """A line says so, with the name of the method."""
    assert to_stop(of(), crash=True) is None
    assert out() == NOBODY_WAITS.replace("stop()", "crash()") + "\n"


def test_stopping() -> None:
    """One that shuts down already is not stopped again."""
    one = Said(Stage.STOPS)
    with pytest.raises(ReactorNotRunning, match=STOPPING.format(script=one)[:40]):
        to_stop(of(one))


def test_kept(out: Callable[[], str]) -> None:
    """A stop before ``run()`` is kept for the script, unless it knows better."""
    one, two = Said(Stage.CODE), Said(Stage.CODE, keeps=False)
    scripts = of(one, two)
    assert to_stop(scripts, one.work_id) is None
    assert one.stops is one.stop
    assert to_stop(scripts, one.work_id, crash=True) is None
    assert one.stops is one.crash
    with pytest.raises(ReactorNotRunning, match=NOT_YET[:40]):
        to_stop(scripts, two.work_id)
    assert out() == ""


def test_cells() -> None:
    """A plain cell is a script once it is asked for; until it ends its number lives."""
    scripts, one = of(), Said(Stage.CODE)
    assert not scripts.lives(one.work_id.work)
    scripts.begin_cell(one.work_id, lambda: one)  # type: ignore[arg-type, return-value]
    assert scripts.is_cell(one.work_id.work)
    assert scripts.lives(one.work_id.work)
    assert scripts.end_cell(one.work_id) is None
    assert not scripts.lives(one.work_id.work)
