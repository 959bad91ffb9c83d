"""One line above the prompt when something ends: `_display.updates`, in a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import IPython
import pytest
from terminals import SECONDS, Terminal

SETUP = (
    "import asyncio; from twisted.internet import defer, reactor, threads;"
    " Deferred = defer.Deferred; later = reactor.callLater;"
    " wait = lambda: threads.deferToThread(lambda: open({path!r}).close())"
)
TYPED = "print('typed ' + 'before"
REST = " and after')"
# Ends what waits in the terminal's process.
Go = Callable[[], None]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `wait` in the terminal waits for."""
    path = tmp_path_factory.mktemp("pipe") / "go"
    os.mkfifo(path)
    return path


@pytest.fixture(scope="module")
def go(pipe: Path) -> Go:
    """Have `wait` in the terminal end."""
    return partial(_open, pipe)


def _open(pipe: Path) -> None:
    deadline = monotonic() + SECONDS
    while True:
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads yet
            assert monotonic() < deadline
            sleep(0.005)
        else:
            return


@pytest.fixture(scope="module")
def terminal(pipe: Path) -> Iterator[Terminal]:
    """A terminal with prompt_toolkit that the tests of this module share."""
    with Terminal(prompt_toolkit=True) as one:
        one.run(SETUP.format(path=str(pipe)))
        yield one


def start(terminal: Terminal, name: str, code: str) -> str:
    """Start a job in a cell; give what is shown until the next prompt."""
    return terminal.run(f"get_ipython().run_cell_magic('run_in_reactor', {name!r}, {code!r});")


def above_prompt(terminal: Terminal, go: Go, line: str) -> None:
    """
    Expect a line after ``go``, while something is typed.

    The prompt is drawn again below it, and what was typed is still there to be finished.
    """
    terminal.process.send(TYPED)
    terminal.expect(re.escape("before"))
    go()
    terminal.expect(line)
    terminal.expect(re.escape("before"))
    assert terminal.run(REST).endswith("typed before and after")


def test_a_job_ends(terminal: Terminal, go: Go) -> None:
    """Its end is a line, with its value; a cancelled one says so."""
    start(terminal, "download", "await wait()\nreturn 'value'")
    done = r"job \d+ \(download\) of cell \d+ is done after [\d.]+ m?s: 'value'\r"
    above_prompt(terminal, go, done)
    start(terminal, "long", "await Deferred()")
    terminal.run("wait().addCallback(lambda _: long.cancel());")
    cancelled = r"job \d+ \(long\) of cell \d+ was cancelled after [\d.]+ m?s\r"
    above_prompt(terminal, go, cancelled)


def test_a_value_is_drawn_in_the_main_thread(terminal: Terminal, go: Go) -> None:
    """Its representation, the user's code, is one line."""
    terminal.run(
        "Where = type('Where', (), {'__repr__': lambda self: 'drawn in\\n'"
        " + __import__('threading').current_thread().name})"
    )
    start(terminal, "", "await wait()\nreturn Where()")
    done = r"job \d+ of cell \d+ is done after [\d.]+ m?s: drawn in MainThread\r"
    above_prompt(terminal, go, done)


def test_a_shown_deferred_fires(terminal: Terminal, go: Go) -> None:
    """It is `Out[n]` while pending; then a line has its value or its cancellation."""
    shown = terminal.run("d = wait().addCallback(lambda _: [1, 2]); d")
    assert re.fullmatch(r"Out\[\d+\]: <Deferred of cell \d+: pending since \d\d:\d\d:\d\d>", shown)
    of_cell = r"The Deferred of cell \d+ "
    above_prompt(terminal, go, of_cell + r"fired after [\d.]+ m?s: \[1, 2\]\r")
    assert terminal.run("await d").endswith("[1, 2]")
    terminal.run("d = Deferred(lambda _: None); d")
    terminal.run("wait().addCallback(lambda _: d.cancel());")
    above_prompt(terminal, go, of_cell + r"was cancelled after [\d.]+ m?s\r")
    terminal.run("d.addErrback(lambda _: None);")


def test_below_a_line_that_has_not_ended(terminal: Terminal, go: Go) -> None:
    """What comes while a cell has printed half a line begins a new one; else no line is empty.

    IPython 8 does not note what a cell has printed, so there it begins none.
    """
    new = r"\r?\n" if IPython.version_info >= (9,) else ""
    terminal.run("d = Deferred(); d")
    terminal.type("print('ab' + 'c', end=''); d.callback(5); print('def'); await wait()")
    terminal.expect(rf"abc{new}The Deferred of cell \d+ fired after .*: 5\r?\ndef")
    go()
    terminal.shown()
    terminal.type("print('ab' + 'c', end=''); later(0, lambda: 1 / 0); await wait()")
    terminal.expect(rf"abc{new}(\x1b\S*)?Failure of cell")
    terminal.expect("ZeroDivisionError: division by zero")
    go()
    terminal.shown()
    terminal.run("from twisted_ipython._base.formatting import say")
    terminal.type("print('ab' + 'c', end=''); say('one'); print('x' + 'y'); say('two')")
    terminal.expect(rf"abc{new}one\r?\nxy\r?\ntwo")
    terminal.shown()


def test_a_shown_deferred_fails(terminal: Terminal, go: Go) -> None:
    """Its traceback says so, and no line besides."""
    terminal.run("d = wait().addCallback(lambda _: int('x')); d")
    go()
    terminal.expect("ValueError: invalid literal")
    assert "a Deferred of cell" in terminal.text
    assert "The Deferred of cell" not in terminal.text


def said_meanwhile(terminal: Terminal, go: Go) -> str:
    """What is shown until a job that is started now has ended."""
    start(terminal, "mark", "await wait()")
    go()
    terminal.expect(r"\(mark\) of cell \d+ is done")
    return terminal.text


def test_no_line_for_what_is_waited_for(terminal: Terminal, go: Go) -> None:
    """The cell that waits has the value; nor for a job that failed, which has a traceback."""
    shown: list[str] = []
    for waits in ("await job", "job.wait(5)"):
        terminal.run("gate = Deferred()")
        start(terminal, "job", "return await gate")
        firing = "reactor.callFromThread(later, 0.2, gate.callback, 'waited ' + 'for')"
        shown.append(terminal.run(f"{firing}; {waits}"))
    terminal.run("d = Deferred(); d")
    shown.append(terminal.run("later(0.2, d.callback, 'waited ' + 'for'); await d"))
    shown.append(said_meanwhile(terminal, go))
    assert [text.count("waited for") for text in shown] == [1, 1, 1, 0]
    failed = start(terminal, "job", "1 / 0")
    failed += said_meanwhile(terminal, go)
    assert not re.search("is done|was cancelled", failed)
    terminal.run("job.state, job.wait(1)")


def test_no_line_after_unload(terminal: Terminal, go: Go) -> None:
    """A shell that unloaded the extension hears no more of what goes on."""
    terminal.run("gate = Deferred(); d = Deferred(); d")
    start(terminal, "job", "return await gate")
    terminal.run("%unload_ext twisted_ipython")
    firing = "[reactor.callFromThread(one.callback, 'after') for one in (d, gate)]"
    assert terminal.run(f"{firing}; job.wait(5)").endswith("'after'")
    terminal.run("%load_ext twisted_ipython")
    assert "fired after" not in said_meanwhile(terminal, go)


def test_plain_prompt(pipe: Path, go: Go) -> None:
    """With `--simple-prompt` it is a line of its own below the prompt, for any value."""
    with Terminal() as terminal:
        terminal.run(SETUP.format(path=str(pipe)))
        start(terminal, "download", "await wait()\nreturn {1: 'value'}")
        go()
        done = r"\njob \d+ \(download\) of cell \d+ is done after [\d.]+ m?s: {1: 'value'}\r"
        terminal.expect(done)
        assert terminal.run("1 + 1").endswith("2")
