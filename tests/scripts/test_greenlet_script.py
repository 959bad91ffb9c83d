"""Scripts that run the reactor, in cells of a real kernel, with a real web server."""

from __future__ import annotations

import textwrap

import pytest
from kernels import Kernel, fail
from script_cells import SETUP, cancel, last_line, script
from shells import Shell, run_python

from twisted_ipython._scripts.greenlet_script import NEVER_RAN
from twisted_ipython._scripts.reactor_run import IN_CALLBACK
from twisted_ipython._scripts.registry import NOBODY_WAITS, NOT_YET, SEVERAL_WAIT
from twisted_ipython._scripts.script import EXITED

# ---- reactor.run()


def test_the_cell_waits_and_goes_on(kernel: Kernel) -> None:
    """`reactor.run()` waits in its line, the reactor turns for others, the code below it runs."""
    waits = kernel.submit(
        script(
            """
            from twisted.internet import reactor
            where = []
            reactor.callLater(0, lambda: where.append(threading.current_thread().name))
            print("before")
            reactor.run(installSignalHandlers=False)
            print("after", where, threading.current_thread().name)
            "value"
            """,
            "name",
        )
    ).wait()
    waits.wait_for("before")
    listed = kernel.ok("%reactor jobs").outputs
    jobs = listed[-1]["content"]["data"]["text/plain"]
    assert "pending" in jobs
    assert f"Cell In[{waits.reply and waits.reply['execution_count']}], line 6" in jobs
    assert kernel.value("await deferLater(reactor, 0.01, lambda: 'turns')") == "'turns'"
    assert kernel.ok("reactor.stop()").printed() == ""
    assert kernel.value("await name") == "'value'"
    waits.wait_for("after ['CrochetReactor'] CrochetReactor")


def test_the_same_cell_ten_times(kernel: Kernel) -> None:
    """A script with a port, a LoopingCall and a stop that comes too late leaves nothing."""
    cell = script(
        """
        from twisted.internet import protocol, reactor, task

        class Echo(protocol.Protocol):
            def dataReceived(self, data):
                self.transport.write(data)

        class Client(protocol.Protocol):
            def connectionMade(self):
                self.transport.write(b"hello")
            def dataReceived(self, data):
                print(data.decode(), end=" ")
                reactor.stop()

        port = reactor.listenTCP(number, protocol.Factory.forProtocol(Echo), interface="127.0.0.1")
        number = port.getHost().port
        reactor.connectTCP("127.0.0.1", number, protocol.ClientFactory.forProtocol(Client))
        task.LoopingCall(ticks.append, 1).start(0.001)
        reactor.callLater(0.2, reactor.stop)
        reactor.callLater(0.2, lambda: reactor.stop())
        reactor.run()
        len(ticks) > 0
        """,
        "--wait --global",
    )
    kernel.ok("number, ticks, counts = 0, [], []")
    count = """
    await deferLater(reactor, 0.02)
    counts.append((len(reactor.getDelayedCalls()), len(os.listdir('/proc/self/fd'))))
    """
    for run in range(10):
        ran = kernel.ok(cell)
        assert (ran.printed(), ran.value) == ("hello ", "True")
        if run in (1, 9):
            kernel.ok(textwrap.dedent(count))
    # Each run opens three sockets; the kernel itself opens one now and then.
    calls, files = "counts[0][0] == counts[1][0]", "counts[1][1] - counts[0][1] < 8"
    assert kernel.value(f"{calls} and {files}") == "True", kernel.value("counts")
    # By now the stops that were left over would have said that nobody waits.
    kernel.ok("ticked = len(ticks)")
    assert kernel.ok("await deferLater(reactor, 0.25)").printed() == ""
    assert kernel.value("len(ticks) - ticked") == "0"


def test_two_scripts_at_once(kernel: Kernel) -> None:
    """Each ends by its own stop, cancelling one leaves the others, a stop of nobody names all."""
    cell = """
        from twisted.internet import reactor
        reactor.addSystemEventTrigger("before", "shutdown", print, "NAME shuts down")
        stops["NAME"] = Deferred()
        stops["NAME"].addCallback(lambda _: reactor.callLater(0, reactor.stop))
        reactor.run()
        "NAME"
        """
    kernel.ok("stops = {}")
    one, two, three = (
        kernel.ok(script(cell.replace("NAME", name), name)) for name in ("one", "two", "three")
    )
    jobs = kernel.value("', '.join(str(name.job) for name in (one, two, three))")
    said = kernel.ok("reactor.stop()").printed()
    assert said == SEVERAL_WAIT.format(scripts=str(jobs).strip("'")) + "\n"
    kernel.ok("two.cancel()")
    kernel.pump(lambda: kernel.value("two.state") == "'cancelled'")
    assert kernel.value("one.state, three.state") == "('pending', 'pending')"
    kernel.ok(
        "from twisted.internet import reactor as r\nr.callFromThread(stops['three'].callback, 0)"
    )
    # Fired by a plain cell, but the timer in between was asked for there too.
    cancel(kernel, "three")
    assert kernel.value("one.state") == "'pending'"
    kernel.ok("await deferLater(reactor, 0)\nstops['one'].callback(0)")
    assert kernel.value("await one") == "'one'"
    for execution, name in ((one, "one"), (two, "two"), (three, "three")):
        assert execution.wait_for("shuts down").printed() == f"{name} shuts down\n"


def test_a_stop_from_a_thread(kernel: Kernel) -> None:
    """`deferToThread(...).addCallback(...)`, and a stop that another thread calls."""
    kernel.ok("import time\nfrom twisted.internet.threads import deferToThread")
    for stop in (
        "deferToThread(time.sleep, 0.01).addCallback(lambda _: reactor.stop())",
        "deferToThread(lambda: reactor.stop())",
        "reactor.callInThread(reactor.callFromThread, reactor.stop)",
    ):
        assert kernel.ok(script(f"{stop}\nreactor.run()\n'over'")).value == "'over'"


def test_a_cell_may_run_the_reactor_twice(kernel: Kernel) -> None:
    """Also after `reactor.crash()`, which makes no shutdown call; its failure is the cell's."""
    ran = fail(
        kernel,
        script(
            """
            for number in range(2):
                reactor.addSystemEventTrigger("after", "shutdown", print, "shut", number)
                reactor.callLater(0, reactor.stop if number else reactor.crash)
                reactor.run()
                print("ran", number)
            1 / 0
            """
        ),
    )
    assert ran.printed() == "ran 0\nshut 0\nshut 1\nran 1\n"
    assert ran.error == "ZeroDivisionError"
    assert kernel.value("await deferLater(reactor, 0, lambda: 1)") == "1"


# ---- before it


def test_startup_calls_wait_for_the_reactor(kernel: Kernel) -> None:
    """`callWhenRunning(stop); run()`; startup triggers come in their order, unless taken off."""
    ran = kernel.ok(
        script(
            """
            from twisted.internet import reactor
            reactor.callWhenRunning(reactor.stop)
            reactor.callWhenRunning(print, "running", end=" ")
            for phase in ("after", "during", "before"):
                reactor.addSystemEventTrigger(phase, "startup", print, phase, end=" ")
            gone = reactor.callWhenRunning(print, "gone")
            reactor.removeSystemEventTrigger(gone)
            print("code", end=" ")
            reactor.run()
            reactor.callWhenRunning
            """
        )
    )
    assert ran.printed() == "code before during running after "


def test_stop_before_run(kernel: Kernel) -> None:
    """It raises ReactorNotRunning, as it does in a script, and so does one while it shuts down."""
    ran = fail(kernel, script("reactor.stop()\nreactor.run()"))
    assert last_line(ran) == f"ReactorNotRunning: {NOT_YET}"
    ran = kernel.ok(
        script(
            """
            from twisted.internet.error import ReactorNotRunning
            def twice():
                reactor.stop()
                try:
                    reactor.stop()
                except ReactorNotRunning:
                    print("stops already")
            reactor.callLater(0, twice)
            reactor.run()
            """
        )
    )
    assert ran.printed() == "stops already\n"


def test_shutdown_triggers(kernel: Kernel) -> None:
    """They run when the script stops, once, in three phases; Deferreds are waited for."""
    cell = script(
        """
        from twisted.internet import reactor
        def before():
            print("before")
            return deferLater(reactor, 0.02, print, "waited")
        def fails():
            1 / 0
        reactor.addSystemEventTrigger("after", "shutdown", print, "after")
        reactor.addSystemEventTrigger("during", "shutdown", print, "during")
        reactor.addSystemEventTrigger("before", "shutdown", before)
        gone = reactor.addSystemEventTrigger("before", "shutdown", print, "gone")
        reactor.removeSystemEventTrigger(gone)
        reactor.callLater(0, reactor.addSystemEventTrigger, "before", "shutdown", print, "late")
        reactor.callLater(0.01, reactor.stop)
        reactor.run()
        print("over")
        """
    )
    for _ in range(2):
        assert kernel.ok(cell).printed() == "before\nlate\nwaited\nduring\nafter\nover\n"


def test_a_failing_trigger_is_logged(kernel: Kernel) -> None:
    """The others are called all the same, and the cell goes on."""
    ran = kernel.run(
        script(
            """
            reactor.addSystemEventTrigger("before", "shutdown", lambda: 1 / 0)
            reactor.addSystemEventTrigger("before", "shutdown", print, "called")
            reactor.callWhenRunning(lambda: 2 / 0)
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            """
        )
    )
    assert ran.printed() == "called\n"
    assert ran.reply is not None
    assert ran.reply["status"] == "ok"


def test_a_cell_that_never_runs_the_reactor(kernel: Kernel) -> None:
    """What it left for `reactor.run()` is called at its end, which one line says."""
    kernel.ok(script("reactor.callWhenRunning(print, 'called')\nprint('code')", "-w"))
    ran = kernel.ok(script("reactor.callWhenRunning(print, 'called')\nprint('code')", "job"))
    ran.wait_for("called")
    name = str(kernel.value("str(job.job)")).strip("'")
    assert ran.printed() == f"code\n{NEVER_RAN.format(script=name)}\ncalled\n"
    kernel.ok(
        script(
            """
            trigger = reactor.addSystemEventTrigger("before", "shutdown", print, "at exit")
            """,
            "-w -g",
        )
    )
    count = "len(reactor._eventTriggers['shutdown'].before)"
    before = int(str(kernel.value(count)))
    kernel.ok("await deferLater(reactor, 0, reactor.removeSystemEventTrigger, trigger)")
    assert int(str(kernel.value(count))) == before - 1


# ---- stops that are nobody's


@pytest.mark.parametrize("stop", ["stop", "crash"])
def test_a_stop_while_nobody_waits(kernel: Kernel, stop: str) -> None:
    """It is ignored with one line, in every kind of cell, and the reactor goes on."""
    said = [
        kernel.ok(f"reactor.{stop}()"),
        kernel.ok(f"await deferLater(reactor, 0)\nreactor.{stop}()"),
        kernel.ok(script(f"await deferLater(reactor, 0)\nreactor.{stop}()")),
    ]
    line = NOBODY_WAITS.replace("stop", stop, 1) + "\n"
    assert [one.printed() for one in said] == [line] * 3
    assert kernel.value("await deferLater(reactor, 0, lambda: 1)") == "1"


# ---- task.react


def test_react_with_treq_ten_times(kernel: Kernel) -> None:
    """Also when the connection of an earlier run, or of another cell, is used again."""
    cell = script(
        """
        import treq
        from twisted.internet import task

        async def main(reactor, path):
            response = await treq.get(site + path)
            print(await response.text())

        task.react(main, ["/react"])
        """
    )
    for _ in range(10):
        ran = kernel.ok(cell)
        assert (ran.printed(), ran.value) == ("<h1>page /react</h1>\n", "0")


def test_react_that_fails(kernel: Kernel) -> None:
    """The failure is the script's, on the first line of `main` or later; exits have a status."""
    cell = """
        from twisted.internet import task
        async def main(reactor):
            {first}
            await task.deferLater(reactor, 0.01)
            {later}
        task.react(main)
        """
    for first, later in (("{}['key']", ""), ("", "{}['key']")):
        ran = fail(kernel, script(cell.format(first=first or "pass", later=later or "pass")))
        assert ran.error == "KeyError"
        assert "    {}['key']" in ran.traceback
        assert "KeyError" not in ran.printed("stderr")
        assert "twisted/internet/task.py" not in ran.traceback
    ran = fail(kernel, script(cell.format(first="raise SystemExit(3)", later="pass")))
    assert last_line(ran) == f"RuntimeError: {EXITED.format(status=3)}"
    assert kernel.value(script(cell.format(first="raise SystemExit(0)", later="pass"))) == "0"
    ran = fail(
        kernel, script("import sys\nreactor.callLater(0, reactor.stop)\nreactor.run()\nsys.exit(2)")
    )
    assert last_line(ran) == f"RuntimeError: {EXITED.format(status=2)}"


# ---- where it cannot run


@pytest.mark.parametrize(
    "first", ["await deferLater(reactor, 0)\n", "%%run_in_reactor -w\nyield\n"]
)
def test_where_the_reactor_runs_the_cell(kernel: Kernel, first: str) -> None:
    """Awaiting cells and generators fail at once and say what to do; `main` ends."""
    react = """async def main(reactor):
    await deferLater(reactor, 0.05, print, 'never')
task.react(main)"""
    for code in ("reactor.run()", react):
        ran = fail(kernel, first + code)
        assert last_line(ran) == f"ReactorAlreadyRunning: {IN_CALLBACK}"
        assert "site-packages" not in ran.traceback
    kernel.ok("await deferLater(reactor, 0.06)")
    assert ran.printed() == ""
    assert kernel.value(script(react.replace("never", "once"))) == "0"


def test_in_a_callback_or_a_task(kernel: Kernel) -> None:
    """It is refused, and other tasks go on."""
    ran = kernel.ok(
        script(
            """
            from twisted.internet.error import ReactorAlreadyRunning
            def again():
                try:
                    reactor.run()
                except ReactorAlreadyRunning as error:
                    print(error)
                reactor.stop()
            async def in_task():
                again()
            reactor.callLater(0, again)
            reactor.run()
            reactor.callLater(0, asyncio.ensure_future, in_task())
            reactor.run()
            """
        )
    )
    assert ran.printed() == f"{IN_CALLBACK}\n" * 2
    assert (
        kernel.value("await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0, 2))")
        == "[1, 2]"
    )


# ---- ends that come from outside


def test_an_interrupt_of_wait(kernel: Kernel) -> None:
    """Ctrl-C stops the script, whose shutdown triggers and later code run."""
    cell = script(
        """
        print("begins")
        shut = lambda: deferLater(reactor, 0.05, print, "shut")
        reactor.addSystemEventTrigger("before", "shutdown", shut)
        reactor.run()
        print("over")
        """
    )
    for _ in range(2):
        waits = kernel.submit(cell, stop_on_error=False).wait_for("begins")
        kernel.interrupt()
        assert waits.wait().error == "KeyboardInterrupt"
        waits.wait_for("shut\nover\n")
    assert kernel.value("await deferLater(reactor, 0, lambda: 1)") == "1"


def test_cancel(kernel: Kernel) -> None:
    """
    `cancel`, `%reactor cancel` and `--replace` stop it; the second one does not wait.

    The code below ``reactor.run()`` still runs, as in a process, and the job is cancelled.
    """
    cell = """
        reactor.addSystemEventTrigger("before", "shutdown", lambda: WAIT)
        reactor.run()
        overs.append(1)
        """
    kernel.ok("overs = []")

    def cancelled(name: str, times: int) -> bool:
        return bool(kernel.value(f"{name}.state, len(overs)") == f"('cancelled', {times})")

    kernel.ok(script(cell.replace("WAIT", "None"), "name"))
    kernel.ok("%reactor cancel name")
    kernel.pump(lambda: cancelled("name", 1))
    kernel.ok(script(cell.replace("WAIT", "Deferred()"), "name"))
    kernel.ok("name.cancel()\nawait deferLater(reactor, 0.01)")
    assert kernel.value("name.state") == "'pending'"
    kernel.ok("name.cancel()")
    kernel.pump(lambda: cancelled("name", 2))
    kernel.ok(script(cell.replace("WAIT", "print('replaced')"), "name"))
    kernel.ok("first = name")
    kernel.ok(script(cell.replace("WAIT", "None"), "-r name"))
    assert cancelled("first", 3)
    assert kernel.value("name.state") == "'pending'"
    kernel.ok("%reactor cancel all")
    kernel.pump(lambda: cancelled("name", 4))


def test_unload_with_scripts_that_wait() -> None:
    """They are ended first; a stop that is left over cannot end the reactor."""
    with Kernel() as kernel:
        kernel.ok(SETUP)
        one = kernel.ok(
            script(
                """
                shut = lambda: deferLater(reactor, 0.05, print, "shut")
                reactor.addSystemEventTrigger("before", "shutdown", shut)
                reactor.run()
                d = Deferred()
                print("over")
                """,
                "-g one",
            )
        )
        kernel.ok("%unload_ext twisted_ipython")
        one.wait_for("shut\nover\n")
        assert kernel.value("one.wait(1) is None") == "True"
        for stop in ("stop", "crash"):
            kernel.ok(f"reactor.callFromThread(lambda: d.addCallback(lambda _: reactor.{stop}()))")
        kernel.ok("reactor.callFromThread(d.callback, None)")
        kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
        assert kernel.value("await deferLater(reactor, 0.01, lambda: 1)") == "1"
        kernel.ok(script("reactor.callLater(0, reactor.stop)\nreactor.run()"))


AT_EXIT = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="NoColor")
shell.run_cell("%load_ext twisted_ipython")
shell.run_cell('''%%run_in_reactor
from twisted.internet import reactor, task
def shut():
    return task.deferLater(reactor, 0.1, print, "shut")
reactor.addSystemEventTrigger("before", "shutdown", shut)
reactor.addSystemEventTrigger("after", "shutdown", print, "after")
print("waits", flush=True)
reactor.run()
print("over")
reactor.run()
''')
shell.run_cell('''%%run_in_reactor -w
from twisted.internet import reactor
reactor.addSystemEventTrigger("before", "shutdown", print, "of a cell")
''')
"""


def test_at_the_end_of_the_process() -> None:
    """The scripts that wait are stopped as by their own stop, and the process ends."""
    ran = run_python("-c", AT_EXIT)
    for line in ("waits", "of a cell\n", "shut\n", "after\n", "over\n"):
        assert line in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 0
    assert "without waiting" not in ran.stderr


# ---- other reactors, and what stays

TRACES = """
import logging
from twisted.logger import globalLogBeginner, globalLogPublisher

def traces():
    ours = {"run", "stop", "crash", "callWhenRunning", "addSystemEventTrigger", "addObserver",
            "removeSystemEventTrigger", "beginLoggingTo", "addHandler", "removeHandler", "setLevel"}
    changed = [reactor, globalLogBeginner, globalLogPublisher, logging.getLogger()]
    return (sum(len(ours & vars(one).keys()) for one in changed),
            len(logging.getLogger("scrapy.core.scraper").filters))
"""


def test_unload_leaves_no_trace() -> None:
    """A session without a script that ran the reactor leaves its methods as they were."""
    with Shell() as shell:
        shell.ok("from twisted.internet import reactor" + TRACES)
        shell.ok("triggers = lambda: len(reactor._eventTriggers['shutdown'].before)")
        assert shell.value("traces()") == "(11, 1)"
        shell.ok("before = triggers()")
        shell.ok(script("reactor.callLater(0, int)\n1"))
        shell.ok("%unload_ext twisted_ipython")
        assert shell.value("traces()") == "(0, 0)"
        shell.ok("%load_ext twisted_ipython")
        assert shell.value("triggers() == before") == "True"
        shell.ok(script("reactor.callLater(0, reactor.stop)\nreactor.run()"))
        shell.ok("%unload_ext twisted_ipython")
        # What the script may have left for later cannot end the reactor.
        assert shell.value("traces()") == "(2, 0)"
        assert shell.ok("reactor.stop()").strip() == NOBODY_WAITS


def test_a_reactor_without_an_asyncio_loop() -> None:
    """Scripts run on it too, one after another."""
    with Shell(load=False) as shell:
        shell.ok("from twisted.internet import selectreactor\nselectreactor.install()")
        shell.run("%load_ext twisted_ipython")
        cell = script(
            """
            from twisted.internet import reactor, task
            async def main(reactor):
                await task.deferLater(reactor, 0.01)
                said.append("main")
            reactor.addSystemEventTrigger("before", "shutdown", said.append, "shut")
            reactor.callLater(0.01, reactor.stop)
            reactor.run()
            try:
                task.react(main)
            except SystemExit as exit:
                said.append(exit.code)
            """,
            "job",
        )
        for _ in range(3):
            shell.ok("said = []")
            shell.ok(cell)
            shell.ok("job.wait(5)")
            assert shell.value("said") == "['shut', 'main', 0]"
