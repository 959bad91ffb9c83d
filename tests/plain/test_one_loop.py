"""
Plain cells find the reactor's loop.

That is `_base.running_loop`, `_plain.loop_methods`, `_plain.sharing` and `_base.variables`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import ipykernel
import pytest
from kernels import Cells, Execution, Kernel, fail, subshell
from terminals import Terminal

from twisted_ipython._plain.loop_methods import NOBODY_RUNS

# ipykernel 6 has none.
SUBSHELLS = ipykernel.version_info >= (7,)
WHERE = ["main", *(["subshell"] if SUBSHELLS else [])]
IGNORED = NOBODY_RUNS.partition("{name}")[2].partition(":")[0]
SETUP = """
import asyncio, contextvars, functools, os, signal, socket, sys, threading, time
from twisted.internet import defer, reactor, task
from twisted.internet.defer import Deferred
loop = reactor._asyncioEventloop
def later(value=None, seconds=0.05): return task.deferLater(reactor, seconds, lambda: value)
def here(): return threading.current_thread().name
async def waits(value=7, seconds=0.05): return await asyncio.sleep(seconds, value)
async def fails(): await asyncio.sleep(0.05); 1 / 0
async def on_loop(): return asyncio.get_running_loop() is loop

# What the thread of the cells finds after a statement.
found = []
of_kernel = get_ipython().kernel.io_loop.asyncio_loop
def note():
    running = asyncio.get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    found.append(running is of_kernel and hooks.firstiter.__self__ is running is hooks[1].__self__)
"""


@pytest.fixture(autouse=True)
def works(kernel: Kernel) -> Iterator[None]:
    """Each test must leave the shared kernel working."""
    yield
    assert kernel.value("await asyncio.gather(waits(1, 0), later('works', 0))") == "[1, 'works']"


@pytest.fixture(scope="module")
def shells(kernel: Kernel) -> dict[str, str | None]:
    """The main shell and a subshell."""
    return {"main": None, "subshell": subshell(kernel) if SUBSHELLS else None}


@pytest.fixture(params=WHERE)
def cells(request: pytest.FixtureRequest, kernel: Kernel, shells: dict[str, str | None]) -> Cells:
    """Cells of the main shell, and of a subshell."""
    return Cells(kernel, shells[request.param])


def began(kernel: Kernel, code: str) -> Execution:
    """Send a cell that prints ``began``, and wait until it has."""
    return kernel.submit("print('began')\n" + code, stop_on_error=False).wait_for("began")


def interrupted(kernel: Kernel, execution: Execution) -> Execution:
    """Press the stop button once; the cell must end within a second, as KeyboardInterrupt."""
    pressed = monotonic()
    kernel.interrupt()
    execution.wait(10)
    assert execution.error == "KeyboardInterrupt"
    assert monotonic() - pressed < 1.5
    return execution


# ---- A.1: one loop


def test_running_loop(cells: Cells) -> None:
    """In a plain cell of any shell all ways to ask for the loop give the reactor's."""
    ways = "asyncio.get_running_loop(), asyncio.get_event_loop(), asyncio.Future().get_loop()"
    assert cells.value(f"[one is loop for one in ({ways})]") == "[True, True, True]"


@pytest.mark.parametrize(
    ("plain", "later"),
    [
        ("x = asyncio.create_task(waits())", "await x"),
        ("x = asyncio.ensure_future(waits())", "await x"),
        ("x = asyncio.gather(waits(7), waits(8))", "(await x)[0]"),
        ("x = asyncio.Future(); x.set_result(7)", "await x"),
        ("x = asyncio.shield(waits())", "await x"),
        ("x = asyncio.wrap_future(__import__('concurrent.futures').futures.Future())", "7"),
        ("q = asyncio.Queue(); x = asyncio.create_task(q.get()); q.put_nowait(7)", "await x"),
        ("e = asyncio.Event(); x = asyncio.create_task(e.wait()); e.set()", "7 * await x"),
        ("x = asyncio.get_running_loop().run_in_executor(None, int, '7')", "await x"),
        ("x = asyncio.run_coroutine_threadsafe(waits(), loop)", "x.result(5)"),
        ("x = asyncio.create_task(waits(7, 60)); x.cancel()", "7 * (await asyncio.wait([x]) != 0)"),
        ("x = defer.ensureDeferred(waits())", "await x"),
        ("x = Deferred.fromFuture(asyncio.ensure_future(waits()))", "await x"),
        ("x = defer.succeed(7).asFuture(asyncio.get_running_loop())", "await x"),
    ],
)
def test_made_in_a_plain_cell(cells: Cells, plain: str, later: str) -> None:
    """What a plain cell makes is used in a cell that awaits."""
    cells.ok(plain)
    assert cells.value(later) == "7"


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_locks(cells: Cells, kind: str) -> None:
    """Tasks of cells of either kind contend for a lock that a plain cell made."""
    cells.ok(
        f"lock = asyncio.{kind}()\n"
        "async def one(number):\n"
        "    async with lock:\n"
        "        await asyncio.sleep(0.01); return number\n"
        "first, second = asyncio.create_task(one(1)), asyncio.create_task(one(2))"
    )
    assert cells.value("await asyncio.gather(first, one(3), second)") == "[1, 3, 2]"


def test_made_in_an_awaiting_cell(cells: Cells) -> None:
    """What a cell that awaits makes is used in a plain cell."""
    cells.ok("await asyncio.sleep(0); q = asyncio.Queue(); x = asyncio.create_task(q.get())")
    cells.ok("q.put_nowait(7); late = asyncio.create_task(waits(8, 60))")
    assert cells.value("await x") == "7"
    cells.ok("await asyncio.sleep(0); late.cancel()")
    assert cells.value("late.cancelled() or bool(late.cancelling())") == "True"


@pytest.fixture
def noted(kernel: Kernel) -> Iterator[Callable[[], int]]:
    """After each cell its thread must have the kernel's loop and hooks; gives the cells so far."""
    kernel.ok("found.clear(); get_ipython().events.register('post_execute', note)")
    yield lambda: len(eval(str(kernel.value("found"))))
    assert kernel.value("set(found)") == "{True}"
    kernel.ok("get_ipython().events.unregister('post_execute', note)")


@pytest.mark.parametrize("ends", ["None", "1/0", "raise KeyboardInterrupt", "raise SystemExit(1)"])
def test_put_back(kernel: Kernel, noted: Callable[[], int], ends: str) -> None:
    """After a plain cell, however it ends, its thread has the kernel's loop and hooks."""
    fail(kernel, f"inside = asyncio.get_running_loop() is loop, asyncio.current_task()\n{ends}")
    fail(kernel, ends)
    assert kernel.value("inside") == "(True, None)"
    assert noted() >= 3


def test_put_back_after_interrupt(kernel: Kernel, noted: Callable[[], int]) -> None:
    """The stop button ends a plain cell, and leaves its thread the kernel's loop."""
    interrupted(kernel, began(kernel, "while True: asyncio.get_running_loop()"))
    interrupted(kernel, began(kernel, "while True: loop.call_soon(int)"))
    assert noted() >= 2


def test_left_in_place(kernel: Kernel) -> None:
    """R7: a switch that nobody has put back is put back when ipykernel has ended the message."""
    kernel.ok(
        "def leave(*_):\n"
        "    asyncio._set_running_loop(loop); events.unregister('post_run_cell', leave)\n"
        "events = get_ipython().events; events.register('post_run_cell', leave)"
    )
    assert kernel.value("await asyncio.sleep(0, 7)") == "7"


def test_comm(kernel: Kernel) -> None:
    """A comm's callbacks find the reactor's loop, and what they make is awaited in a cell."""
    kernel.ok(
        "made = []; found.clear()\n"
        "def opened(comm, message):\n"
        "    made.append(asyncio.create_task(waits()))\n"
        "    @comm.on_msg\n"
        "    def received(message):\n"
        "        made.append(asyncio.create_task(waits(asyncio.get_running_loop() is loop)))\n"
        "        get_ipython().kernel.io_loop.add_callback(note); comm.send({})\n"
        "        if message['content']['data'].get('fails'): raise KeyError('of the callback')\n"
        "        if message['content']['data'].get('stays'): time.sleep(60)\n"
        "get_ipython().kernel.comm_manager.register_target('tested', opened)\n"
    )
    kernel.comm("comm_open", comm_id="c", target_name="tested")
    for data in ({"fails": True}, {"stays": True}, {}):
        kernel.comms.clear()
        kernel.comm("comm_msg", comm_id="c", data=data)
        kernel.pump(lambda: bool(kernel.comms), 5)
        if "stays" in data:
            kernel.interrupt()
    assert kernel.value("await asyncio.gather(*made)") == "[7, True, True, True]"
    assert kernel.value("found") == "[True, True, True]"


@pytest.mark.parametrize("toolkit", [False, True], ids=["simple prompt", "prompt_toolkit"])
def test_terminal(toolkit: bool) -> None:
    """In a terminal no loop runs in a plain cell; `asyncio.run` works before and after others."""
    with Terminal(prompt_toolkit=toolkit) as terminal:
        terminal.run("import asyncio, threading; from twisted.internet import reactor")
        terminal.run("async def main(): return threading.current_thread().name")
        for _ in range(2):
            assert terminal.run("asyncio.run(main())").endswith("'MainThread'")
            assert terminal.run("await main()").endswith("'CrochetReactor'")
            assert terminal.run("asyncio._get_running_loop() is None").endswith("True")
            own = "asyncio.get_event_loop() is reactor._asyncioEventloop"
            assert terminal.run(own).endswith("True")
        waits = "asyncio.get_event_loop().run_until_complete(main())"
        assert terminal.run(waits).endswith("'CrochetReactor'")
        terminal.run("%autoawait asyncio")
        assert terminal.run("asyncio.run(main())").endswith("'MainThread'")


def test_loop_of_the_user_in_a_terminal() -> None:
    """A loop that the user sets in a terminal stays; with ``%autoawait asyncio`` it is alone."""
    with Terminal() as terminal:
        terminal.run("import asyncio; own = asyncio.new_event_loop(); asyncio.set_event_loop(own)")
        for _ in range(2):
            terminal.run("1")
            terminal.run("await asyncio.sleep(0)")
            terminal.run("%autoawait asyncio")
            assert terminal.run("asyncio.get_event_loop() is own").endswith("True")
            terminal.run("%autoawait twisted")
        terminal.run("own.close()")


# ---- A.2: it goes on while plain cells run


TICKS = """
ticks = []
async def tick():
    while True:
        ticks.append(time.monotonic()); await asyncio.sleep(0.1)
"""


@pytest.mark.parametrize("touch", ["None", "loop.call_soon(int)"])
def test_goes_on_while_a_cell_sleeps(kernel: Kernel, touch: str) -> None:
    """A task that ticks every 0.1 s ticks while a plain cell sleeps for 2 s."""
    kernel.ok(TICKS + "ticking = asyncio.create_task(tick())")
    kernel.ok(f"{touch}; begin = len(ticks); time.sleep(2); end = len(ticks); ticking.cancel()")
    assert 17 <= int(str(kernel.value("end - begin"))) <= 21
    assert float(str(kernel.value("max(b - a for a, b in zip(ticks, ticks[1:]))"))) < 0.3


def test_output(kernel: Kernel) -> None:
    """What a task prints belongs to the cell that made it, however much later it comes."""
    kernel.ok("gate = asyncio.Event()\nasync def says(): await gate.wait(); print('said')")
    cell = kernel.ok("saying = asyncio.create_task(says())")
    opening = kernel.ok("gate.set(); time.sleep(0.3); print('opened')")
    cell.wait_for("said")
    assert opening.printed() == "opened\n"


def test_failure(kernel: Kernel) -> None:
    """A task that fails is shown in its cell within a second, once, also while another runs."""
    cell = kernel.ok("failing = asyncio.create_task(fails()); began = time.monotonic()")
    sleeping = kernel.submit("time.sleep(1.5)")
    asked = monotonic()
    kernel.pump(lambda: cell.error is not None, 2)
    assert monotonic() - asked < 1.3
    assert cell.error == "ZeroDivisionError"
    assert "fails()" in cell.traceback
    assert sleeping.wait().messages("error") == []
    kernel.ok("del failing; import gc; gc.collect(); await later(None, 0.3)")
    assert len(cell.messages("error")) == 1


# ---- A.3: the loop's methods


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "calls",
    [
        "loop.call_soon(done.set_result, 7)",
        "loop.call_soon_threadsafe(done.set_result, 7)",
        "loop.call_later(0.01, done.set_result, 7)",
        "loop.call_at(loop.time() + 0.01, done.set_result, 7)",
        "loop.create_task(waits()).add_done_callback(lambda t: done.set_result(t.result()))",
        "loop.add_reader(a, read, a); b.send(b'7')",
        "loop.add_writer(a, written, a)",
        "loop.run_in_executor(None, int).add_done_callback(lambda _: done.set_result(7))",
        "loop.call_later(60, int).cancel(); done.set_result(7)",
    ],
)
def test_methods(kernel: Kernel, calls: str, debug: bool) -> None:
    """A plain cell calls the loop's methods, at once noticed, also in asyncio's debug mode."""
    kernel.ok(
        f"loop.set_debug({debug})\n"
        "a, b = socket.socketpair(); done = loop.create_future()\n"
        "def read(a): done.set_result(int(a.recv(1))); loop.remove_reader(a)\n"
        "def written(a): done.set_result(7); loop.remove_writer(a)\n" + calls
    )
    assert kernel.value("await asyncio.wait_for(done, 2)") == "7"
    kernel.ok("print(loop.remove_reader(a), loop.remove_writer(a)); loop.set_debug(False)")
    kernel.ok("a.close(); b.close()")


@pytest.mark.parametrize(
    ("waited", "value"),
    [
        ("waits()", "7"),
        ("asyncio.create_task(waits())", "7"),
        ("loop.run_in_executor(None, here)", "'PoolThread"),
        ("later(8)", "8"),
        ("asyncio.gather(waits(), waits(8))", "[7, 8]"),
        ("on_loop()", "True"),
    ],
)
def test_run_until_complete(cells: Cells, waited: str, value: str) -> None:
    """``loop.run_until_complete`` in a plain cell waits and gives the value, again and again."""
    for _ in range(2):
        found = cells.value(f"asyncio.get_event_loop().run_until_complete({waited})")
        assert str(found).startswith(value)


def test_run_until_complete_fails(kernel: Kernel) -> None:
    """``loop.run_until_complete`` raises what its work raises, where it is called."""
    cell = fail(kernel, "x = 1\nloop.run_until_complete(fails())")
    assert cell.error == "ZeroDivisionError"
    assert "----> 2 loop.run_until_complete(fails())" in cell.traceback
    assert fail(kernel, "loop.run_until_complete(7)").error == "TypeError"
    kernel.ok("x = asyncio.create_task(waits(1, 60))")
    stopped = fail(kernel, "loop.call_later(0.05, loop.stop); loop.run_until_complete(x)")
    assert "Event loop stopped before Future completed" in stopped.traceback
    assert kernel.value("x.cancel()") == "True"


@pytest.mark.parametrize(
    "waits",
    [
        "loop.run_until_complete(waits(7, 60))",
        "x = asyncio.create_task(waits(7, 60)); loop.run_until_complete(x)",
        "x = loop.create_future(); loop.run_until_complete(x)",
        "loop.run_until_complete(later(7, 60))",
        "loop.run_forever()",
    ],
)
def test_interrupt(kernel: Kernel, waits: str) -> None:
    """Ctrl-C ends a wait for the loop within a second, and cancels what was waited for."""
    kernel.ok("x = None")
    interrupted(kernel, began(kernel, waits))
    assert kernel.value("x is None or x.cancelled()") == "True"
    assert kernel.value("[t for t in asyncio.all_tasks(loop) if 'waits' in repr(t)]") == "[]"


@pytest.mark.parametrize(
    "stops",
    [
        "loop.call_later(0.05, loop.stop)",
        "asyncio.create_task(waits()).add_done_callback(lambda _: loop.stop())",
        "reactor.callLater(0.05, loop.stop)",
        "threading.Timer(0.05, loop.call_soon_threadsafe, [loop.stop]).start()",
        "loop.stop()",
        "loop.call_soon(loop.stop); time.sleep(0.2)",
    ],
)
def test_run_forever(cells: Cells, stops: str) -> None:
    """``loop.run_forever()`` waits until the cell's stop, also one that came before; twice."""
    for _ in range(2):
        cell = cells.ok(f"{stops}\nasyncio.get_event_loop().run_forever(); print('stopped')")
        assert cell.printed() == "stopped\n"


@pytest.mark.parametrize("name", ["stop", "close"])
@pytest.mark.parametrize(
    "code",
    [
        "loop.{name}()",
        "await asyncio.sleep(0); loop.{name}()",
        "loop.call_soon(loop.{name})",
        "reactor.callLater(0, loop.{name})",
        "%%run_in_reactor\nloop.{name}()",
        "threading.Thread(target=loop.{name}).start()",
        "loop.run_in_executor(None, loop.{name})",
    ],
)
def test_ends_nothing(kernel: Kernel, name: str, code: str) -> None:
    """``loop.stop()`` and ``close()`` never end the reactor, and say so where nobody waits."""
    cell = kernel.ok(code.format(name=name))
    kernel.pump(lambda: f"loop.{name}{IGNORED}" in cell.printed(), 5)
    assert kernel.value("reactor.running, loop.is_running(), loop.is_closed()") == (
        "(True, True, False)"
    )


def test_asyncio_run(kernel: Kernel) -> None:
    """``asyncio.run`` in a kernel's cell fails in Python's words, with one line that helps."""
    cell = fail(kernel, "never_run = waits(); asyncio.run(never_run)")
    kernel.ok("never_run.close()")  # or a later cell says that it was never awaited
    assert "asyncio.run() cannot be called from a running event loop" in cell.traceback
    assert "put `await` in front of the coroutine in place of asyncio.run(...)" in cell.traceback


def test_loop_of_its_own(kernel: Kernel) -> None:
    """The same line for what runs a coroutine in a loop of its own, as the ``run`` of servers."""
    kernel.ok("made = asyncio.new_event_loop()")
    cell = fail(kernel, "made.run_until_complete(made.create_future())")
    assert "Cannot run the event loop while another loop is running" in cell.traceback
    assert "or of what runs it in a loop of its own" in cell.traceback
    kernel.ok("made.close()")


# ---- A.4, A.5


def test_context_variables(cells: Cells) -> None:
    """A context variable that a cell of either kind sets is set in the next, and can be reset."""
    cells.ok("v = contextvars.ContextVar('v', default=0); w = contextvars.ContextVar('w')")
    cells.ok("await asyncio.sleep(0); v.set(1)")
    assert cells.value("v.get()") == "1"
    cells.ok("v.set(2)")
    assert cells.value("await asyncio.sleep(0, v.get())") == "2"
    cells.ok("x = asyncio.create_task(waits()); x.add_done_callback(lambda _: w.set(9))")
    cells.ok("async def sets(): v.set(5); return v.get()\nx = asyncio.create_task(sets())")
    assert cells.value("await x, v.get(), w.get(None)") == "(5, 2, None)"


def test_given_back(kernel: Kernel) -> None:
    """``%autoawait asyncio`` gives all of it back, and ``%autoawait twisted`` takes it again."""
    kernel.ok("%autoawait asyncio")
    home = "get_ipython().kernel.io_loop.asyncio_loop"
    assert kernel.value(f"asyncio.get_running_loop() is {home}") == "True"
    assert kernel.value(f"await asyncio.sleep(0, asyncio.get_running_loop() is {home})") == "True"
    kernel.ok("%autoawait twisted")
    assert kernel.value("asyncio.get_running_loop() is loop") == "True"


def test_switched_off(kernel: Kernel) -> None:
    """``%config TwistedMagics.share_reactor = False`` leaves plain cells the kernel's loop."""
    kernel.ok("%config TwistedMagics.share_reactor = False")
    assert kernel.value("asyncio.get_running_loop() is loop") == "False"
    kernel.ok("%config TwistedMagics.share_reactor = True")
    assert kernel.value("asyncio.get_running_loop() is loop") == "True"


def test_other_loop(kernel: Kernel) -> None:
    """What belongs to yet another running loop is awaited through that loop."""
    kernel.ok(
        "other = asyncio.new_event_loop()\n"
        "runs = threading.Thread(target=other.run_forever); runs.start()\n"
        "async def of_other(): return asyncio.get_running_loop() is other\n"
        "async def make(): return asyncio.create_task(of_other())\n"
        "x = asyncio.run_coroutine_threadsafe(make(), other).result(5)"
    )
    assert kernel.value("await x") == "True"
    kernel.ok("other.call_soon_threadsafe(other.stop); runs.join(5); other.close()")


# ---- rules


def test_tasks(kernel: Kernel) -> None:
    """R9: no task runs in a plain cell, and all tasks are listed in both threads."""
    kernel.ok("await asyncio.sleep(0); here = asyncio.create_task(asyncio.sleep(60))")
    cell = "there = asyncio.create_task(asyncio.sleep(60)); reactor.callLater(0, int)\n"
    kernel.ok(f"{cell}current, listed = asyncio.current_task(), asyncio.all_tasks()")
    assert (
        kernel.value("current, {here, there} <= listed == asyncio.all_tasks(loop)")
        == "(None, True)"
    )
    assert kernel.value("{here, there} <= asyncio.all_tasks() if await waits() else 0") == "True"
    assert kernel.value("here.cancel(), there.cancel()") == "(True, True)"
    assert kernel.value("await asyncio.wait([here, there]) and asyncio.all_tasks() & listed") == (
        "set()"
    )


if sys.version_info >= (3, 12):

    def test_eager_tasks(kernel: Kernel) -> None:
        """R9: eager tasks of plain cells take their first step at once, and go on."""
        kernel.ok(
            "steps = []\n"
            "async def eager(number):\n"
            "    steps.append(asyncio.current_task() in asyncio.all_tasks())\n"
            "    await asyncio.sleep(0.01); await later(None, 0.01); return number\n"
            "async def spins():\n"
            "    while True: await asyncio.sleep(0)\n"
            "busy = [asyncio.create_task(spins()) for _ in range(3)]\n"
            "loop.set_task_factory(asyncio.eager_task_factory)"
        )
        kernel.ok("x = [asyncio.create_task(eager(n)) for n in range(20)]; begun = len(steps)")
        assert kernel.value("await asyncio.gather(*x) == [*range(20)]") == "True"
        kernel.ok("loop.set_task_factory(None); [one.cancel() for one in busy]")
        assert kernel.value("begun, {*steps}") == "(20, {True})"


def test_shutdown(tmp_path: Path) -> None:
    """R9: tasks of plain cells are cancelled when the kernel shuts down, and clean up."""
    said = tmp_path / "said"
    with Kernel() as own:
        own.ok(
            "import asyncio, pathlib\n"
            "async def work():\n"
            "    print('began')\n"
            "    try: await asyncio.sleep(60)\n"
            f"    finally: pathlib.Path({str(said)!r}).write_text('cleaned up')"
        )
        own.ok("x = asyncio.create_task(work())").wait_for("began")
        own.ask_shutdown()
        assert own.ended_within(5)
    assert said.read_text() == "cleaned up"


GENERATOR = """
ends = []
async def numbers():
    try: yield 1; yield 2
    finally: ends.append(asyncio.get_running_loop() is loop)
"""


def test_asynchronous_generator(kernel: Kernel) -> None:
    """R10: a generator that a plain cell begins and drops is closed on the reactor's loop."""
    kernel.ok(
        GENERATOR + "one = numbers()\ntry: one.asend(None).send(None)\nexcept StopIteration: 0"
    )
    kernel.ok("del one")
    kernel.ok("while not ends: await asyncio.sleep(0.01)")
    assert kernel.value("ends") == "[True]"


def test_signal_handler(kernel: Kernel) -> None:
    """R16: a signal handler of a cell is called, and undone with the cell; Ctrl-C ends it."""
    kernel.ok("heard = []; before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGUSR1)]")
    kernel.ok(
        "loop.add_signal_handler(signal.SIGUSR1, heard.append, 'usr1')\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "while not heard: time.sleep(0.01)"
    )
    cell = began(kernel, "loop.add_signal_handler(signal.SIGINT, heard.append, 1)\ntime.sleep(60)")
    interrupted(kernel, cell)
    kernel.ok("while len(heard) < 2: await asyncio.sleep(0.01)")
    now = "[signal.getsignal(n) for n in (signal.SIGINT, signal.SIGUSR1)]"
    assert kernel.value(f"heard, {now} == before, signal.set_wakeup_fd(-1)") == (
        "(['usr1', 1], True, -1)"
    )
    interrupted(kernel, began(kernel, "time.sleep(60)"))
    interrupted(kernel, began(kernel, "await asyncio.sleep(60)"))


def test_nested_cell(kernel: Kernel) -> None:
    """A cell that runs another one has the reactor's loop before and after it."""
    nested = "get_ipython().run_cell({!r}), asyncio.get_running_loop() is loop"
    assert str(kernel.value(nested.format("y = asyncio.get_running_loop()"))).endswith("True)")
    assert str(kernel.value(nested.format("await asyncio.sleep(0)"))).endswith("True)")
    assert kernel.value("y is loop") == "True"
