"""An exception, shown as that of a cell: by a terminal's shell, and by a kernel's messages."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from twisted_ipython._failures.show import BACKGROUND, showing_on


@pytest.fixture
def shell() -> InteractiveShell:
    """A shell."""
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


class Mute(Exception):
    """One that has no words."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Session:
    """Keeps the message that is sent."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}

    def send(self, _: Any, kind: str, content: Any, parent: Any, **about: Any) -> None:
        """Keep it."""
        self.sent = {"kind": kind, "parent": parent, **content, **about}


def raised(error: BaseException) -> BaseException:
    """The exception, raised by code of a cell."""
    try:
        exec(compile("raise error", "<ipython-input-3>", "exec"), {"error": error})
    except BaseException as caught:
        return caught
    raise AssertionError


def test_begins_with_the_users_frame(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a library did before it called the user's code is not shown, but stays as it was."""
    hook = eval(compile("lambda _: 1 / 0", "<ipython-input-3>", "eval"))
    with pytest.raises(ZeroDivisionError) as caught:
        json.loads("{}", object_hook=hook)
    assert caught.value.__traceback__ is not None
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    before = error.__traceback__
    showing_on(shell)(error, "Failure:")
    captured = capsys.readouterr()
    assert "ipython-input-3" in captured.out + captured.err
    assert "decoder.py" not in captured.out + captured.err
    assert error.__traceback__ is before


def test_terminal(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """As IPython shows it, below the line; what `%debug` looks at stays as it was."""
    before = getattr(sys, "last_value", None)
    showing_on(shell)(raised(KeyError("x")), "Failure of cell 3:")
    captured = capsys.readouterr()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", captured.out + captured.err).splitlines()
    assert lines[:2] == ["", "Failure of cell 3:"]
    assert lines[-1] == "KeyError: 'x'"
    assert not any("twisted_ipython" in line for line in lines)
    assert getattr(sys, "last_value", None) is before


@pytest.mark.parametrize(
    ("error", "words"), [(KeyError("x"), "'x'"), (Mute(), "<its str() failed>")]
)
def test_kernel(shell: InteractiveShell, error: Exception, words: str) -> None:
    """An error message of the context's cell, which says that it is the background's."""
    session = Session()
    hook: Any = SimpleNamespace(
        session=session, pub_socket=None, topic=b"kernel.1.execute_result", parent_header={"id": 3}
    )
    kernel: Any = SimpleNamespace(
        displayhook=hook, InteractiveTB=shell.InteractiveTB, showtraceback=None
    )
    showing_on(kernel)(raised(error), "Failure:")
    sent = session.sent
    assert (sent["kind"], sent["ename"], sent["evalue"]) == ("error", type(error).__name__, words)
    assert sent["traceback"][0] == "Failure:"
    assert (sent["parent"], sent["ident"]) == ({"id": 3}, b"kernel.1.error")
    assert sent["metadata"] == {BACKGROUND: True}


def test_in_its_own_words(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that shows itself does, and a group is shown as Python does."""

    class Own(Exception):
        def _render_traceback_(self) -> list[str]:
            return ["my own lines"]

    show = showing_on(shell)
    show(raised(Own()), "First:")
    show(raised(ExceptionGroup("two", [ValueError("a"), KeyError("b")])), "Second:")
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert "First:\nmy own lines\n" in shown
    assert "ExceptionGroup: two (2 sub-exceptions)" in shown
