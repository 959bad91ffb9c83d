"""One line above the prompt when something ends: `_notices`, in a real terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from terminals import Terminal

SETUP = (
    "import asyncio; from twisted.internet import defer, reactor; Deferred = defer.Deferred;"
    " later = reactor.callLater"
)
TYPED = "print('typed ' + 'before"
REST = " and after')"


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    """A terminal with prompt_toolkit that the tests of this module share."""
    with Terminal(prompt_toolkit=True) as one:
        one.run(SETUP)
        yield one


def start(terminal: Terminal, name: str, code: str) -> None:
    """Start a job in a cell of two lines."""
    magic = f"get_ipython().run_cell_magic('run_in_reactor', {name!r}, {code!r})"
    terminal.run(f"{magic};")


def above_prompt(terminal: Terminal, line: str) -> str:
    """
    Expect a line while something is typed; give the line.

    The prompt is drawn again below it, and what was typed is still there to be finished.
    """
    terminal.process.send(TYPED)
    terminal.expect(re.escape("before"))
    said = terminal.expect(line)
    terminal.expect(re.escape("before"))
    assert terminal.run(REST).endswith("typed before and after")
    return said


def test_a_job_ends(terminal: Terminal) -> None:
    """Its end is a line, with its value; a cancelled one says so."""
    start(terminal, "download", "return await asyncio.sleep(0.5, 'value')")
    above_prompt(terminal, r"job \d+ \(download\) of cell \d+ is done after \d+ m?s: 'value'\r")
    start(terminal, "long", "await Deferred()")
    terminal.run("later(0.5, long.cancel);")
    above_prompt(terminal, r"job \d+ \(long\) of cell \d+ was cancelled after \d+ m?s\r")


def test_a_value_is_drawn_in_the_main_thread(terminal: Terminal) -> None:
    """Its representation, the user's code, is one line."""
    terminal.run(
        "Where = type('Where', (), {'__repr__': lambda self: 'drawn in\\n'"
        " + __import__('threading').current_thread().name})"
    )
    start(terminal, "", "await asyncio.sleep(0.5)\nreturn Where()")
    above_prompt(terminal, r"job \d+ of cell \d+ is done after \d+ m?s: drawn in MainThread\r")


def test_a_shown_deferred_fires(terminal: Terminal) -> None:
    """It is `Out[n]` while pending; then a line has its value, its failure, or its cancellation."""
    shown = terminal.run("d = Deferred(); later(0.5, d.callback, [1, 2]); d")
    assert re.fullmatch(r"Out\[\d+\]: <Deferred of cell \d+: pending since \d\d:\d\d:\d\d>", shown)
    above_prompt(terminal, r"The Deferred of cell \d+ fired after \d+ m?s: \[1, 2\]\r")
    assert terminal.run("await d").endswith("[1, 2]")
    terminal.run("d = Deferred(); later(0.5, d.errback, ValueError('oops')); d")
    above_prompt(terminal, r"The Deferred of cell \d+ failed after \d+ m?s: ValueError: oops\r")
    terminal.run("d.addErrback(lambda _: None); d = Deferred(lambda _: None); d")
    terminal.run("later(0.5, d.cancel);")
    above_prompt(terminal, r"The Deferred of cell \d+ was cancelled after \d+ m?s\r")
    terminal.run("d.addErrback(lambda _: None);")


def said_meanwhile(terminal: Terminal) -> str:
    """What is shown until a job that is started now has ended."""
    start(terminal, "mark", "await asyncio.sleep(0.3)")
    terminal.expect(r"\(mark\) of cell \d+ is done")
    return terminal.text


def test_no_line_for_what_is_waited_for(terminal: Terminal) -> None:
    """The cell that waits has the value; nor for a job that failed, which has a traceback."""
    start(terminal, "job", "return await asyncio.sleep(0.3, 'waited for')")
    shown = [terminal.run("await job")]
    start(terminal, "job", "return await asyncio.sleep(0.3, 'waited for')")
    shown.append(terminal.run("job.wait(5)"))
    terminal.run("d = Deferred(); later(0.3, d.callback, 'waited for'); d")
    shown.append(terminal.run("await d"))
    shown.append(said_meanwhile(terminal))
    assert [text.count("waited for") for text in shown] == [1, 1, 1, 0]
    start(terminal, "job", "await asyncio.sleep(0.1)\n1 / 0")
    assert "(job) of cell" not in said_meanwhile(terminal)
    terminal.run("job.state, job.wait(1)")


def test_no_line_after_unload(terminal: Terminal) -> None:
    """A shell that unloaded the extension hears no more of what goes on."""
    start(terminal, "job", "return await asyncio.sleep(0.3, 'after')")
    terminal.run("d = Deferred(); later(0.3, d.callback, 'fired'); d")
    terminal.run("%unload_ext twisted_ipython")
    assert terminal.run("job.wait(5)").endswith("'after'")
    terminal.run("%load_ext twisted_ipython")
    assert "fired after" not in said_meanwhile(terminal)


def test_plain_prompt() -> None:
    """With `--simple-prompt` it is a line of its own below the prompt, for any value."""
    with Terminal() as terminal:
        terminal.run(SETUP)
        start(terminal, "download", "return await asyncio.sleep(0.1, {1: 'value'})")
        terminal.expect(r"\njob \d+ \(download\) of cell \d+ is done after \d+ ms: {1: 'value'}\r")
        assert terminal.run("1 + 1").endswith("2")
