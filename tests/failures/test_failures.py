"""Failures that are nobody's are shown in their cell, once, with the user's frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from kernels import Execution, Kernel, Message
from shells import run_python
from terminals import Terminal

from twisted_ipython._base.tracebacks import OTHER_DRIVER

# Seconds within which a failure has to be shown.
SOON = 1.0
# What a busy machine may add to that.
SLACK = 0.5

IMPORTS = """
import asyncio, gc, logging, sys
from twisted.internet import defer, protocol, reactor, task, threads
from twisted.internet.defer import Deferred
def bad(*_): 1 / 0
""".strip()
# A cell that awaits: what it does is done in the reactor thread.
HERE = "await asyncio.sleep(0)\n"


def errors(cell: Execution) -> list[Message]:
    """The failures that a cell shows."""
    return cell.messages("error")


class Notebook(Kernel):
    """A kernel whose cells may fail in the background."""

    def submit(self, code: str, **options: Any) -> Execution:
        """Send a cell; one that fails does not take with it those that are sent next."""
        return super().submit(code, **{"stop_on_error": False, **options})

    def fails(self, code: str, head: str = "") -> Execution:
        """Run a cell that succeeds, and whose work fails; wait until it shows that."""
        cell = self.ok(code)
        began = monotonic()
        self.pump(lambda: errors(cell), SOON + SLACK + 2)
        assert monotonic() - began < SOON + SLACK
        assert head in cell.traceback.splitlines()[0]
        assert "twisted" not in cell.traceback.partition("\n")[2]
        return cell

    def settle(self, shown: dict[Execution, int]) -> None:
        """What was dropped is collected, and by then cells show so many failures and no more."""
        code = f"gc.collect(); await task.deferLater(reactor, {SOON}, gc.collect)"
        cells = {**shown, self.ok(code): 0}
        assert [len(errors(cell)) for cell in cells] == list(cells.values())
        assert [cell.printed("stderr") for cell in cells] == [""] * len(cells)


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    """A kernel that tests of this module share."""
    with Notebook() as one:
        one.ok(IMPORTS)
        yield one


# ---- jobs


def test_failed_job(notebook: Notebook) -> None:
    """A failed job is shown in its cell although a variable holds it; awaiting it raises later."""
    cell = notebook.fails(
        "%%run_in_reactor work\nawait asyncio.sleep(0.01)\ndef f(): 1/0\nf()", "(work) of cell"
    )
    assert "----> 4 f()" in cell.traceback
    later = notebook.run("await work")
    assert later.error == "ZeroDivisionError"
    assert "----> 1 await work" in later.traceback
    again = notebook.run("%tb")
    assert again.traceback == later.traceback
    notebook.settle({cell: 1, later: 1, notebook.ok("work = None"): 0})


def test_report_leaves_last_error(notebook: Notebook) -> None:
    """What `%tb` shows is the error of the last cell that failed, whatever failed behind it."""
    failed = notebook.run("await defer.fail(KeyError('mine'))")
    cell = notebook.fails("%%run_in_reactor\n1/0")
    assert notebook.run("%tb").traceback == failed.traceback
    assert notebook.value("sys.last_value") == "KeyError('mine')"
    notebook.settle({failed: 1, cell: 1})


def test_failed_job_that_is_waited_for(notebook: Notebook) -> None:
    """Whoever waits for a job has its failure, and the job's own cell shows nothing."""
    job = "%%run_in_reactor work\nawait asyncio.sleep(0.2)\n1/0"
    shown: dict[Execution, int] = {}
    for code in ("await work", "work.wait(5)"):
        shown[notebook.submit(job)] = 0
        waiting = notebook.run(code)
        assert waiting.error == "ZeroDivisionError"
        shown[waiting] = 1
        shown[notebook.submit(job)] = 0
        shown[notebook.ok(f"try: {code}\nexcept ZeroDivisionError: pass")] = 0
    shown[notebook.submit(job)] = 0
    assert "failed after" in str(notebook.value("%reactor wait work"))
    shown[notebook.ok("del work, _; Out.clear()")] = 0
    waiting = notebook.run(job.replace("work", "--wait"))
    shown[waiting] = 1
    notebook.settle(shown)


def test_cancelling_is_no_crash(notebook: Notebook) -> None:
    """Nothing is shown of a job, a Deferred or a task that was cancelled."""
    job = notebook.ok("%%run_in_reactor work\nawait asyncio.sleep(60)")
    cancels = notebook.ok(
        HERE
        + "d, t = Deferred(), asyncio.create_task(asyncio.sleep(60))\n"
        + "d.cancel(); t.cancel(); work.cancel(); Deferred().cancel()"
    )
    notebook.settle({job: 0, cancels: 0})
    notebook.settle({notebook.ok("work = d = t = None"): 0})


SWALLOWS = """
async def swallow():
    print("began")
    while True:
        try:
            await asyncio.shield(gate)
        except (asyncio.CancelledError, KeyboardInterrupt):
            print("swallowed")
        else:
            raise ValueError("late")
""".strip()


def test_given_up_cell_that_fails(notebook: Notebook) -> None:
    """The failure of a cell that was given up is shown in that cell, as that of a job."""
    notebook.ok(HERE + "gate = asyncio.get_running_loop().create_future()\n" + SWALLOWS)
    cell = notebook.submit("await swallow()").wait_for("began")
    notebook.interrupt()
    cell.wait_for("swallowed")
    notebook.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    notebook.ok(HERE + "gate.set_result(None)")
    notebook.pump(lambda: len(errors(cell)) == 2, SOON + SLACK)
    assert "ValueError: late" in cell.traceback
    notebook.settle({cell: 2})


def test_result_of_crochets_decorator(notebook: Notebook) -> None:
    """An EventualResult of the user's own function is shown as a job's is."""
    notebook.ok("import crochet\n@crochet.run_in_reactor\ndef own(): bad()")
    cell = notebook.fails("result = own()", "nobody waits for it")
    waiting = notebook.run("own().wait(5)")
    assert waiting.error == "ZeroDivisionError"
    notebook.settle({cell: 1, waiting: 1, notebook.ok("result = None"): 0})


# ---- what names hold


def test_deferred_that_a_name_holds(notebook: Notebook) -> None:
    """A failed Deferred of a name is shown; its result and callbacks stay as they are."""
    code = "d = Deferred(); reactor.callFromThread(d.errback, ValueError('x'))"
    cell = notebook.fails(code, "d, a Deferred of cell")
    # Twisted 26.10 calls them by another name.
    notebook.ok("callbacks = vars(d).get('_callbacks', vars(d).get('callbacks'))")
    assert notebook.value("callbacks, type(d.result).__name__") == "([], 'Failure')"
    later = notebook.run("await d")
    assert later.error == "ValueError"
    ended = notebook.fails("task.deferLater(reactor, 0.01, bad)", "Out[")
    assert notebook.value("d.addErrback(lambda f: f.type.__name__); await d") == "'ValueError'"
    notebook.settle({cell: 1, later: 1, ended: 1, notebook.ok("d = None; Out.clear(); _ = 0"): 0})


def test_while_its_own_cell_goes_on(notebook: Notebook) -> None:
    """A name's failure is shown while the cell that bound it runs on, unless it names it again."""
    notebook.ok("import time")
    for sleep in ("await asyncio.sleep(20)", "time.sleep(20)"):
        cell = notebook.submit(f"d = task.deferLater(reactor, 0.1, bad)\n{sleep}")
        notebook.pump(lambda cell=cell: errors(cell), 0.1 + SOON + SLACK)
        assert cell.reply is None
        assert "d, a Deferred of cell" in cell.traceback
        notebook.interrupt()
        assert cell.wait().reply is not None
        assert [one["content"]["ename"] for one in errors(cell)][1:] == ["KeyboardInterrupt"]
    later = notebook.run(
        f"d, e = (task.deferLater(reactor, 0.1, bad) for _ in 'de'); await asyncio.sleep({SOON})\n"
        "def use(): return d\ntry: await use()\nexcept Exception: pass\nawait e"
    )
    assert later.error == "ZeroDivisionError"
    notebook.settle({later: 1, notebook.ok("del d, e"): 0})


@pytest.mark.parametrize("here", [HERE, ""])
def test_coroutine_that_is_never_awaited(notebook: Notebook, here: str) -> None:
    """The warning stands in the cell that made it, with the line, whoever drops it; once."""
    notebook.ok("async def never(): pass")
    cell = notebook.ok(f"{here}1\nlost = never()\nused = never()")
    dropping = notebook.ok(f"{here}await used\nlost = None")
    notebook.pump(lambda: "lost = never()" in cell.printed("stderr"))
    warning = rf":{here.count(chr(10)) + 2}: RuntimeWarning: coroutine 'never' was never awaited"
    assert re.search(warning, cell.printed("stderr"))
    assert cell.printed("stderr").count("never awaited") == 1
    by_function = notebook.ok(f"{here}lost = never()")
    notebook.ok("def drop():\n    global lost\n    lost = 0\ndrop()")
    notebook.pump(lambda: "lost = never()" in by_function.printed("stderr"))
    notebook.settle({dropping: 0})


def test_name_that_a_function_binds(notebook: Notebook) -> None:
    """What a function binds, and binds anew, is found though no cell's code has the name."""
    notebook.ok("def start(after):\n    global d\n    d = task.deferLater(reactor, after, bad)")
    notebook.fails("start(0.1)", "d, a Deferred of cell")
    many = "; ".join(f"n{number} = 0" for number in range(20))
    notebook.ok(many + "; d = d.addErrback(lambda _: None)")
    cell = notebook.fails("start(0); await asyncio.sleep(0.1)", "d, a Deferred of cell")
    notebook.settle({cell: 1, notebook.ok("d = None"): 0})


def test_deferred_that_somebody_handles(notebook: Notebook) -> None:
    """Nothing is shown of a Deferred whose failure is handled soon, or awaited."""
    handled = notebook.ok(
        HERE
        + "d = defer.fail(ValueError('x'))\n"
        + "reactor.callLater(0.1, d.addErrback, lambda _: 'handled'); None"
    )
    awaits = notebook.ok("e = task.deferLater(reactor, 0.3, bad)")
    awaiting = notebook.run("await e")
    assert awaiting.error == "ZeroDivisionError"
    assert notebook.value("await d") == "'handled'"
    notebook.settle({handled: 0, awaits: 0, awaiting: 1})


def test_failure_of_a_later_callback(notebook: Notebook) -> None:
    """A callback that fails, added to a Deferred that has fired, is shown in the cell adding it."""
    first = notebook.ok("d = defer.succeed(1)")
    cell = notebook.fails("d.addCallback(bad); None", "d, a Deferred of cell")
    notebook.settle({first: 0, cell: 1, notebook.ok("d = None"): 0})


def test_failure_while_its_callbacks_run(notebook: Notebook) -> None:
    """A Deferred whose callback runs when the cell ends is pending, and fails in that cell."""
    cell = notebook.ok("""
import threading
began, go, slow = threading.Event(), threading.Event(), defer.Deferred()
def divides(_):
    began.set()
    go.wait(20)
    return 1 / 0
reactor.callFromThread(slow.addCallback(divides).callback, 0)
assert began.wait(20)
slow
""")
    [display] = cell.displays()
    notebook.ok("go.set()")
    notebook.shows(display, "failed after")
    notebook.pump(lambda: bool(errors(cell)))
    assert cell.traceback.startswith("slow, a Deferred of cell")


def test_coroutine_that_needs_asyncio_in_a_plain_cell(notebook: Notebook) -> None:
    """A coroutine that Twisted drives may sleep as asyncio does; what needs a task says so."""
    notebook.ok("async def sleeps(): await asyncio.sleep(0.01); return 'slept'")
    notebook.ok("d = defer.ensureDeferred(sleeps())")
    assert notebook.value("await d") == "'slept'"
    notebook.ok("async def limited():\n    async with asyncio.timeout(1): pass")
    cell = notebook.fails("d = defer.ensureDeferred(limited())", "d, a Deferred of cell")
    assert cell.traceback.endswith(OTHER_DRIVER)
    notebook.ok("d = None")


def test_task_that_a_name_holds(notebook: Notebook) -> None:
    """A failed task of a name is shown, and can be awaited after that."""
    notebook.ok("async def fail(): bad()")
    cell = notebook.fails(HERE + "t = asyncio.create_task(fail())", "t, a task of cell")
    later = notebook.run("await t")
    assert later.error == "ZeroDivisionError"
    notebook.settle({cell: 1, later: 1, notebook.ok("t = None"): 0})


# ---- what nobody holds


LINE = """
class Bad(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.abortConnection(); bad()
class Says(protocol.Protocol):
    def connectionMade(self): self.transport.write(b"x")
def serve():
    return reactor.listenTCP(0, protocol.Factory.forProtocol(Bad), interface="127.0.0.1")
def say(port):
    factory = protocol.ClientFactory.forProtocol(Says)
    return reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
""".strip()

KINDS = {
    "callLater": "reactor.callLater(0.01, bad); None",
    "callFromThread": "reactor.callFromThread(bad)",
    "LoopingCall": "task.LoopingCall(bad).start(0.01, now=False); None",
    "Deferred": "task.deferLater(reactor, 0.01, bad); None",
    "coroutine": "defer.ensureDeferred(fail()); None",
    "task": "asyncio.create_task(fail()); None",
    "handle": "asyncio.get_running_loop().call_later(0.01, bad); None",
    "protocol": "port = serve(); say(port); None",
    "log": "from twisted.python import log; log.err(ValueError('x'), 'why')",
}


def test_background_failures(notebook: Notebook) -> None:
    """Each kind of failure is shown in its own cell while another one runs, and once."""
    notebook.ok(LINE + "\nasync def fail(): bad()")
    cells = {kind: notebook.ok(HERE + code) for kind, code in KINDS.items()}
    # In another context than that of any of them.
    notebook.ok("await task.deferLater(reactor, 0.2, gc.collect)")
    notebook.ok("await defer.maybeDeferred(port.stopListening)")
    shown = {kind: len(errors(cell)) for kind, cell in cells.items()}
    assert shown == dict.fromkeys(KINDS, 1)
    for kind, cell in cells.items():
        assert ("def bad(*_): 1 / 0" in cell.traceback) is (kind != "log")
    notebook.settle(dict.fromkeys(cells.values(), 1))


TITLES = {
    "reactor.callLater(0.01, int, 'x'); None": "Failure of cell {}: a timer's int()",
    "reactor.callLater(0.01, lambda: bad()); None": "Failure of cell {}: a timer's <lambda>()",
    "reactor.callInThread(bad)": "Failure of cell {}: the thread pool's bad()",
    "threads.deferToThread(bad); None": (
        "Unhandled error in a Deferred of cell {}: the thread pool's bad()"
    ),
    "task.LoopingCall(bad).start(0.01, now=False); None": (
        "Unhandled error in a Deferred of cell {}: a LoopingCall's bad()"
    ),
    "from twisted.python import log; log.err(ValueError())": "Failure of cell {} in Twisted's log:",
    "port = serve(); say(port); None": "Failure of cell {}: Bad.dataReceived()",
}


def number_of(cell: Execution) -> int:
    """The number that IPython gave a cell that has run."""
    assert cell.reply is not None
    return int(cell.reply["execution_count"])


def test_titles(notebook: Notebook) -> None:
    """The line above says what failed, in words, and in which run of a cell it began."""
    notebook.ok(LINE)
    for code, title in TITLES.items():
        for here in (HERE, ""):
            cell = notebook.ok(here + code)
            notebook.pump(lambda cell=cell: errors(cell), SOON + SLACK)
            assert cell.traceback.splitlines()[0] == title.format(number_of(cell))
    cells = [notebook.ok("reactor.callLater(0.5, bad); None") for _ in range(3)]
    for cell in cells:
        notebook.pump(lambda cell=cell: errors(cell), 0.5 + SOON + SLACK)
        assert cell.reply is not None
        number = cell.reply["execution_count"]
        assert cell.traceback.splitlines()[0] == f"Failure of cell {number}: a timer's bad()"
    cell = notebook.ok("given = Deferred()")
    notebook.ok("given.errback(ValueError())")
    notebook.pump(lambda: errors(cell), SOON + SLACK)
    assert f"of cell {cell.reply['execution_count']}, failed" in cell.traceback.splitlines()[0]
    cell = notebook.ok("old = [task.deferLater(reactor, 0, bad)]")
    notebook.ok("await asyncio.sleep(2.5); old.clear(); gc.collect()")
    notebook.pump(lambda: bool(errors(cell)), SOON + SLACK)
    assert re.search(r"cell \d+, which failed [23] s ago:", cell.traceback)


@pytest.mark.parametrize("work", ["create_task(fail())", "call_later(0.05, bad)"])
def test_failure_on_the_kernels_loop(notebook: Notebook, work: str) -> None:
    """What a plain cell gives to asyncio, and so to the kernel's own loop, is shown, and once."""
    notebook.ok("async def fail(): await asyncio.sleep(0.05); bad()")
    cell = notebook.fails(f"asyncio.get_running_loop().{work};")
    assert "def bad(*_): 1 / 0" in cell.traceback
    notebook.settle({cell: 1})


def test_failure_of_the_kernels_own(notebook: Notebook) -> None:
    """A task of a library's, in which no code of the user's fails, stays asyncio's to report."""
    own = "asyncio.wait_for(asyncio.sleep(1), 0)"
    loop = "get_ipython().kernel.io_loop.asyncio_loop"
    # Not `ok`: what asyncio writes may come before a cell's end.
    cell = notebook.run(f"own = {loop}.create_task({own}); del own")
    later = notebook.run(f"{HERE}await asyncio.sleep({SOON})")
    assert [one.reply and one.reply["status"] for one in (cell, later)] == ["ok", "ok"]
    assert errors(cell) + errors(later) == []


@pytest.mark.parametrize("call", ["reactor.callInThread", "threads.deferToThread"])
def test_failure_in_pool_thread(notebook: Notebook, call: str) -> None:
    """What fails in a thread of the pool is shown, and once."""
    cell = notebook.fails(HERE + call + "(bad); None")
    assert "def bad(*_): 1 / 0" in cell.traceback
    notebook.settle({cell: 1})


def test_repeated_failure(notebook: Notebook) -> None:
    """A LoopingCall that is started again after each failure is shown once, and counted."""
    code = "loop = task.LoopingCall(bad)\nfor _ in range(3):\n    loop.start(0.01, now=False)\n"
    cell = notebook.ok(HERE + code + "    await task.deferLater(reactor, 0.05, lambda: None)")
    notebook.settle({cell: 1})
    [display] = cell.displays()
    assert "The same of cell " in notebook.shows(display, "2 times more")["text/plain"]
    again = HERE + "reactor.callLater(0, loop.start, 0.01, False); await asyncio.sleep(0.1)"
    notebook.settle({notebook.ok(again): 1})


def test_flood(notebook: Notebook) -> None:
    """Thousands of failures are one traceback, if they are alike, or ten, and one line."""
    cell = notebook.ok(HERE + "for _ in range(3000): reactor.callLater(0, bad)")
    notebook.pump(lambda: bool(cell.displays()), 5)
    shown = notebook.shows(cell.displays()[0], "2999 times more")["text/plain"]
    assert shown.endswith("ZeroDivisionError: division by zero")
    assert len(errors(cell)) == len(cell.displays()) == 1
    differs = "def differs(n): raise type(f'Error{n}', (Exception,), {})"
    code = f"{HERE}{differs}\nfor n in range(3000): reactor.callLater(0, differs, n)"
    cell = notebook.ok(code)
    notebook.pump(lambda: "not shown" in cell.printed("stderr"), 5)
    assert cell.printed("stderr").startswith("2990 more failures of cell ")
    assert "the last: Error2999" in cell.printed("stderr")
    assert len(errors(cell)) == 10


def test_exception_group_and_strange_exceptions(notebook: Notebook) -> None:
    """Whatever an exception is like, it is shown."""
    group = "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"
    cell = notebook.fails(f"%%run_in_reactor\n{group}")
    assert "KeyError: 'b'" in cell.traceback
    notebook.ok("class Mute(Exception):\n    def __str__(self): bad()")
    assert notebook.fails("%%run_in_reactor\nraise Mute").error == "Mute"
    own = "def _render_traceback_(self): return ['my own lines']"
    notebook.ok(f"class Own(Exception):\n    {own}")
    assert "my own lines" in notebook.fails("%%run_in_reactor\nraise Own").traceback


# ---- unload, and the terminal


def test_unload() -> None:
    """Without the extension failures go where Twisted puts them; those that were shown do not."""
    with Notebook(load=False) as notebook:
        # Where crochet's thread prints, in some kernels.
        loading = notebook.ok("%load_ext twisted_ipython\n%autoawait twisted")
        notebook.ok(IMPORTS)
        shown = [notebook.fails("%%run_in_reactor work\nbad()")]
        shown.append(notebook.fails("e = task.deferLater(reactor, 0.01, bad)"))
        notebook.ok(HERE + "handler = asyncio.get_running_loop().get_exception_handler")
        notebook.ok("d = Deferred()\n%unload_ext twisted_ipython")
        cell = notebook.ok("reactor.callFromThread(d.errback, ValueError('x'))")
        assert notebook.value("handler()") is None
        drops = "work = e = d = None; gc.collect(); time.sleep(0.2)"
        logged = notebook.run("import time; time.sleep(1); " + drops)
        assert [len(errors(one)) for one in (*shown, cell, logged)] == [1, 1, 0, 0]
        printed = "".join(one.printed("stderr") for one in (loading, *shown, cell, logged))
        assert printed.count("Unhandled error") == 1
        assert "ValueError: x" in printed


def test_reactor_without_asyncio() -> None:
    """On a reactor without a loop failures are shown in their cells all the same."""
    with Notebook(load=False) as notebook:
        notebook.ok("import klein\n" + IMPORTS)
        notebook.ok("%load_ext twisted_ipython\n%autoawait twisted")
        here = "await defer.succeed(1)\n"
        codes = ["%%run_in_reactor\nbad()", here + "reactor.callLater(0.1, bad); None"]
        codes.append("d = task.deferLater(reactor, 0.01, bad)")
        cells = {notebook.ok(code): 1 for code in codes}
        notebook.pump(lambda: all(map(errors, cells)), SOON + SLACK)
        notebook.settle(cells)


def test_saved_notebook() -> None:
    """For a client that keeps the running cell's output only, a late failure is text in that."""
    with Notebook() as notebook:
        notebook.ok(IMPORTS, allow_stdin=False)
        late = "%%run_in_reactor work\nawait asyncio.sleep(0.3)\nbad()"
        notebook.ok(late, allow_stdin=False)
        running = notebook.run("await asyncio.sleep(1)", allow_stdin=False)
        assert "(work) of cell 3 failed:" in running.printed("stderr")
        assert "ZeroDivisionError: division by zero" in re.sub(
            r"\x1b\[[0-9;]*m", "", running.printed("stderr")
        )


LATE = {
    "job": "get_ipython().run_cell_magic('run_in_reactor', 'late', 'bad()')",
    "name": "late = defer.succeed(None)\nlate.addCallback(bad)",
    "coroutine": "async def coro(): bad()\n(lambda: defer.ensureDeferred(coro()) and None)()",
}


@pytest.mark.parametrize("kind", LATE)
def test_end_of_kernel(kind: str) -> None:
    """What fails just before a kernel ends is shown in its cell."""
    with Notebook() as notebook:
        notebook.ok(IMPORTS)
        cell = notebook.ok(LATE[kind])
        notebook.ask_shutdown()
        notebook.pump(lambda: bool(errors(cell)), SOON)
        assert notebook.ended_within(2)
    assert "bad(*_): 1 / 0" in cell.traceback


def test_end_of_script(tmp_path: Path) -> None:
    """What fails just before a script ends is shown, once each; what is cancelled then is not."""
    script = tmp_path / "script.ipy"
    waits = "get_ipython().run_cell_magic('run_in_reactor', 'waits', 'await defer.Deferred()')"
    script.write_text("\n".join(["%load_ext twisted_ipython", IMPORTS, *LATE.values(), waits]))
    ended = run_python("-m", "IPython", "--colors=NoColor", script)
    assert ended.stdout.count("ZeroDivisionError: division by zero") == len(LATE)
    assert "late, a Deferred, failed, and nobody waits for it:" in ended.stdout
    assert "(late) of cell " in ended.stdout
    assert "Cancelled" not in ended.stdout + ended.stderr
    assert (ended.stderr, ended.returncode) == ("", 0)


def test_terminal() -> None:
    """In a terminal a failure is shown above the prompt, which keeps what is typed, and counted."""
    with Terminal(prompt_toolkit=True) as terminal:
        terminal.run("import asyncio; from twisted.internet import reactor, task, defer")
        terminal.run("def bad(): 1 / 0")
        terminal.run("failing = task.deferLater(reactor, 0.6, bad)")
        terminal.process.send("1000 + ")
        terminal.expect("failing, a Deferred of cell 5, failed")
        terminal.expect("ZeroDivisionError: division by zero")
        terminal.type("234")
        terminal.expect("1234")
        terminal.type("d = task.deferLater(reactor, 0.1, bad); await asyncio.sleep(3)")
        terminal.expect("d, a Deferred of cell 7, failed")
        terminal.type("for _ in range(3): reactor.callLater(0, bad)\n")
        terminal.expect("Failure of cell 8: a timer's bad")
        terminal.expect("The same of cell 8, 2 times more")


def test_debugger_after_awaiting_cell() -> None:
    """`%debug` stands in the awaiting cell that failed last, whatever failed behind it."""
    with Terminal() as terminal:
        terminal.run("from twisted.internet import reactor, task")
        terminal.run("def bad(): inside = 41; 1 / 0")
        terminal.run("await task.deferLater(reactor, 0, bad)")
        terminal.run("failing = task.deferLater(reactor, 0, int, 'x')")
        terminal.expect("failing, a Deferred of cell")
        terminal.expect("invalid literal")
        terminal.type("%debug")
        terminal.expect("ipdb> ")
        terminal.type("p inside + 1")
        terminal.expect("42")
        terminal.expect("ipdb> ")
        terminal.type("q")
        terminal.shown()
