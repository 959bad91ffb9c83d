"""Ctrl-C and the stop button in a kernel and at a terminal: `_reactor.interrupt`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pexpect
import pytest
from kernels import SUBSHELLS, Execution, Kernel, submit_to, subshell
from terminals import Terminal

from twisted_ipython._reactor import interrupt
from twisted_ipython._reactor.interrupt import LEFT_STUCK, STUCK
from twisted_ipython._reactor.lifecycle import start
from twisted_ipython._waiting.awaiting_cell import IS_STUCK

# ipykernel 6 has none.
SETUP = """
import asyncio, fractions, itertools, signal, sys, threading, time
import anyio
from twisted.internet import defer, endpoints, protocol, reactor, task
from twisted.internet.defer import Deferred
from twisted_ipython import in_main_thread, runner

from twisted_ipython._reactor.interrupt import wait_for

def later(value=None, seconds=0.05):
    return task.deferLater(reactor, seconds, lambda: value)

class Echo(protocol.Protocol):
    def dataReceived(self, data): self.transport.write(data)

class Says(protocol.Protocol):
    def connectionMade(self): self.heard = Deferred(); self.transport.write(b'hello')
    def dataReceived(self, data): self.heard.callback(data); self.transport.loseConnection()

port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface='127.0.0.1')

async def works():
    end = endpoints.TCP4ClientEndpoint(reactor, '127.0.0.1', port.getHost().port)
    heard = (await endpoints.connectProtocol(end, Says())).heard
    return await asyncio.gather(asyncio.sleep(0.01, 'timer'), later('call'), heard)

class Gate(threading.Event):
    opening = False

def spin():
    print('spinning')
    while True: pass

# Whether the main thread is in `result.wait()`, past its first line.
def in_wait():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code is not wait_for.__code__:
        frame = frame.f_back
    return frame is not None
"""
WORKS = "['timer', 'call', b'hello']"


@pytest.fixture
def kernel(kernel: Kernel) -> Iterator[Kernel]:
    """The shared kernel; after each test timers, Deferreds, sockets and its handler must work."""
    before = kernel.value("signal.getsignal(signal.SIGINT)")
    yield kernel
    assert kernel.value("await works()") == WORKS
    assert kernel.value("signal.getsignal(signal.SIGINT)") == before


def began(kernel: Kernel, code: str, **options: Any) -> Execution:
    """Send a cell that prints ``began``, and wait until it has."""
    return kernel.submit("print('began')\n" + code, **options).wait_for("began")


def interrupted(kernel: Kernel, execution: Execution, seconds: float = 1) -> Execution:
    """Press the stop button once; the cell must end in time, as KeyboardInterrupt."""
    kernel.interrupt()
    execution.wait(seconds)
    assert execution.error == "KeyboardInterrupt"
    assert "twisted_ipython" not in execution.traceback
    assert "crochet" not in execution.traceback
    return execution


def given_up(kernel: Kernel, execution: Execution, text: str) -> Execution:
    """Press the stop button twice, the second time once ``text`` has been printed."""
    kernel.interrupt()
    execution.wait_for(text, 2)
    return interrupted(kernel, execution)


# ---- what the user's code sees


def test_only_the_users_frames(kernel: Kernel) -> None:
    """The traceback of an interrupt has the user's frames, down to the one that awaits."""
    kernel.ok(
        "async def inner():\n    await later(None, 60)\nasync def outer():\n    await inner()"
    )
    traceback = interrupted(kernel, began(kernel, "await outer()")).traceback
    assert "----> 2 await outer()" in traceback
    assert "in outer()" in traceback
    assert "in inner()" in traceback
    assert "File " not in traceback


def test_except_and_finally_await(kernel: Kernel) -> None:
    """The canceller, `except KeyboardInterrupt`, `async with` and `finally` run, and may await."""
    kernel.ok(
        "class Scope:\n"
        "    async def __aenter__(self): pass\n"
        "    async def __aexit__(self, kind, *_): print(await later('exit'), kind.__name__)"
    )
    execution = began(
        kernel,
        "try:\n"
        "    async with Scope():\n"
        "        await Deferred(lambda _: print('canceller'))\n"
        "except KeyboardInterrupt:\n"
        "    print(await asyncio.sleep(0.01, 'except'))\n"
        "    raise\n"
        "finally:\n"
        "    print(await later('finally'))",
    )
    printed = interrupted(kernel, execution).printed().split("\n")
    assert printed[1:] == ["canceller", "exit KeyboardInterrupt", "except", "finally", ""]


def test_caught(kernel: Kernel) -> None:
    """A cell that catches the interrupt goes on, and succeeds."""
    execution = began(
        kernel,
        "try:\n    await later(None, 60)\nexcept KeyboardInterrupt:\n    pass\nawait later('on')",
    )
    kernel.interrupt()
    assert execution.wait(1).value == "'on'"


BOTH = "    group.{0}(child{1})\n    group.{0}(child{1})\n"
HERE = "    await later(None, 60)"


@pytest.mark.parametrize(
    "code",
    [
        f"async with asyncio.TaskGroup() as group:\n{BOTH.format('create_task', '()')}",
        f"async with asyncio.TaskGroup() as group:\n{BOTH.format('create_task', '()')}{HERE}",
        "await asyncio.gather(child(), asyncio.wait_for(child(), 50))",
        "async with asyncio.timeout(50):\n    await asyncio.gather(child(), child())",
        f"async with anyio.create_task_group() as group:\n{BOTH.format('start_soon', '')}",
        f"async with anyio.create_task_group() as group:\n{BOTH.format('start_soon', '')}{HERE}",
    ],
    ids=["TaskGroup", "in TaskGroup", "gather, wait_for", "timeout", "anyio", "in anyio"],
)
def test_no_child_survives(kernel: Kernel, code: str) -> None:
    """An interrupt ends the children of asyncio's and anyio's structures."""
    kernel.ok(
        "ended, both = [], Deferred()\n"
        "started = iter([lambda: None, lambda: print('both started')])\n"
        "async def child():\n"
        "    next(started)()\n"
        "    try: await asyncio.sleep(60)\n"
        "    finally: ended.append(asyncio.current_task())"
    )
    execution = began(kernel, code).wait_for("both started")
    interrupted(kernel, execution)
    assert kernel.value("await later()\nlen(ended), all(one.done() for one in ended)") == (
        "(2, True)"
    )


# ---- what holds the reactor thread


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "for number in range(10 ** 12): number += 1",
        "while True:\n    try: sum(range(100))\n    except Exception: pass",
        "[None for _ in iter(int, 1)]",
        "sum(fractions.Fraction(1, 1 + number % 7) for number in itertools.count())",
        "await Deferred(lambda _: None) if spin() else None",
        "await later().addCallback(lambda _: spin())",
        "await asyncio.gather(asyncio.sleep(60), asyncio.create_task(turn()))",
    ],
    ids=["while", "for", "except", "list", "library", "function", "callback", "task"],
)
def test_loop_is_broken(kernel: Kernel, code: str) -> None:
    """One interrupt breaks synchronous code of the cell's that holds the reactor thread."""
    kernel.ok("async def turn(): spin()")
    execution = began(kernel, f"await asyncio.sleep(0.01)\nprint('spinning')\n{code}")
    execution.wait_for("spinning")
    interrupted(kernel, execution, 2)


@pytest.mark.parametrize("times", [1, 3])
def test_callback_of_somebody_else_is_broken(kernel: Kernel, times: int) -> None:
    """Interrupts break callbacks of other work that an awaiting cell is stuck behind."""
    execution = began(
        kernel,
        f"for time_ in range({times}): reactor.callLater(0.02, spin)\nawait later('late', 0.03)",
    ).wait_for("spinning")
    interrupted(kernel, execution, 2)


# ---- what does not end


SWALLOWERS = {
    "inlineCallbacks": (
        "@defer.inlineCallbacks\n"
        "def work():\n"
        "    while not gate.is_set():\n"
        "        try: yield later(None, 0.02 if gate.opening else 60)\n"
        "        except BaseException: gate.opening = True; print('swallowed')"
    ),
    "coroutine": (
        "async def work():\n"
        "    while not gate.is_set():\n"
        "        try: await later(None, 0.02 if gate.opening else 60)\n"
        "        except BaseException: gate.opening = True; print('swallowed')"
    ),
    "task": (
        "async def swallow():\n"
        "    while not gate.is_set():\n"
        "        try: await asyncio.sleep(0.02 if gate.opening else 60)\n"
        "        except BaseException: gate.opening = True; print('swallowed')\n"
        "async def work(): await asyncio.create_task(swallow())"
    ),
}


@pytest.mark.parametrize("kind", SWALLOWERS)
def test_second_interrupt_gives_up(kernel: Kernel, kind: str) -> None:
    """Work that swallows cancellation is given up in one line; it is a job until it ends."""
    kernel.ok("gate = Gate()\n" + SWALLOWERS[kind])
    execution = given_up(kernel, began(kernel, "await work()"), "swallowed")
    lines = [line for line in execution.traceback.splitlines() if "given up" in line]
    assert len(lines) == 1
    number = lines[0].partition("as job ")[2].split()[0]
    kernel.ok("from twisted_ipython._reactor.lifecycle import current\njobs = current().jobs")
    assert kernel.value(f"jobs.find('{number}').state") == "'pending'"
    kernel.ok(
        f"gate.set()\nawait later()\nwhile jobs.find('{number}').ended is None: await later()"
    )


def test_given_up_cell_touches_nothing(kernel: Kernel) -> None:
    """A given-up cell runs no further statement; queued cells are aborted, `_` and `Out` stay."""
    kernel.ok("gate, ran = Gate(), []\n" + SWALLOWERS["coroutine"])
    assert kernel.value("'before'") == "'before'"
    seen = "ended = jobs.find(number).ended\n(ran, _, list(Out.values())[-1], len(In))"
    code = "await work()\nran.append('after')\n'value of the given up'"
    execution = began(kernel, code, stop_on_error=True)
    queued = kernel.submit("ran.append('queued')")
    given_up(kernel, execution, "swallowed")
    assert execution.reply is not None
    assert execution.reply["status"] == "error"
    queued.wait()
    assert queued.reply is not None
    assert queued.reply["status"] == "aborted"
    number = execution.traceback.partition("as job ")[2].split()[0]
    kernel.ok(
        "from twisted_ipython._reactor.lifecycle import current; jobs = current().jobs\n"
        "counts = [get_ipython().execution_count]\n"
        f"number = '{number}'; gate.set()\nwhile jobs.find(number).ended is None: await later()\n"
        "counts.append(get_ipython().execution_count); counts = len(set(counts))"
    )
    value = kernel.value(seen.replace("len(In)", "counts"))
    assert value == "([], 'before', 'before', 1)"


def test_stuck_in_c(kernel: Kernel) -> None:
    """The first interrupt says where a cell is stuck in C code, the second gives it back."""
    execution = began(kernel, "await asyncio.sleep(0)\nprint('sleeps')\ntime.sleep(3)")
    execution.wait_for("sleeps")
    kernel.interrupt()
    kernel.pump(lambda: IS_STUCK.removeprefix("{stuck}") in execution.printed("stderr"), 1)
    assert execution.reply is None
    traceback = interrupted(kernel, execution).traceback
    stuck = STUCK.format(place=f"Cell In[{execution.reply['execution_count']}], line 4")
    assert traceback.endswith(LEFT_STUCK.format(stuck=stuck))
    assert execution.printed("stderr").endswith(IS_STUCK.format(stuck=stuck) + "\n")


def test_silence_is_said_once(kernel: Kernel) -> None:
    """A cell that waits for a reactor that does not answer says so after 5 s, once."""
    execution = kernel.run("await asyncio.sleep(0)\ntime.sleep(7.5)\nawait later('done')")
    assert execution.value == "'done'"
    lines = execution.printed("stderr").splitlines()
    assert len(lines) == 1
    assert "has not answered for 5 s; it is at Cell In[" in lines[0]
    assert lines[0].endswith("line 2")


def test_silence_while_result_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`result.wait()` says once where a reactor is that does not answer."""
    monkeypatch.setattr(interrupt, "_SILENCE", 0.1)
    end = threading.Event()
    result = start().run(end.wait)
    timer = threading.Timer(3.5, end.set)
    timer.start()
    assert result.wait(20) is True
    timer.join()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("The reactor has not answered for 0.1 s; it is at ")


# ---- everything that waits


def test_run_in_reactor_wait(kernel: Kernel) -> None:
    """An interrupt ends `%%run_in_reactor --wait`, and cancels its work."""
    code = "%%run_in_reactor --wait\nprint('began')\nawait Deferred(lambda _: print('cancelled'))"
    execution = kernel.submit(code).wait_for("began")
    assert "cancelled" in interrupted(kernel, execution).printed()


WORK = """
import crochet
@crochet.run_in_reactor
def work():
    while not in_wait(): time.sleep(0.01)
    print('began')
"""


@pytest.mark.parametrize("code", ["Deferred(lambda _: print('cancelled'))", "spin()"])
def test_result_wait(kernel: Kernel, code: str) -> None:
    """An interrupt ends `result.wait()` at once, cancels the work, and breaks what is stuck."""
    kernel.ok(WORK + f"    return {code}")
    interrupted(kernel, kernel.submit("result = work()\nresult.wait()").wait_for("began"))
    assert (
        kernel.value(
            "for time_ in range(100):\n    if result.state == 'pending': await later(None, 0.02)\n"
            "result.state"
        )
        == "'cancelled'"
    )


def test_reactor_wait(kernel: Kernel) -> None:
    """An interrupt ends `%reactor wait`; the job goes on."""
    kernel.ok("%%run_in_reactor waited_for\nawait later('job', 60)")
    interrupted(kernel, began(kernel, "%reactor wait waited_for"))
    assert kernel.value("waited_for.state") == "'pending'"
    kernel.ok("waited_for.cancel()")


def test_run(kernel: Kernel, tmp_path: Path) -> None:
    """An interrupt ends the awaiting cell of a file that `%run` runs; no later one runs."""
    kernel.ok("ran = []")
    file = tmp_path / "cells.ipy"
    file.write_text("print('began')\nawait later(None, 60)\nran.append('file')\n")
    execution = kernel.submit(f"%run {file}\nran.append('cell')").wait_for("began")
    interrupted(kernel, execution)
    assert kernel.value("ran") == "[]"


def test_capture(kernel: Kernel, tmp_path: Path) -> None:
    """An interrupt ends an awaiting cell under `%%capture`."""
    kernel.ok("cancelled = []")
    file = tmp_path / "began"
    execution = kernel.submit(
        f"%%capture\nopen({str(file)!r}, 'x').close()\nawait Deferred(cancelled.append)"
    )
    kernel.pump(file.exists, 10)
    interrupted(kernel, execution)
    assert kernel.value("len(cancelled)") == "1"


def test_plain_cell(kernel: Kernel) -> None:
    """A plain cell is interrupted as ever, and a job of another cell goes on."""
    kernel.ok("%%run_in_reactor goes_on\nawait later('job', 60)")
    interrupted(kernel, began(kernel, "while True: time.sleep(0.01)"))
    assert kernel.value("goes_on.state") == "'pending'"
    kernel.ok("goes_on.cancel()")


# ---- everybody who waits


WATCHED = """
import signal
while signal.getsignal(signal.SIGINT) == signal.SIG_IGN: await later(None, 0.01)
print('began')
await later(None, 60)
"""
THREAD = """
def run():
    async def wait():
        thread_began.set()
        await later(None, 60)
    try: runner(wait())
    except KeyboardInterrupt: ends.append('thread')
    if file: open(file, 'x').close()
ends, file = [], None
thread_began = threading.Event()
thread = threading.Thread(target=run)
thread.start()
thread_began.wait(10)
print('thread began')
"""


def test_thread_while_main_shell_idles(kernel: Kernel, tmp_path: Path) -> None:
    """An interrupt ends what a thread awaits though the main shell idles, and runs no cell."""
    file = tmp_path / "ended"
    kernel.ok(f"{THREAD}\nfile = {str(file)!r}")
    # The main thread takes the signal once its loop has turned.
    kernel.ok("await later()")
    kernel.interrupt()
    kernel.pump(file.exists, 1)
    assert kernel.value("ends") == "['thread']"


def test_thread_while_main_shell_runs_a_plain_cell(kernel: Kernel) -> None:
    """An interrupt ends a plain cell, and what a thread awaits."""
    execution = began(kernel, f"{THREAD}\nprint('plain')\nwhile True: time.sleep(0.01)")
    interrupted(kernel, execution.wait_for("plain"))
    assert kernel.value("thread.join(1)\nends") == "['thread']"


if SUBSHELLS:

    def test_all_awaiting_cells_end(kernel: Kernel) -> None:
        """One interrupt ends the awaiting cells of the main shell, a subshell and a thread."""
        waiting = submit_to(kernel, subshell(kernel), "print('sub began')\nawait later(None, 60)")
        waiting.wait_for("sub began")
        execution = began(kernel, THREAD + "await later(None, 60)").wait_for("thread began")
        interrupted(kernel, execution)
        waiting.wait(1)
        assert waiting.error == "KeyboardInterrupt"
        assert kernel.value("thread.join(1)\nends") == "['thread']"

    @pytest.mark.parametrize("code", ["input('who? ')", "breakpoint()\n0"])
    @pytest.mark.parametrize("main", ["await later(None, 60)", "while True: time.sleep(0.01)"])
    def test_question_in_subshell(kernel: Kernel, main: str, code: str) -> None:
        """One interrupt ends a question or a debugger in a subshell, and the main shell's cell."""
        number = subshell(kernel)
        for _ in range(3):
            execution = began(kernel, main)
            asks = submit_to(kernel, number, f"await later()\n{code}", asks=True)
            kernel.asked(asks)
            interrupted(kernel, execution)
            asks.wait(1)
            assert asks.error == "KeyboardInterrupt"
            assert "twisted_ipython" not in asks.traceback

    def test_subshell_while_main_shell_idles(kernel: Kernel) -> None:
        """An interrupt ends a subshell's awaiting cell though the main shell idles, each time."""
        number = subshell(kernel)
        for _ in range(3):
            # The main thread takes the signal once its loop has turned.
            waiting = submit_to(kernel, number, WATCHED)
            waiting.wait_for("began")
            interrupted(kernel, waiting)
            assert kernel.value("await later('main')") == "'main'"

    def test_subshell_while_main_shell_runs_a_plain_cell(kernel: Kernel) -> None:
        """An interrupt ends a plain cell, and a subshell's awaiting cell, begun before or after."""
        before = submit_to(kernel, subshell(kernel), "print('sub began')\nawait later(None, 60)")
        before.wait_for("sub began")
        plain = began(kernel, "while True: time.sleep(0.01)")
        after = submit_to(kernel, subshell(kernel), "print('sub began')\nawait later(None, 60)")
        after.wait_for("sub began")
        interrupted(kernel, plain)
        assert before.wait(1).error == "KeyboardInterrupt"
        assert after.wait(1).error == "KeyboardInterrupt"


# ---- at a terminal


@pytest.fixture(scope="module", params=[False, True], ids=["simple prompt", "prompt_toolkit"])
def terminals(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal that tests share which leave it working."""
    with Terminal(prompt_toolkit=request.param) as one:
        one.run(
            "import asyncio, signal, threading, time; from twisted.internet import reactor, task"
        )
        one.run(
            "later = lambda value=None, after=0.05: task.deferLater(reactor, after, lambda: value)"
        )
        yield one


@pytest.fixture
def terminal(terminals: Terminal) -> Iterator[Terminal]:
    """The shared terminal; each test must leave it awaiting."""
    yield terminals
    assert terminals.run("await later('wor' + 'ks')").endswith("'works'")


@pytest.mark.parametrize(
    "code",
    [
        "[None for _ in iter(int, 1)]",
        "await later().addCallback(lambda _: [0 for _ in iter(int, 1)])",
    ],
    ids=["in the cell", "in a callback"],
)
def test_loop_at_terminal(terminal: Terminal, code: str) -> None:
    """Ctrl-C breaks a loop of an awaiting cell that holds the reactor thread, within 2 s."""
    terminal.type(f"print('be' + 'gan'); await later(); {code}")
    terminal.expect("began\r\n")
    begun = monotonic()
    terminal.interrupt()
    assert terminal.shown().endswith("KeyboardInterrupt:")
    assert monotonic() - begun < 2


def test_stuck_at_terminal(terminal: Terminal) -> None:
    """The first Ctrl-C says where a cell is stuck in C code, the second one gives it back."""
    terminal.type("await later(print('be' + 'gan')); print('sle' + 'eps'); time.sleep(3)")
    terminal.expect("sleeps\r\n")
    terminal.interrupt()
    stuck = (
        r"The reactor thread is stuck at Cell In\[\d+\], line 1, in code that cannot be broken\."
    )
    assert "KeyboardInterrupt" not in terminal.expect(stuck, 1)
    terminal.expect(IS_STUCK.removeprefix("{stuck} "), 1)
    begun = monotonic()
    terminal.interrupt()
    assert LEFT_STUCK.removeprefix("{stuck} ") in terminal.shown()
    assert monotonic() - begun < 1


def test_result_wait_at_terminal(terminal: Terminal) -> None:
    """Ctrl-C ends `result.wait()` at once and cancels the work."""
    terminal.run("import crochet; work = crochet.run_in_reactor(later)(None, 60)")
    # The work's own thread says so, when the main thread has long been waiting.
    terminal.type(
        "_ = reactor.callFromThread(reactor.callLater, 0.5, print, 'be' 'gan'); work.wait()"
    )
    terminal.expect("began\r\n")
    terminal.interrupt()
    assert "KeyboardInterrupt" in terminal.shown()
    assert terminal.run("await later(); work.state").endswith("'cancelled'")


def test_idle_prompt(terminal: Terminal) -> None:
    """Ctrl-C at an idle prompt leaves background jobs alone, and the prompt usable."""
    terminal.run("import crochet; work = crochet.run_in_reactor(later)(None, 60)")
    terminal.interrupt()
    if not terminal._toolkit:  # which reads it like any key, and prints nothing
        try:
            terminal.expect("KeyboardInterrupt", 3)
        except pexpect.TIMEOUT:
            # Python notes one that comes between the prompt and readline's wait at the next key.
            terminal.interrupt()
            terminal.expect("KeyboardInterrupt", 3)
        terminal._expect_prompt()
    assert terminal.run("work.state").endswith("'pending'")
    terminal.run("work.cancel()")


def test_handler_is_put_back(terminal: Terminal) -> None:
    """The handler of SIGINT stands only while a cell waits."""
    terminal.run("before = signal.getsignal(signal.SIGINT)")
    terminal.run("await later()")
    assert terminal.run("signal.getsignal(signal.SIGINT) is before").endswith("True")
