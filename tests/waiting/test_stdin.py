"""Questions and debuggers in the reactor thread, in a real kernel and at a real terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Execution, Kernel
from terminals import Terminal

from twisted_ipython._waiting.stdin import NO_DEBUGGER, NOBODY_WAITS

# What is taken before loading asks in the right thread too.
BEFORE = """
import asyncio, builtins, os, pdb, sys, time
import getpass as module
from getpass import getpass
own = builtins.input, module.getpass, sys.breakpointhook
"""
HERE = "await asyncio.sleep(0)\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    """A kernel that tests share which leave it working."""
    with Kernel(load=False) as one:
        one.ok(BEFORE)
        one.ok("%load_ext twisted_ipython\n%autoawait twisted")
        yield one


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """The shared kernel, which each test must leave awaiting, without a tracing debugger."""
    yield shared
    assert shared.value(HERE + "'works'") == "'works'"


def asking(kernel: Kernel, code: str) -> Execution:
    """Send a cell that may ask."""
    return kernel.submit(code, allow_stdin=True)


def interrupted(kernel: Kernel, execution: Execution) -> str:
    """Interrupt a cell that asks; its traceback, which has the user's frames only."""
    kernel.asked(execution)
    kernel.interrupt()
    execution.wait(1)
    assert execution.error == "KeyboardInterrupt"
    assert "File " not in execution.traceback
    return execution.traceback


# ---- in a kernel


def test_input_and_getpass(kernel: Kernel) -> None:
    """An awaiting cell asks for words and passwords; their time is not the cell's."""
    kernel.ok("%twisted_config timeout 1")
    cell = asking(kernel, HERE + "told = input('who? '), getpass('secret? ')\n" + HERE + "told")
    assert kernel.asked(cell) == "who? "
    with pytest.raises(AssertionError, match="nothing within"):
        cell.wait(1.2)
    kernel.client.input("me")
    assert kernel.answer(cell, "word") == "secret? "
    assert cell.wait().value == "('me', 'word')"
    assert cell.printed("stderr") == ""
    kernel.ok("%twisted_config timeout INFINITY")


def test_run_in_reactor_wait(kernel: Kernel) -> None:
    """A job asks where a cell waits for it, from the reactor thread and from threads of work."""
    cell = asking(
        kernel,
        "%%run_in_reactor --wait\n[input('1'), await asyncio.to_thread(input, '2')]",
    )
    assert [kernel.answer(cell, word) for word in "ab"] == ["1", "2"]
    assert cell.wait().value == "['a', 'b']"


def test_reactor_wait(kernel: Kernel) -> None:
    """A job of an earlier cell asks in the cell that waits for it now."""
    kernel.ok(
        "%%run_in_reactor asks\n"
        "global begin\nbegin = asyncio.Event()\nawait begin.wait()\ninput('?')"
    )
    cell = asking(kernel, HERE + "begin.set()\nawait asks")
    assert kernel.answer(cell, "told") == "?"
    assert cell.wait().value == "'told'"


def test_tracing_after_a_question(kernel: Kernel) -> None:
    """What is traced after an answer, or an interrupt that came as it did, runs to its end."""
    cell = asking(kernel, HERE + "input('who? ')")
    kernel.answer(cell, "me")
    cell.wait()
    interrupted(kernel, asking(kernel, HERE + "input('who? ')"))
    kernel.ok(
        "import sys\ndef work(): return 1\n"
        "sys.settrace(lambda *_: None); work(); sys.settrace(None)"
    )


def test_interrupt(kernel: Kernel) -> None:
    """An interrupt ends a question, as KeyboardInterrupt at the line that asks."""
    traceback = interrupted(kernel, asking(kernel, HERE + "input('who? ')"))
    assert "----> 2 input('who? ')" in traceback


def test_caught_interrupt(kernel: Kernel) -> None:
    """A cell that catches the interrupt of a question goes on, awaits, and may ask again."""
    cell = asking(
        kernel,
        HERE + "try: input('1')\nexcept KeyboardInterrupt: pass\n"
        "await asyncio.sleep(0.01)\ninput('2')",
    )
    kernel.asked(cell)
    kernel.interrupt()
    assert kernel.answer(cell, "again") == "2"
    assert cell.wait().value == "'again'"


def test_front_end_that_cannot_ask(kernel: Kernel) -> None:
    """Where the front end cannot ask, a question fails at once and says so."""
    cell = kernel.run(HERE + "input()", seconds=2, allow_stdin=False)
    assert cell.error == "StdinNotImplementedError"
    assert "this frontend does not support input requests" in cell.traceback


@pytest.mark.parametrize(
    ("ask", "message"),
    [("input()", NOBODY_WAITS), ("pdb.Pdb().set_trace()\n    0", NO_DEBUGGER)],
    ids=["input", "debugger"],
)
@pytest.mark.parametrize("when", ["idle", "plain cell"])
def test_nobody_waits(kernel: Kernel, ask: str, message: str, when: str, tmp_path: Path) -> None:
    """A question in the background fails at once, and says what to do."""
    said = tmp_path / "said"
    begin = tmp_path / "begin"
    kernel.ok(
        f"%%run_in_reactor asks\ndef ask():\n    {ask}\n"
        f"while not os.path.exists({str(begin)!r}): await asyncio.sleep(0.01)\n"
        "try: ask()\nexcept RuntimeError as error:\n"
        f"    with open({str(said)!r} + '~', 'w') as file: file.write(str(error))\n"
        f"    os.rename({str(said)!r} + '~', {str(said)!r})",
        allow_stdin=True,
    )
    if when == "plain cell":
        cell = asking(kernel, f"while not os.path.exists({str(said)!r}): time.sleep(0.01)")
    begin.touch()
    kernel.pump(said.exists, 2)
    assert said.read_text() == message
    if when == "plain cell":
        cell.wait()


def test_debugger(kernel: Kernel) -> None:
    """A debugger of an awaiting cell works on the cell's frames."""
    cell = asking(kernel, HERE + "def f(x):\n    pdb.set_trace()\n    return x\nf(5)")
    assert [kernel.answer(cell, word) for word in ("p x + 1", "x = 7", "c")] == ["ipdb> "] * 3
    assert cell.wait().value == "7"
    assert "\n6\n" in cell.printed()


def test_breakpoint(kernel: Kernel) -> None:
    """`breakpoint()` debugs an awaiting cell, as nobody debugs by way of the front end."""
    cell = asking(kernel, HERE + "def f(x):\n    breakpoint()\n    return x\nf(5)")
    assert [kernel.answer(cell, word) for word in ("p x + 1", "x = 7", "c")] == ["ipdb> "] * 3
    assert cell.wait().value == "7"
    assert "\n6\n" in cell.printed()


def test_breakpoint_that_a_variable_switches_off(kernel: Kernel) -> None:
    """Python's own switch for `breakpoint()` is heeded."""
    kernel.ok("os.environ['PYTHONBREAKPOINT'] = '0'")
    kernel.ok(HERE + "breakpoint()")
    kernel.ok("del os.environ['PYTHONBREAKPOINT']")


class FrontEnd:
    """A front end that debugs a kernel, over its control channel."""

    def __init__(self, kernel: Kernel) -> None:
        self._client = kernel.client
        self._number = 0
        self.ask("initialize", clientID="test", adapterID="python", pathFormat="path")
        self.ask("attach")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Make a request; gives the body of the reply."""
        self._number += 1
        content = {"type": "request", "seq": self._number, "command": command}
        message = self._client.session.msg("debug_request", {**content, "arguments": arguments})
        self._client.control_channel.send(message)
        while True:
            reply = self._client.control_channel.get_msg(timeout=20)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                assert reply["content"]["success"]
                return reply["content"].get("body")

    def stopped(self) -> int:
        """Wait until a thread has stopped; gives its number."""
        while True:
            message = self._client.get_iopub_msg(timeout=20)
            if message["content"].get("event") == "stopped":
                thread: int = message["content"]["body"]["threadId"]
                return thread


@pytest.mark.parametrize("before", ["", HERE], ids=["plain cell", "awaiting cell"])
def test_breakpoint_of_front_end(before: str) -> None:
    """While a front end debugs, `breakpoint()` stops for it, at the line of the user's."""
    code = before + "def f(x):\n    breakpoint()\n    return x\nf(5)"
    with Kernel() as kernel:
        kernel.ok("import asyncio")
        front_end = FrontEnd(kernel)
        path = front_end.ask("dumpCell", code=code)["sourcePath"]
        source = {"path": path}
        front_end.ask("setBreakpoints", source=source, breakpoints=[], sourceModified=False)
        front_end.ask("configurationDone")
        cell = kernel.submit(code)
        thread = front_end.stopped()
        top = front_end.ask("stackTrace", threadId=thread)["stackFrames"][0]
        assert (top["name"], top["source"]["path"]) == ("f", path)
        front_end.ask("continue", threadId=thread)
        assert cell.wait().value == "5"


def test_interrupted_debugger(kernel: Kernel) -> None:
    """An interrupt ends a debugger, and its cell as KeyboardInterrupt."""
    interrupted(kernel, asking(kernel, HERE + "def f(x):\n    pdb.set_trace()\n    return x\nf(5)"))


def test_pdb_and_debug(kernel: Kernel) -> None:
    """After an awaiting cell failed, `%pdb` and `%debug` work on the user's frames."""
    failing = HERE + "async def f(x):\n    await asyncio.sleep(0)\n    1 / 0\nawait f(5)"
    cell = asking(kernel, "%pdb on\n" + failing)
    for word in ("p x + 1", "up", "p __name__", "q"):
        kernel.answer(cell, word)
    assert cell.wait().error == "ZeroDivisionError"
    assert "\n6\n" in cell.printed()
    assert "__main__" in cell.printed()
    cell = asking(kernel, "%pdb off\n%debug")
    for word in ("p x + 2", "q"):
        kernel.answer(cell, word)
    assert "\n7\n" in cell.wait().printed()


def test_put_back(shared: Kernel) -> None:
    """Plain cells ask as ever; unloading puts back what was there, in and between cells."""
    cell = asking(shared, "input('?')")
    assert shared.answer(cell, "plain") == "?"
    assert cell.wait().value == "'plain'"
    kept = "get_ipython().kernel._sys_raw_input, get_ipython().kernel._save_getpass"
    assert shared.value(f"[one.__module__ for one in ({kept})]") == "['builtins', 'getpass']"
    assert shared.value(f"[one is builtins.input for one in ({kept})]") == "[False, False]"
    shared.ok("%unload_ext twisted_ipython")
    now = "builtins.input, module.getpass, sys.breakpointhook"
    assert shared.value(f"own == ({now})") == "True"
    value = f"[hasattr(one, '__wrapped__') for one in ({kept})]"
    assert shared.value(value) == "[False, False]"
    assert shared.value("'_input_request' in vars(get_ipython().kernel)") == "False"
    shared.ok("%load_ext twisted_ipython\n%autoawait twisted")


# ---- at a terminal


@pytest.fixture(scope="module", params=[False, True], ids=["simple prompt", "prompt_toolkit"])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal that tests share which leave it awaiting."""
    with Terminal(prompt_toolkit=request.param) as one:
        one.run("import asyncio, builtins, getpass; from twisted.internet import reactor")
        yield one


def test_input_at_terminal(terminal: Terminal) -> None:
    """An awaiting cell asks in the terminal, and Ctrl-C ends the question."""
    ask = "await asyncio.sleep(0); (input('who' + '? '), getpass.getpass('secret' + '? '))"
    terminal.type(ask)
    terminal.expect(r"who\? ")
    terminal.process.sendline("me")
    terminal.expect(r"secret\? ")
    terminal.process.sendline("word")
    assert terminal.shown().endswith("('me', 'word')")
    terminal.type(ask)
    terminal.expect(r"who\? ")
    terminal.interrupt()
    shown = terminal.shown()
    assert shown.endswith("KeyboardInterrupt:")
    assert "File " not in shown
    assert terminal.run("await asyncio.sleep(0, 'wor' + 'ks')").endswith("'works'")


def test_breakpoint_at_terminal(terminal: Terminal) -> None:
    """`breakpoint()` in an awaiting cell debugs it; Ctrl-C ends both."""
    terminal.type("await asyncio.sleep(0); x = 5; breakpoint(); x")
    terminal.expect(r"\(Pdb\) ")
    terminal.process.sendline("p x + 1")
    terminal.expect(r"6\r\n[^\n]*\(Pdb\) ")
    terminal.process.sendline("c")
    assert terminal.shown().endswith("5")
    terminal.type("await asyncio.sleep(0); breakpoint(); x")
    terminal.expect(r"\(Pdb\) ")
    terminal.interrupt()
    assert terminal.shown().endswith("KeyboardInterrupt:")
    assert terminal.run("await asyncio.sleep(0, 'wor' + 'ks')").endswith("'works'")


def test_pdb_and_debug_at_terminal(terminal: Terminal) -> None:
    """After an awaiting cell failed, `%pdb` and `%debug` work on its frames."""
    terminal.run("await asyncio.sleep(0); x = 5; 1 / 0")
    for line in ("%debug", "await asyncio.sleep(0); 1 / 0"):
        terminal.type(line)
        terminal.expect("pdb>")
        terminal.type("p x + 1")
        terminal.expect(r"6\r?\n")
        terminal.expect("pdb>")
        terminal.type("q")
        terminal.shown()
        terminal.run("%pdb on")
    terminal.run("%pdb off")


def test_nobody_waits_at_terminal(terminal: Terminal) -> None:
    """A background question leaves the prompt alone, and fails with a sentence."""
    terminal.run("import crochet; result = crochet.run_in_reactor(input)()")
    assert NOBODY_WAITS in terminal.run("result.wait(2)").replace("\n", "")


def test_put_back_at_terminal(terminal: Terminal) -> None:
    """Unloading puts back what was there."""
    terminal.run("%unload_ext twisted_ipython")
    shown = terminal.run("builtins.input, getpass.getpass")
    assert "<built-in function input>" in shown or "<function input(prompt='', /)>" in shown
    assert "unix_getpass" in shown
    assert terminal.run("builtins.input.__class__.__name__").endswith(
        "'builtin_function_or_method'"
    )
