"""`%reactor profile`: where the reactor thread spends its time."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest
from session import Session, held_reactor

from twisted_ipython._base.formatting import Report
from twisted_ipython._magics.reactor_wait import NOT_HERE, profile
from twisted_ipython._reactor.lifecycle import current


def test_idle(session: Session) -> None:
    """A reactor without work is idle, and no line is shown."""
    shown = session.shown("%reactor profile 0.1")
    assert re.fullmatch(r"The reactor thread in 1\d\d ms: 100% idle\n?", shown)


def test_lines(session: Session) -> None:
    """Code that holds the reactor is seen at its line, by the time that it takes."""
    with held_reactor(session):
        shown = session.shown("%reactor profile 0.2")
    assert "100% idle" not in shown
    assert "hold " in shown.splitlines()[2], shown


def test_short_pieces(session: Session) -> None:
    """Work in pieces far shorter than the interpreter's turns is seen by the time it takes."""
    session.ok(
        "%%run_in_reactor pieces\nfor _ in range(100_000):\n    sum(range(100_000))\n"
        "    await asyncio.sleep(0)"
    )
    shown = session.shown("%reactor profile 0.5")
    session.ok("%reactor cancel pieces")
    idle = re.search(r"(\d+)% idle", shown)
    assert idle is not None
    assert int(idle[1]) < 20, shown


def test_interrupt(reactor: Any) -> None:
    """Ctrl-C ends it, and shows what was seen."""
    shown: list[Report] = []
    reactor.callLater(0.1, os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        profile(current(), ["60"], str, shown.append)
    assert "idle" in repr(shown[0])


def test_refused(session: Session) -> None:
    """What is no number of seconds, and in the reactor thread, in one line."""
    for words in ("soon", "-1", "1 2"):
        assert "usage: %reactor" in session.usage_error(f"%reactor profile {words}")
    assert str(session.run("%%run_in_reactor -w\n%reactor profile 1").error) == NOT_HERE
