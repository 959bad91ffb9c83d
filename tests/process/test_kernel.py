"""Awaiting cells in a real ipykernel, seen by a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import ipykernel
import pytest
from kernels import SECONDS, Kernel
from shells import run_python

from twisted_ipython._kernels.ipykernel import NO_ANSWER

SETUP = """
import asyncio, os, signal, sqlite3, sys, threading, time
from twisted.internet import defer, reactor, task
from twisted_ipython import in_main_thread

def later(value=None, seconds=0.01):
    return task.deferLater(reactor, seconds, lambda: value)

def here(*_):
    return threading.current_thread().name
"""

COMMS_WHILE_AWAITING = ipykernel.version_info >= (7, 4)


@pytest.fixture
def kernel(kernel: Kernel) -> Iterator[Kernel]:
    """The shared kernel; each test must leave it awaiting."""
    yield kernel
    assert kernel.value("await later('works')") == "'works'"


@pytest.fixture
def own() -> Iterator[Kernel]:
    """A kernel that a test may end."""
    with Kernel() as one:
        one.ok(SETUP)
        yield one


# ---- what a client sees


def test_replies(kernel: Kernel) -> None:
    """An awaiting cell's reply has the count and user expressions, its result the value."""
    execution = kernel.ok("x = await later(5)\nx + 1", user_expressions={"y": "x + 2"})
    assert execution.value == "6"
    assert execution.reply is not None
    assert execution.reply["user_expressions"]["y"]["data"]["text/plain"] == "7"
    after = kernel.ok("In[-2]")
    assert after.reply is not None
    assert after.reply["execution_count"] == execution.reply["execution_count"] + 1
    assert after.value == repr("x = await later(5)\nx + 1")


def test_unstored_and_silent(kernel: Kernel) -> None:
    """Unstored cells leave the count alone, silent ones show nothing."""
    counted = kernel.ok("await later()").reply
    kernel.ok("await later(1)", store_history=False)
    assert kernel.ok("silent = await later(2)\nsilent", silent=True).outputs == []
    reply = kernel.ok("await later(silent)").reply
    assert counted is not None
    assert reply is not None
    assert reply["execution_count"] == counted["execution_count"] + 1


def test_every_output_before_idle(kernel: Kernel) -> None:
    """Of 300 cells that print, await and end in an expression no output is late, none lost."""
    code = "print('before')\nx = await later({0}, 0)\nprint('after')\nx"
    executions = [kernel.submit(code.format(number)) for number in range(300)]
    for number, execution in enumerate(executions):
        execution.wait()
        assert execution.printed() == "before\nafter\n"
        assert execution.value == str(number)
    assert not [execution.late for execution in executions if execution.late]


def test_failure(kernel: Kernel) -> None:
    """A failure is an error reply with the user's traceback."""
    execution = kernel.run("async def fail():\n    await later()\n    1 / 0\nawait fail()")
    assert execution.reply is not None
    assert execution.reply["ename"] == "ZeroDivisionError"
    assert "in fail()" in execution.traceback
    assert "site-packages" not in execution.traceback


def test_exit_request_of_cell() -> None:
    """`exit()` in an awaiting cell ends the kernel, as in IPython."""
    with Kernel() as kernel:
        kernel.submit("await __import__('asyncio').sleep(0.01)\nexit()")
        assert kernel.ended_within(10)


# ---- the kernel lives


def test_kernels_own_tasks_run(kernel: Kernel) -> None:
    """Tasks of the kernel's own loop run while a cell awaits."""
    kernel.ok(
        "async def tick():\n"
        "    while ticking:\n"
        "        ticks.append(here())\n"
        "        await asyncio.sleep(0.01)\n"
        "ticks, ticking = [], True\n"
        "ticker = get_ipython().kernel.io_loop.asyncio_loop.create_task(tick())"
    )
    ticked = kernel.value("ticks.clear()\nawait later(None, 0.5)\nticking = False\nticks")
    assert ticked is not None
    assert ticked.count("MainThread") > 10


def test_task_of_plain_cell_is_awaited(kernel: Kernel) -> None:
    """A task that a plain cell created lives on the reactor's loop, and can be awaited."""
    kernel.ok(
        "async def work(value):\n"
        "    await asyncio.sleep(0.05)\n"
        "    if value is None: raise KeyError('work')\n"
        "    return value, here()\n"
        "fine, failing, endless = (asyncio.create_task(c) for c in"
        " (work(5), work(None), asyncio.sleep(60)))"
    )
    assert kernel.value("await fine") == "(5, 'CrochetReactor')"
    assert kernel.value("await fine") == "(5, 'CrochetReactor')"
    assert kernel.run("await failing").error == "KeyError"
    assert kernel.run("async with asyncio.timeout(0.05): await endless").error == "TimeoutError"
    assert kernel.value("await later()\nendless.cancelled()") == "True"


def test_shutdown_while_awaiting(own: Kernel) -> None:
    """A shutdown request ends a kernel whose cell awaits within 2 s."""
    own.submit("print('awaiting')\nawait defer.Deferred()").wait_for("awaiting")
    own.ask_shutdown()
    assert own.ended_within(2)


@pytest.mark.parametrize(
    "state",
    [
        "pass",
        "reactor.callFromThread(reactor.callLater, 60, int)",
        "port = await defer.maybeDeferred(listen)",
        "defer.ensureDeferred(asyncio.sleep(60)); await later()",
    ],
)
def test_shutdown_while_idle(own: Kernel, state: str) -> None:
    """A shutdown request ends an idle kernel within 2 s, whatever is pending in its reactor."""
    own.ok(
        "from twisted.internet import protocol\n"
        "listen = lambda: reactor.listenTCP(0, protocol.Factory(), interface='127.0.0.1')"
    )
    own.ok(state)
    own.ask_shutdown()
    assert own.ended_within(2)


def test_comms(kernel: Kernel) -> None:
    """A comm message is answered in the main thread; from ipykernel 7.4 on while a cell awaits."""
    kernel.ok(
        "def opened(comm, message):\n"
        "    @comm.on_msg\n"
        "    def received(message):\n"
        "        comm.send({'thread': here()})\n"
        "        gate.callback('fired')\n"
        "gate = defer.Deferred()\n"
        "get_ipython().kernel.comm_manager.register_target('tested', opened)"
    )
    kernel.comm("comm_open", comm_id="c", target_name="tested")
    awaiting = kernel.submit(
        "print('awaiting')\n"
        "await defer.DeferredList([gate, later('queued', 1)], fireOnOneCallback=True)"
    ).wait_for("awaiting")
    kernel.comms.clear()
    kernel.comm("comm_msg", comm_id="c")
    kernel.pump(lambda: bool(kernel.comms), 5)
    assert (awaiting.idle is None) is COMMS_WHILE_AWAITING
    assert kernel.comms[0]["content"]["data"] == {"thread": "MainThread"}
    assert awaiting.wait(5).value == ("('fired', 0)" if COMMS_WHILE_AWAITING else "('queued', 1)")


def test_status_of_comms(kernel: Kernel) -> None:
    """Each comm message gets its busy and idle, with itself as parent, also while a cell awaits."""
    kernel.ok(
        "gate = defer.Deferred()\n"
        "def told(comm, message): comm.on_msg(lambda message: gate.callback(None))\n"
        "targets = get_ipython().kernel.comm_manager\n"
        "targets.register_target('silent', lambda comm, message: None)\n"
        "targets.register_target('opening', told)"
    )
    kernel.comm("comm_open", comm_id="s", target_name="silent")
    kernel.comm("comm_open", comm_id="opens", target_name="opening")
    waits = "gate" if COMMS_WHILE_AWAITING else "later('it handles comms after the cell')"
    awaiting = kernel.submit(f"print('awaiting')\nawait {waits}").wait_for("awaiting")
    told = [kernel.comm("comm_msg", comm_id="s") for _ in range(5)]
    if COMMS_WHILE_AWAITING:
        kernel.pump(lambda: all(one.idle for one in told), 5)
        assert awaiting.states == ["busy"]
        kernel.comm("comm_msg", comm_id="opens")
    assert awaiting.wait(5).states == ["busy", "idle"]
    told += [kernel.comm("comm_msg", comm_id="s") for _ in range(5)]
    kernel.pump(lambda: all(one.idle for one in told), 5)
    assert [one.states for one in told] == [["busy", "idle"]] * 10


# ---- interrupts


@pytest.mark.parametrize(
    "awaited",
    [
        "later(None, 60)",
        "asyncio.sleep(60)",
        "defer.gatherResults([later(None, 60)])",
        "asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))",
        "asyncio.wait_for(asyncio.sleep(60), 50)",
        "deep()",
        "in_main_thread(time.sleep, 60)",
    ],
)
def test_interrupt(kernel: Kernel, awaited: str) -> None:
    """The stop button ends an awaiting cell as KeyboardInterrupt, with its line, within 1 s."""
    kernel.ok("async def deep():\n    await later(None, 60)")
    execution = kernel.submit(f"print('awaiting')\nawait {awaited}").wait_for("awaiting")
    begun = monotonic()
    kernel.interrupt()
    execution.wait()
    assert monotonic() - begun < 1
    assert execution.error == "KeyboardInterrupt"
    assert execution.reply is not None
    assert execution.reply["ename"] == "KeyboardInterrupt"
    assert f"----> 2 await {awaited}" in execution.traceback
    assert ("in deep()" in execution.traceback) is (awaited == "deep()")


def test_interrupt_cleans_up(kernel: Kernel) -> None:
    """An interrupt runs the Deferred's canceller, cancels asyncio's children, runs `finally`."""
    kernel.ok(
        "async def child(name):\n"
        "    try: await asyncio.sleep(60)\n"
        "    finally: done.append(name)\n"
        "async def grouped():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(child('grouped'))\n"
        "        await defer.Deferred(lambda _: done.append('canceller'))\n"
        "done = []"
    )
    execution = kernel.submit(
        "try:\n    print('awaiting')\n    await asyncio.gather(grouped(), child('gathered'))\n"
        "finally:\n    await later()\n    done.append('finally')"
    ).wait_for("awaiting")
    kernel.interrupt()
    assert execution.wait().error == "KeyboardInterrupt"
    names = ["canceller", "finally", "gathered", "grouped"]
    assert kernel.value("sorted(done)") == str(names)


def test_second_interrupt_gives_up(kernel: Kernel) -> None:
    """A second interrupt gives up work that swallows cancellation; the next cell works."""
    kernel.ok(
        "async def stubborn():\n"
        "    while not gate.is_set():\n"
        "        try: await gate.wait()\n"
        "        except BaseException: print('swallowed')\n"
        "gate = asyncio.Event()"
    )
    execution = kernel.submit("print('awaiting')\nawait stubborn()").wait_for("awaiting")
    kernel.interrupt()
    execution.wait_for("swallowed")
    kernel.interrupt()
    execution.wait(2)
    assert execution.error == "KeyboardInterrupt"
    assert "does not let itself be cancelled" in execution.traceback
    assert kernel.value("gate.set()\nawait later('next')") == "'next'"


def test_interrupt_of_magic(kernel: Kernel) -> None:
    """An interrupt breaks what a magic of an awaiting cell does in the main thread."""
    kernel.ok("from IPython.core.magic import register_line_magic")
    kernel.ok("@register_line_magic\ndef slow(line):\n    print('slow')\n    time.sleep(60)")
    execution = kernel.submit("await later()\n%slow").wait_for("slow")
    kernel.interrupt()
    assert execution.wait(2).error == "KeyboardInterrupt"
    assert "in slow(line)" in execution.traceback


def test_cancelled_by_kernel(kernel: Kernel) -> None:
    """A kernel that cancels the task of an awaiting cell interrupts it."""
    kernel.ok(
        "def cancel():\n"
        "    for task in asyncio.all_tasks():\n"
        "        if task.get_coro().__name__ == 'run_cell_async': task.cancel()\n"
        "cancelled = []"
    )
    execution = kernel.run(
        "await in_main_thread(lambda: asyncio.get_running_loop().call_later(0.05, cancel))\n"
        "await defer.Deferred(cancelled.append)"
    )
    assert execution.error == "KeyboardInterrupt"
    assert kernel.value("len(cancelled)") == "1"


def test_interrupt_of_plain_cell(kernel: Kernel) -> None:
    """A plain cell is interrupted as ever while awaits go to the reactor thread."""
    execution = kernel.submit("print('plain')\ntime.sleep(60)").wait_for("plain")
    kernel.interrupt()
    assert execution.wait(2).error == "KeyboardInterrupt"


# ---- who runs where


def test_main_thread_of_background_work(kernel: Kernel) -> None:
    """`in_main_thread` of background work is served in an idle kernel, and while a cell awaits."""
    kernel.ok(
        "answers, answered = [], threading.Event()\n"
        "def ask():\n"
        "    in_main_thread(here).addBoth(lambda name: answers.append(name) or answered.set())"
    )
    for waiting in ("", "await later(None, 0.1)"):
        kernel.ok("reactor.callFromThread(reactor.callLater, 0.05, ask)\n" + waiting)
        code = "await defer.ensureDeferred(asyncio.to_thread(answered.wait, 5)), answers"
        assert kernel.value(code) == "(True, ['MainThread'])"
        kernel.ok("answers.clear(), answered.clear()")


def test_in_main_thread_while_idle(kernel: Kernel) -> None:
    """`in_main_thread` needs no cell to be run after it: the idle kernel's loop serves it."""
    kernel.ok("def fire(): ran.append(here()); comm.send({'ran': ran})")
    kernel.ok("from comm import create_comm\nran = []\ncomm = create_comm('tested')")
    kernel.ok("reactor.callFromThread(reactor.callLater, 0.1, in_main_thread, fire)")
    kernel.comms.clear()
    kernel.pump(lambda: bool(kernel.comms), 5)
    assert kernel.comms[0]["content"]["data"] == {"ran": ["MainThread"]}


def test_loop_stands_still(kernel: Kernel) -> None:
    """The loop stands still at most until the cell ends, or has something run in its thread."""
    kernel.ok("from twisted_ipython._waiting import loop_thread")
    kernel.ok("before, loop_thread._SOON = loop_thread._SOON, 60.0")
    begun = monotonic()
    assert kernel.value("await in_main_thread(str, 1)") == "'1'"
    assert kernel.value("await later(5, 0.1)") == "5"
    assert monotonic() - begun < 30
    kernel.ok("loop_thread._SOON = before")


def test_gui_in_main_thread(kernel: Kernel) -> None:
    """`%gui` in an awaiting cell acts in the main thread."""
    kernel.ok("ip = get_ipython()\nip.enable_gui = lambda gui=None: guis.append((gui, here()))")
    kernel.ok("guis = []")
    kernel.ok("await later()\n%gui asyncio")
    assert kernel.value("del ip.enable_gui\nguis") == "[('asyncio', 'MainThread')]"


def test_nested_cells(kernel: Kernel, tmp_path: Path) -> None:
    """Awaits in what a magic runs work in a kernel, too; those of a statement's `run_cell` fail."""
    path = tmp_path / "awaiting.ipy"
    path.write_text("from_file = await later('file')\n")
    kernel.ok("ip = get_ipython()")
    kernel.ok("ip.register_magic_function(lambda line: ip.run_cell(line), 'line', 'nest')")
    for before in ("", "await later()\n"):
        kernel.ok(f"{before}%nest from_magic = await later('magic')\n%run {path}")
        assert kernel.value("from_magic, from_file") == "('magic', 'file')"
        kernel.ok("del from_magic, from_file")
    kernel.ok("%%capture captured\nprint(await later('captured'))")
    assert kernel.value("captured.stdout") == "'captured\\n'"
    execution = kernel.run("await later()\nnested = ip.run_cell('await later()')")
    assert "was run in the reactor thread" in execution.traceback
    kernel.ok("ip.run_cell('plainly = await later(5)')")
    assert kernel.value("plainly") == "5"


def test_other_thread(kernel: Kernel) -> None:
    """`run_cell` of an awaiting cell works in another thread of the kernel."""
    kernel.ok(
        "ip = get_ipython()\n"
        "thread = threading.Thread(target=ip.run_cell, args=('other = await later(5)',))\n"
        "thread.start()\nthread.join(10)"
    )
    assert kernel.value("other") == "5"


def test_reactor_stopped(own: Kernel) -> None:
    """When the real reactor stops, the waiting cell and every later await say so; nothing hangs."""
    codes = [
        "later().addCallback(lambda _: type(reactor).stop(reactor))\nawait defer.Deferred()",
        "await later()",
    ]
    for code in codes:
        execution = own.run(code, seconds=10)
        assert execution.error == "RuntimeError"
        assert "The reactor was stopped" in execution.traceback
    assert own.value("1 + 1") == "2"
    own.ask_shutdown()
    assert own.ended_within(2)


# ---- switching


@pytest.mark.parametrize("last", ["await later(x, 0.1)", "x = await later(x, 0.1); x"])
def test_one_cell(last: str) -> None:
    """Loading, switching on and awaiting pending Deferreds work in one cell of a kernel."""
    with Kernel(load=False) as kernel:
        lines = ["%load_ext twisted_ipython", "%autoawait twisted", SETUP.strip()]
        code = [*lines, "print('before')", "x = await later(5, 0.1)", "!true", last]
        execution = kernel.ok("\n".join(code))
        assert (execution.printed(), execution.value) == ("before\n", "5")


def test_an_engine_that_cannot_answer(kernel: Kernel) -> None:
    """At load an engine of ipyparallel's with ipykernel 7 says so; no other kernel does."""
    of_engine = "type('Engine', (type(kernel),), {'__module__': 'ipyparallel.engine.kernel'})"
    kernel.ok("%unload_ext twisted_ipython\nkernel = get_ipython().kernel; own = type(kernel)")
    try:
        loading = kernel.ok(f"kernel.__class__ = {of_engine}\n%load_ext twisted_ipython")
    finally:
        kernel.ok("kernel.__class__ = own\n%autoawait twisted")
    assert loading.printed().strip() == (NO_ANSWER if ipykernel.version_info >= (7,) else "")


def test_switching(kernel: Kernel) -> None:
    """`%autoawait asyncio` and back work at any time."""
    for _ in range(2):
        kernel.ok("%autoawait asyncio")
        assert kernel.value("await asyncio.sleep(0.01, here())") == "'MainThread'"
        kernel.ok("%autoawait twisted")
        assert kernel.value("await later(here())") == "'CrochetReactor'"
    assert kernel.ok("%autoawait").printed().endswith("set to use `twisted`\n")


def test_switching_off_in_awaiting_cell(kernel: Kernel) -> None:
    """Switching in an awaiting cell holds from the next cell on."""
    kernel.ok("await later()\n%autoawait asyncio\nawait later()")
    assert kernel.value("await asyncio.sleep(0.01, here())") == "'MainThread'"
    kernel.ok("%autoawait twisted")


def test_time_limit(kernel: Kernel) -> None:
    """The time limit ends a cell of a kernel, and gives up what swallows it."""
    kernel.ok("%config TwistedMagics.timeout = 0.2")
    try:
        plain = kernel.run("await defer.Deferred()")
        stubborn = kernel.run(
            "over = threading.Event()\n"
            "while not over.is_set():\n"
            "    try: await asyncio.sleep(60)\n"
            "    except asyncio.CancelledError: pass",
            seconds=5,
        )
    finally:
        kernel.ok("%twisted_config reset")
    assert plain.error == stubborn.error == "TimeoutError"
    assert "more than 0.2 seconds" in plain.traceback
    assert "does not let itself be cancelled" in stubborn.traceback


def test_kernel_is_not_needed_by_shell() -> None:
    """IPython without ipykernel loads the extension: nothing of it is imported."""
    program = """
import sys
sys.modules["ipykernel"] = None
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
result = shell.run_cell("%load_ext twisted_ipython\\n%autoawait twisted\\nawait t()")
shell.run_cell("from twisted_ipython import in_main_thread")
assert shell.run_cell("await in_main_thread(int)").result == 0
"""
    run = run_python("-c", program, seconds=SECONDS)
    assert run.returncode == 0, run.stdout + run.stderr
