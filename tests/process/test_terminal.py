"""Awaiting cells in IPython at a terminal, in scripts, and in `IPython.embed`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from shells import run_python
from terminals import Terminal

from twisted_ipython._base.tracebacks import NO_PROMPT

IMPORTS = (
    "import asyncio, os, signal, sys, threading, time; from twisted.internet import defer,"
    " protocol, reactor, task; from twisted_ipython import in_main_thread"
)
LATER = "later = lambda value=None, seconds=0.05: task.deferLater(reactor, seconds, lambda: value)"
HERE = "factory = protocol.Factory(); here = lambda *_: threading.current_thread().name"


def prepared(terminal: Terminal) -> Terminal:
    """A terminal with what the tests use."""
    for line in (IMPORTS, LATER, HERE):
        terminal.run(line)
    return terminal


@pytest.fixture(scope="module", params=[False, True], ids=["simple prompt", "prompt_toolkit"])
def shared(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal that tests share which leave it working."""
    with Terminal(prompt_toolkit=request.param) as one:
        yield prepared(one)


@pytest.fixture
def terminal(shared: Terminal) -> Iterator[Terminal]:
    """The shared terminal; each test must leave it awaiting."""
    yield shared
    assert shared.run("await later('wor' + 'ks')").endswith("'works'")


def test_awaiting(terminal: Terminal) -> None:
    """Deferreds and asyncio objects are awaited at the prompt, in the reactor thread."""
    assert terminal.run("await later(here())").endswith("'CrochetReactor'")
    assert terminal.run("await asyncio.gather(asyncio.sleep(0, 1), later(2))").endswith("[1, 2]")


def test_switching(terminal: Terminal) -> None:
    """`%autoawait asyncio` and back work at any time."""
    terminal.run("%autoawait asyncio")
    assert terminal.run("await asyncio.sleep(0, here())").endswith("'MainThread'")
    terminal.run("%autoawait twisted")
    assert terminal.run("%autoawait").endswith("set to use `twisted`")


@pytest.mark.parametrize(
    "awaited", ["later(1, 60)", "asyncio.sleep(60)", "asyncio.gather(asyncio.sleep(60))"]
)
def test_interrupt(terminal: Terminal, awaited: str) -> None:
    """Ctrl-C ends an awaiting cell as KeyboardInterrupt, with its line, within 1 s."""
    line = f"print('await' + 'ing'); await {awaited}"
    terminal.type(line)
    terminal.expect("awaiting\r\n")
    begun = monotonic()
    terminal.interrupt()
    shown = terminal.shown()
    assert monotonic() - begun < 1
    assert f"----> 1 {line}" in shown
    assert shown.endswith("KeyboardInterrupt:")


def test_plain_cells(terminal: Terminal) -> None:
    """Cells that do not await have the reactor run what they ask for, and Ctrl-C ends them."""
    terminal.run("threads = []; loop = task.LoopingCall(lambda: threads.append(here()))")
    terminal.run("ended = loop.start(0.01); __import__('time').sleep(0.5)")
    assert terminal.run("threads[0], set(threads[1:])").endswith(
        "('MainThread', {'CrochetReactor'})"
    )
    assert terminal.run("loop.stop(); (await ended) is loop").endswith("True")
    # Python loses a KeyboardInterrupt in a weak reference's callback: what earlier cells left
    # would be collected in this one.
    terminal.run("__import__('gc').collect();")
    terminal.type("print('call' + 'ing'); [reactor.callLater(0, int) for _ in iter(int, 1)]")
    terminal.expect("calling\r\n")
    terminal.interrupt()
    assert terminal.shown().endswith("KeyboardInterrupt:")


def test_interrupt_runs_canceller(terminal: Terminal) -> None:
    """Ctrl-C runs the canceller of the awaited Deferred and cancels asyncio's children."""
    terminal.run("gate = defer.Deferred(lambda _: print('can' + 'cel' + 'led'))")
    terminal.run("child = asyncio.sleep(60)")
    terminal.type("print('await' + 'ing'); await asyncio.gather(asyncio.wait_for(gate, 60), child)")
    terminal.expect("awaiting\r\n")
    terminal.interrupt()
    assert "cancelled" in terminal.shown()
    assert terminal.run("print(child.cr_frame)").endswith("None")


def test_second_interrupt_gives_up(terminal: Terminal) -> None:
    """A second Ctrl-C gives up work that swallows cancellation."""
    terminal.run("gate = threading.Event()")
    terminal.run("swallow = lambda error: print('swal' + 'lowed') or later(None, 60)")
    terminal.type("print('await' + 'ing'); await later(None, 60).addErrback(swallow)")
    terminal.expect("awaiting\r\n")
    terminal.interrupt()
    terminal.expect("swallowed\r\n")
    terminal.interrupt()
    assert "KeyboardInterrupt" in terminal.shown()


def test_interrupt_of_command(terminal: Terminal) -> None:
    """Ctrl-C breaks a command of an awaiting cell, and the cell."""
    terminal.run("ran = []")
    terminal.run("slow = lambda line: print('sl' + 'ow') or time.sleep(60)")
    terminal.run("get_ipython().register_magic_function(slow, magic_name='slow')")
    terminal.type("await later(); x = get_ipython().run_line_magic('slow', ''); ran.append(1)")
    terminal.expect("slow\r\n")
    terminal.interrupt()
    assert "KeyboardInterrupt" in terminal.shown()
    assert terminal.run("ran").endswith("[]")


def test_main_thread_while_awaiting(terminal: Terminal) -> None:
    """`in_main_thread` is served while a cell awaits, and its signals work."""
    assert terminal.run("await in_main_thread(here)").endswith("'MainThread'")
    terminal.run("caught = lambda *_: print('usr' + '1')")
    terminal.run("await in_main_thread(signal.signal, signal.SIGUSR1, caught)")
    assert terminal.run("os.kill(os.getpid(), signal.SIGUSR1); await later()").endswith("usr1")


def test_exit_as_failure(terminal: Terminal) -> None:
    """`sys.exit` in an awaiting cell is shown as IPython shows it."""
    plain = terminal.run("sys.exit(3)")
    assert terminal.run("await later(); sys.exit(3)").split() == plain.split()


def test_main_thread_at_idle_prompt() -> None:
    """`in_main_thread` of background work is served while prompt_toolkit's prompt idles."""
    with Terminal(prompt_toolkit=True) as terminal:
        prepared(terminal)
        terminal.run("show = lambda: print('ran in', here())")
        terminal.run("reactor.callFromThread(reactor.callLater, 0.3, in_main_thread, show)")
        terminal.expect("ran in MainThread", 5)
        terminal.run("%unload_ext twisted_ipython")
        assert terminal.run("get_ipython().pt_app.app.before_render._handlers").endswith("[]")


def test_embed_in_awaiting_cell(shared: Terminal) -> None:
    """`IPython.embed()` in a cell that awaits is one sentence, or asks if its prompt is simple."""
    shared.run("import IPython")
    if shared.run("get_ipython().simple_prompt").endswith("False"):
        shown = shared.run("await asyncio.sleep(0); IPython.embed()")
        assert shown.splitlines()[-1] == f"RuntimeError: {NO_PROMPT}"
        assert "prompt_toolkit" not in shown
        assert shared.run("IPython.get_ipython() is get_ipython()").endswith("True")
    shared.type("x = await asyncio.sleep(0, 5); IPython.embed(simple_prompt=True)")
    shared.expect(r"In \[1\]: ")
    shared.process.sendline("print('x is', x)")
    shared.expect("x is 5")
    shared.process.sendline("exit()")
    shared.shown()
    assert shared.run("IPython.get_ipython() is get_ipython()").endswith("True")


def test_main_thread_at_simple_prompt() -> None:
    """Without prompt_toolkit it is served when the next cell begins."""
    with Terminal() as terminal:
        prepared(terminal)
        terminal.run("asked = threading.Event()")
        terminal.run("ask = lambda: in_main_thread(print, 'ran' + ' now') and asked.set()")
        terminal.run("reactor.callFromThread(reactor.callLater, 0.1, ask)")
        shown = terminal.run("asked.wait(5)") + terminal.run("1")
        assert "ran now" in shown


# ---- ends


@pytest.mark.parametrize("toolkit", [False, True], ids=["simple prompt", "prompt_toolkit"])
@pytest.mark.parametrize(
    ("state", "leave"),
    [
        ("1", "exit"),
        ("reactor.callFromThread(reactor.callLater, 60, int)", "exit"),
        ("reactor.callFromThread(reactor.listenTCP, 0, factory, 50, '127.0.0.1')", "exit"),
        ("_ = defer.ensureDeferred(asyncio.sleep(60)); await later()", "await later(); exit()"),
    ],
)
def test_process_ends(state: str, leave: str, toolkit: bool) -> None:
    """`exit`, also in an awaiting cell, ends the process within 2 s, whatever is pending."""
    with Terminal(prompt_toolkit=toolkit) as terminal:
        prepared(terminal)
        terminal.run(state)
        terminal.type(leave)
        assert terminal.ended_within(2)
        assert terminal.process.exitstatus == 0


# ---- one cell, scripts


ONE_CELL = """
%load_ext twisted_ipython
%autoawait twisted
from twisted.internet import reactor, task
x = await task.deferLater(reactor, 0.05, lambda: 5)
async def numbers():
    yield await task.deferLater(reactor, 0.05, lambda: 6)
async for n in numbers():
    x += n
!true
print("x is", await task.deferLater(reactor, 0.05, lambda: x))
""".strip()


def test_one_script(tmp_path: Path) -> None:
    """Loading, switching on and awaiting pending Deferreds work in one script: `ipython x.ipy`."""
    path = tmp_path / "script.ipy"
    path.write_text(ONE_CELL)
    run = run_python("-m", "IPython", path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "x is 11" in run.stdout


def test_one_run_script(tmp_path: Path) -> None:
    """They work in one script that `%run` runs, in a session that awaits in its own way."""
    path = tmp_path / "script.ipy"
    path.write_text(ONE_CELL)
    with Terminal(load=False) as terminal:
        assert terminal.run(f"%run {path}").endswith("x is 11")
        assert terminal.run(f"%run {path}").endswith("x is 11")


def test_one_command() -> None:
    """They work in one command: `ipython -c`."""
    run = run_python("-m", "IPython", "-c", ONE_CELL)
    assert (run.returncode, run.stderr) == (0, "")
    assert "x is 11" in run.stdout


def test_settings_in_file(tmp_path: Path) -> None:
    """`c.TwistedMagics` in a configuration file holds, and can switch awaiting on at load."""
    lines = ["c.TwistedMagics.timeout = 30", "c.TwistedMagics.autoawait = True"]
    lines.append("c.InteractiveShellApp.extensions = ['twisted_ipython']")
    (tmp_path / "profile_default").mkdir()
    config = tmp_path / "profile_default" / "ipython_config.py"
    config.write_text("\n".join(["c = get_config()", *lines]))
    with Terminal(load=False, environment={"IPYTHONDIR": str(tmp_path)}) as terminal:
        shown = terminal.run("%twisted_config show").split()
        assert shown == ["autoawait=True", "share_reactor=True", "timeout=30", "updates=auto"]
        prepared(terminal)
        assert terminal.run("await later('from' + ' file')").endswith("'from file'")


def test_embed() -> None:
    """`IPython.embed(using=twisted_ipython.runner)` awaits Deferreds, and sees local names."""
    program = """
import IPython, threading, twisted_ipython

def program():
    local = "local"
    IPython.embed(using=twisted_ipython.runner)

program()
"""
    typed = (
        "from twisted.internet import reactor, task\n"
        "x = await task.deferLater(reactor, 0.05, str, 'awaited ' + local)\n"
        "!echo {local} expanded\n"
        "x, threading.current_thread().name, await task.deferLater(reactor, 0.05, int)\n"
        "exit\n"
    )
    run = run_python("-c", program, typed=typed)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "('awaited local', 'CrochetReactor', 0)" in run.stdout
    assert "local expanded" in run.stdout
