"""A front end that ignores updates of a display: jupyter console, and the setting for others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from kernels import Execution, Kernel
from terminals import spawn

from twisted_ipython._kernels.kernelspec import NAME, main

SECONDS = 30
IMPORTS = "from twisted.internet import defer, reactor, task; import twisted_ipython"
ENDED = "async def ended():\\n while job.state == 'pending': await task.deferLater(reactor, 0.01)"
JOB = """get_ipython().run_cell_magic('run_in_reactor', 'job', "await gate; return 'the value'")"""
GATE = "gate = defer.Deferred(); gate"
PROGRESS = "await twisted_ipython.progress([task.deferLater(reactor, 0.01), defer.succeed(1)]);"
PLAIN_RESULT = "gate = defer.Deferred(); current().run(lambda: gate)"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]|\r")


class Console:
    """jupyter console in a terminal, with the kernel that `install` makes."""

    def __init__(self, folder: Path) -> None:
        main(["install", "--prefix", str(folder)])
        share = str(folder / "share" / "jupyter")
        self.process = spawn("-m", "jupyter_console", f"--kernel={NAME}", JUPYTER_PATH=share)
        self._count = 0
        self.prompt()

    def expect(self, pattern: str) -> str:
        """Wait for what matches; give what stood before it, and that."""
        self.process.expect(pattern)
        return ESCAPES.sub("", self.process.before + self.process.after)

    def prompt(self) -> str:
        """Wait for the prompt of the next cell; give what stood before it."""
        escapes = r"(?:\x1b\[[0-9;]*m)*"
        self._count += 1
        return self.expect(rf"In {escapes}\[{escapes}{self._count}{escapes}\]: ?")

    def run(self, code: str) -> str:
        """Run a cell of one line; give what was shown after it."""
        self.process.send(code + "\r")
        return self.prompt().rpartition(code)[2]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console, ended with the test."""
    one = Console(tmp_path)
    try:
        yield one
        one.process.send("exit\r")
        one.process.expect(pexpect.EOF)
    finally:
        one.process.close(force=True)


def test_console_says_what_ended(console: Console) -> None:
    """A line for a Deferred and a job that were shown as pending; a job's value by its name."""
    console.run(f'{IMPORTS}; exec("{ENDED}")')
    assert "Out[2]: <Deferred of cell 2: pending since" in console.run(GATE)
    fired = console.run("gate.callback(['a', 'list'])").splitlines()
    # In a line of its own, as the prompt is not drawn again; a value of any class.
    assert re.match(r"The Deferred of cell 2 fired after \S+ m?s: \['a', 'list'\]", fired[2])
    console.run("gate = defer.Deferred()")
    assert "Out[5]: <EventualResult job of cell 5: pending since" in console.run(JOB)
    console.run("(job)")
    shown = console.run("gate.callback(1); await ended()") + console.run("(job)")
    said = re.findall(r"job 1 \(job\) of cell 5 is done after \S+ m?s: 'the value'", shown)
    assert len(said) == 1
    assert re.search(
        r"Out\[8\]: <EventualResult job of cell 5: done in \S+ m?s, 'the value'>", shown
    )
    assert "2 of 2 in" in console.run(PROGRESS)  # lines, and no bar


def line_of(execution: Execution) -> str:
    """What a cell has printed, without empty lines."""
    return execution.printed().strip()


def test_setting() -> None:
    """By the request, or as it is set: a display that changes, or a line."""
    with Kernel() as kernel:
        kernel.ok(IMPORTS)
        gates = "gate = defer.Deferred(); gate"
        fire = "reactor.callFromThread(gate.callback, 7)"
        in_place = kernel.ok(gates)
        kernel.ok(fire)
        kernel.shows(in_place.displays()[0], "7")
        kernel.ok("%twisted_config updates text")
        as_text = kernel.ok(gates)
        assert as_text.value is not None
        again = kernel.ok("gate")
        kernel.ok(fire)
        kernel.pump(lambda: "fired after" in as_text.printed())
        result = kernel.ok(
            "from twisted_ipython._reactor.lifecycle import current\n" + PLAIN_RESULT
        )
        kernel.ok(fire)
        kernel.pump(lambda: line_of(result) == "an EventualResult is done: 7")
        assert line_of(as_text).endswith(": 7")
        assert line_of(again) == ""  # it is told of once, in the cell that showed it first
        kernel.ok("%twisted_config updates auto")
        metadata, kernel.client.session.metadata = kernel.client.session.metadata, {}
        as_console = kernel.ok(gates)
        kernel.ok("reactor.callFromThread(gate.callback, [7])")
        kernel.pump(lambda: "fired after" in as_console.printed())
        program = kernel.ok(gates, allow_stdin=False, store_history=False)
        assert program.displays()
        kernel.client.session.metadata = metadata
        assert line_of(in_place) == ""
