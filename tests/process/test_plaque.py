"""Plaque renders cells in its own process: `plaque render` and `plaque serve`."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shells import run_python

PLAQUE = ("-c", "from plaque.cli import main; main()")
PROGRAM = """# %%
%load_ext twisted_ipython
%autoawait twisted
import threading
from asyncio import sleep, to_thread
from twisted.internet import reactor
from twisted.internet.defer import Deferred
go = threading.Event()
# %%
%%run_in_reactor job
await to_thread(go.wait, 20)
print("late")
1 / 0
# %%
deferred = Deferred()
deferred
# %%
def fails():
    {}["timer"]
await sleep(0)
reactor.callLater(0, fails);
# %%
deferred.callback("its value")
go.set()
while job.state == "pending":
    await sleep(0.01)
print("own")
"""
SECONDS = 30


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program, in a file."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def _text(page: str) -> str:
    return html.unescape(re.sub(r"<(style|script).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL))


def test_render(program: Path) -> None:
    """The page has late output and failures with the numbers of their cells, and values."""
    run = run_python(*PLAQUE, "render", program, seconds=SECONDS)
    assert run.returncode == 0, run.stderr
    page = _text(program.with_suffix(".html").read_text())
    assert "[from cell 1] late" in page
    assert "[from cell 1] job 1 (job) of cell 1 failed:" in page
    assert "[from cell 1] ZeroDivisionError: division by zero" in page
    assert "Failure of cell 3: a timer's fails()" in page
    assert "KeyError: 'timer'" in page
    assert "\nown\n" in page
    assert "'its value'" in page.partition("deferred = Deferred()\ndeferred")[2][:200]
    assert "\x1b" not in page


def test_serve_stops(program: Path) -> None:
    """Ctrl-C ends a server whose cells left work that goes on."""
    program.write_text(PROGRAM + "# %%\n%%run_in_reactor\nawait Deferred()\n")
    server = subprocess.Popen(
        [sys.executable, *PLAQUE, "serve", str(program), "--port", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with server:
        assert server.stdout is not None
        try:
            said = next((line for line in server.stdout if "Ctrl+C" in line), None)
            assert said is not None
            server.send_signal(signal.SIGINT)
            rest, _ = server.communicate(timeout=5)
        finally:
            server.kill()
    assert (rest.strip(), server.returncode) == ("Aborted!", 1)  # click's words for Ctrl-C
