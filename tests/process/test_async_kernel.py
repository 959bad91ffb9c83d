"""async-kernel, with asyncio and with trio: what holds in ipykernel holds there, but where said."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from kernels import Cells, Execution, Kernel, subshell

SETUP = """
import asyncio, threading, anyio
from twisted.internet import defer, reactor, threads
from twisted.internet.task import deferLater

def here(): return threading.current_thread().name
def later(value=None, seconds=0.01): return deferLater(reactor, seconds, lambda: value)
"""


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel with that backend, and the extension on."""
    argv = [sys.executable, "-m", "async_kernel", "start", "--connection_file={connection_file}"]
    argv += ["--name=async", f"--backend={request.param}"]
    with Kernel(spec={"argv": argv, "interrupt_mode": "message"}) as kernel:
        kernel.ok(SETUP)
        yield kernel


def backend_of(kernel: Kernel) -> str:
    """Which loop runs the cells."""
    return str(kernel.value("str(get_ipython().kernel.caller.backend)")).strip("'")


# ---- awaiting cells


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("await later(1)", "1"),
        ("await asyncio.sleep(0.01, 2)", "2"),
        ("await anyio.sleep(0.01)\nawait later(here())", "'CrochetReactor'"),
        ("async with asyncio.timeout(5): await later()\nhere()", "'CrochetReactor'"),
        ("await asyncio.gather(later(1), asyncio.sleep(0.01, 2))", "[1, 2]"),
        ("async with anyio.create_task_group() as g: g.start_soon(anyio.sleep, 0)\n3", "3"),
        ("await defer.succeed(None)\n", None),
        ("await threads.deferToThread(int, 4)", "4"),
    ],
)
def test_awaits(kernel: Kernel, code: str, value: str | None) -> None:
    """Deferreds, asyncio's objects and anyio's are awaited in the reactor thread, mixed at will."""
    assert kernel.value(code) == value


def test_plain_cells_share_the_loop(kernel: Kernel) -> None:
    """A plain cell runs in the main thread; the running loop that it finds is the reactor's."""
    kernel.ok("loop, task = asyncio.get_running_loop(), asyncio.create_task(asyncio.sleep(0, 5))")
    assert kernel.value("await task, loop is asyncio.get_running_loop()") == "(5, True)"
    assert kernel.value("loop.run_until_complete(asyncio.sleep(0, here()))") == "'MainThread'"
    kernel.ok("heard = []\nfor i in range(50): later(i).addCallback(heard.append)")
    assert kernel.value("await later(seconds=0.1)\nlen(heard)") == "50"


def test_scripts(kernel: Kernel) -> None:
    """A script that runs the reactor runs in a plain cell and in a job, twice."""
    script = "reactor.callLater(0.01, reactor.stop)\nreactor.run()\nprint('over')"
    for _ in range(2):
        assert kernel.ok(script).printed() == "over\n"
        job = kernel.ok(f"%%run_in_reactor job --replace\n{script}")
        kernel.ok("await job")
        job.wait_for("over\n")


# ---- magics


def test_only_a_magic(kernel: Kernel) -> None:
    """A cell with a magic and no await is plain; its magic shares the loop."""
    assert "MainThread" in str(kernel.value("%time here()"))
    assert kernel.value("%time asyncio.get_running_loop() is loop") == "True"
    assert kernel.ok("!echo done").printed().strip() == "done"
    assert kernel.ok("%autoawait").printed() == (
        "IPython autoawait is `on`, and set to use `twisted`\n"
    )


def test_magics_among_awaits(kernel: Kernel) -> None:
    """In an awaiting cell magics and commands run one after another, in the cell thread."""
    cell = kernel.ok(
        "await later()\n!echo one\nprint('two')\nwhere = %time here()\n"
        "files = !echo three\nawait later((where, files))"
    )
    assert cell.printed().index("one") < cell.printed().index("two")
    assert cell.value == "('MainThread', ['three'])"
    assert kernel.ok("await later()\n%pip --version").printed().startswith("pip ")


def test_magics_that_await(kernel: Kernel) -> None:
    """`%time`, `%%time` and `%timeit` take code that awaits."""
    assert kernel.value("%time await later(1)") == "1"
    assert kernel.value("%%time\nx = await later(2)\nx") == "2"
    assert "per loop" in kernel.ok("%timeit -n 1 -r 1 await later()").printed()


def test_run_in_reactor(kernel: Kernel) -> None:
    """A job goes on in the background and shows its card, with all options."""
    job = kernel.ok("%%run_in_reactor job\nawait later(seconds=0.2)\nprint('late')\n6")
    assert "pending" in job.data("display_data")["text/plain"]
    assert kernel.value("await job") == "6"
    assert job.wait_for("late").late
    kernel.shows(job.displays()[0], "done")
    assert kernel.value("%%run_in_reactor --wait\nawait later(7)") == "7"
    assert kernel.value("%%run_in_reactor --wait --thread\nhere()[:10]") == "'PoolThread'"
    kernel.ok("%%run_in_reactor --wait --global\nleft = 8")
    assert kernel.value("left") == "8"
    listen = "%%run_in_reactor port --replace --wait\nfrom twisted.internet.protocol import Factory"
    for _ in range(2):
        kernel.ok(f"{listen}\nreactor.listenTCP(0, Factory(), interface='127.0.0.1')")
    table = kernel.ok("%reactor").data("display_data")["text/plain"]
    assert table.count("internet.protocol.Factory  ") == 1


def test_kernels_own_loops(kernel: Kernel) -> None:
    """`%%asyncio`, `%%trio` and `%autoawait BACKEND` leave awaits to the kernel."""
    for name in ("asyncio", "trio"):
        cell = f"%%{name}\nimport {name}, sniffio\nawait {name}.sleep(0)\n"
        cell += "print(sniffio.current_async_library(), here())"
        assert kernel.ok(cell).printed() == f"{name} MainThread\n"
    kernel.ok(f"%autoawait {backend_of(kernel)}")
    assert kernel.value("await anyio.sleep(0)\nhere()") == "'MainThread'"
    kernel.ok("%autoawait twisted")
    assert kernel.value("await later(here())") == "'CrochetReactor'"


# ---- output and failures


def test_output_in_its_cell(kernel: Kernel) -> None:
    """What timers and threads of a cell print, and how they fail, is shown in that cell."""
    first = kernel.ok(
        "later(seconds=0.05).addCallback(lambda _: print('timer'))\n"
        "threading.Timer(0.05, print, ['thread']).start()\n"
        "def boom(): 1 / 0\n"
        "_ = reactor.callLater(0.05, boom)"
    )
    kernel.ok("await later(seconds=0.2)")
    kernel.pump(lambda: first.error is not None and "timer" in first.printed())
    first.wait_for("thread")
    assert first.error == "ZeroDivisionError"
    assert first.messages("error")[0]["metadata"]
    assert "async_kernel" not in first.traceback


def test_displays_change_in_place(kernel: Kernel) -> None:
    """A Deferred as a cell's value turns into its own value, by a message of the protocol's."""
    shown = kernel.ok("waits = defer.Deferred()\nwaits")
    kernel.ok("waits.callback([9])")
    kernel.shows(shown.displays()[0], "[9]")
    failed = kernel.ok("defer.fail(KeyError('lost'))")
    kernel.pump(lambda: failed.error == "KeyError")
    assert "Out[" in failed.traceback


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0",
        "await later()\n1 / 0",
        "async def fail():\n    await later()\n    1 / 0\nawait fail()",
        "%time 1 / 0",
        "%time await later(1 / 0)",
        "%%run_in_reactor --wait\n1 / 0",
        "await later()\n%time None\n1 / 0",
    ],
)
def test_failures(kernel: Kernel, code: str) -> None:
    """A failure is shown with the user's frames, and none of async-kernel's."""
    cell = kernel.run(code)
    assert cell.reply is not None
    assert cell.reply["ename"] == cell.error == "ZeroDivisionError"
    assert "async_kernel" not in cell.traceback
    assert "twisted_ipython" not in cell.traceback


def test_saved_notebook(kernel: Kernel) -> None:
    """For a program that runs notebooks late output is labelled text of the cell that runs."""
    kernel.ok("_ = reactor.callLater(0.05, print, 'late')", allow_stdin=False)
    cell = kernel.ok("await later(seconds=0.2)", allow_stdin=False)
    assert cell.printed().startswith("[from cell ")
    assert cell.printed().endswith("] late\n")


# ---- Ctrl-C


@pytest.mark.parametrize(
    "code",
    [
        "print('begun')\nawait defer.Deferred()",
        "await later()\nprint('begun')\nwhile True: pass",
        "print('begun')\nwhile True: reactor.callLater(0, int)",
        "print('begun')\nreactor.run()",
        "# task\nprint('begun')\nawait defer.Deferred()",
        "# thread\nprint('begun')\nawait defer.Deferred()",
        "%%run_in_reactor --wait\nprint('begun')\nawait defer.Deferred()",
        "print('begun')\n!sleep 60",
        "await later()\nprint('begun')\n!sleep 60",
    ],
)
def test_interrupt(kernel: Kernel, code: str) -> None:
    """The stop button, which is a message, ends a cell as KeyboardInterrupt; the rest goes on."""
    cell = kernel.submit(code).wait_for("begun")
    kernel.interrupt()
    cell.wait(10)
    assert cell.error == "KeyboardInterrupt"
    assert "async_kernel" not in cell.traceback
    assert "In[" in cell.traceback
    assert "site-packages" not in cell.traceback
    assert kernel.value("await later(1)") == "1"


def test_second_interrupt(kernel: Kernel) -> None:
    """A second press gives up on what swallows the first; a cell's own `except` is respected."""
    cell = kernel.submit(
        "async def stay():\n"
        "    while on:\n"
        "        try: await asyncio.sleep(0.1)\n"
        "        except BaseException: print('stays')\n"
        "on = True\nprint('begun')\nawait stay()"
    ).wait_for("begun")
    kernel.interrupt()
    cell.wait_for("stays")
    kernel.interrupt()
    assert "goes on as job" in cell.wait(10).traceback
    kernel.ok("on = False")
    cell = kernel.submit(
        "try:\n    print('begun')\n    await defer.Deferred()\n"
        "except KeyboardInterrupt: print('handled')"
    ).wait_for("begun")
    kernel.interrupt()
    cell.wait(10).wait_for("handled")
    assert cell.error is None


# ---- the kernel lives


def test_other_work_goes_on(kernel: Kernel) -> None:
    """While a cell awaits, comms, task cells, thread cells and other requests are answered."""
    kernel.ok(
        "import comm\n"
        "def target(channel, _):\n"
        "    channel.on_msg(lambda m: print(m['content']['data'], is_loop()))\n"
        "loop = asyncio.get_running_loop()\n"
        "def is_loop(): return asyncio.get_running_loop() is loop\n"
        "comm.get_comm_manager().register_target('t', target)\n"
        "open_end = defer.Deferred()"
    )
    awaiting = kernel.submit("await open_end\nprint('ended')")
    kernel.comm("comm_open", comm_id="c", target_name="t")
    for number in range(2):
        message = kernel.comm("comm_msg", comm_id="c", data=number)
        message.wait_for(f"{number} True")
        kernel.pump(lambda message=message: message.states == ["busy", "idle"])
    assert kernel.value("# task\nawait later(here())") == "'CrochetReactor'"
    assert kernel.value("# thread\nawait later(1)") == "1"
    assert kernel.value("# thread\nhere() != 'MainThread', is_loop()") == "(True, True)"
    reply = kernel.client.complete("open_e", reply=True, timeout=10)
    assert reply["content"]["matches"] == ["open_end"]
    assert awaiting.idle is None
    kernel.ok("# task\nopen_end.callback(None)")
    awaiting.wait().wait_for("ended")


def test_subshell(kernel: Kernel) -> None:
    """A subshell is a shell of its own; what it loads and unloads leaves the main one alone."""
    cells = Cells(kernel, subshell(kernel))
    cells.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert cells.value("await later(here())") == "'CrochetReactor'"
    cells.ok("%unload_ext twisted_ipython")
    assert kernel.value("await later(here())") == "'CrochetReactor'"


def test_questions(kernel: Kernel) -> None:
    """`input()` and `getpass()` are asked of a plain cell and of an awaiting one."""
    asks = (
        "input('? ')",
        "await later()\ninput('? ')",
        "await later()\n__import__('getpass').getpass('? ')",
    )
    for ask in asks:
        cell = kernel.submit(ask)
        assert kernel.answer(cell, "me") == "? "
        assert cell.wait().value == "'me'"
    cell = kernel.submit(asks[1])
    kernel.asked(cell)
    kernel.interrupt()
    assert cell.wait(10).error == "KeyboardInterrupt"
    assert "async_kernel" not in cell.traceback
    refused = kernel.run(asks[1], allow_stdin=False)
    assert refused.error == "RuntimeError"


# ---- the end


TAKEN = """
import builtins, getpass, signal
shell = get_ipython(); own = shell.kernel
parts = shell, own, own.comm_manager, own.parent.connections[0], shell.displayhook
def found():
    own_of = [set(vars(part)) - {'_last_input_line', '_execution_count'} for part in parts]
    return [builtins.input, getpass.getpass, signal.getsignal(2), *own_of]
"""


def test_unload(kernel: Kernel) -> None:
    """Unloading leaves nothing on the kernel; a later load picks the reactor up."""
    kernel.ok("%unload_ext twisted_ipython")
    kernel.ok(TAKEN + "\nbefore = found()")
    assert kernel.value("await anyio.sleep(0)\nhere()") == "'MainThread'"
    kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert kernel.value("found() != before, await later(here())") == "(True, 'CrochetReactor')"
    kernel.ok("%unload_ext twisted_ipython")
    assert kernel.value("found() == before") == "True"
    assert kernel.value("%load_ext twisted_ipython\n%autoawait twisted\nawait later(2)") == "2"


def test_shutdown(kernel: Kernel) -> None:
    """The process ends when it is asked to, whatever is pending."""
    kernel.ok(
        "_ = reactor.callLater(1000, int), threads.deferToThread(__import__('time').sleep, 60)"
    )
    waiting: Execution = kernel.submit("print('begun')\nawait defer.Deferred()")
    waiting.wait_for("begun")
    kernel.ask_shutdown()
    assert kernel.ended_within(10)
