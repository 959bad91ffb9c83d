"""`%reactor profile`: where the reactor thread spends its time."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from session import Session, held_reactor

from twisted_ipython._base.formatting import Table
from twisted_ipython._magics.reactor_waits import NOT_HERE, profile
from twisted_ipython._reactor.lifecycle import current


def test_idle(session: Session) -> None:
    """A reactor without work is idle, and no line is shown."""
    shown = session.shown("%reactor profile 0.1")
    assert "The reactor thread in 1" in shown
    assert "100% idle" in shown


def test_lines(session: Session) -> None:
    """Code that holds the reactor is seen at its line, by the time that it takes."""
    with held_reactor(session):
        shown = session.shown("%reactor profile 0.2")
    assert "100% idle" not in shown
    assert "hold " in shown.splitlines()[2], shown


def test_interrupt(reactor: Any) -> None:
    """Ctrl-C ends it, and shows what was seen."""
    shown: list[Table] = []
    reactor.callLater(0.1, os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        profile(current(), ["60"], str, shown.append)
    assert "idle" in shown[0].title


def test_refused(session: Session) -> None:
    """What is no number of seconds, and in the reactor thread, in one line."""
    for words in ("soon", "-1", "1 2"):
        assert "usage: %reactor" in session.usage_error(f"%reactor profile {words}")
    assert str(session.run("%%run_in_reactor -w\n%reactor profile 1").error) == NOT_HERE
