"""Scripts that run the reactor in cells without a magic, in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernels import SOON, SUBSHELLS, Execution, Kernel, fail
from script_cells import SETUP, cell, last_line, script

from twisted_ipython._scripts.reactor_run import IN_CALLBACK
from twisted_ipython._scripts.registry import NOBODY_WAITS, NOT_YET, SEVERAL_WAIT
from twisted_ipython._scripts.script import EXITED
from twisted_ipython._scripts.thread_script import OF_CELL


def broken_off(kernel: Kernel, waits: Execution) -> Execution:
    """Press the stop button once the cell says that it waits; it ends as KeyboardInterrupt."""
    waits.wait_for("waits")
    kernel.interrupt()
    waits.wait()
    assert waits.error == "KeyboardInterrupt"
    assert "site-packages" not in waits.traceback
    assert "twisted_ipython" not in waits.traceback
    return waits


# ---- reactor.run()

ECHO = """
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
reactor.callWhenRunning(print, "runs", end=" ")
reactor.addSystemEventTrigger("before", "shutdown", print, "shuts down", end=" ")
reactor.run()
print("over")
len(ticks) > 0
"""


def test_the_same_cell_again_and_again(kernel: Kernel) -> None:
    """A script with a port, a client, a LoopingCall and late stops ends, and leaves nothing."""
    kernel.ok("number, ticks = 0, []")
    for _ in range(5):
        ran = kernel.ok(ECHO)
        assert ran.printed() == "runs hello shuts down over\n"
        assert ran.value == "True"
    # By now the stops that were left over would have said that nobody waits.
    kernel.ok("ticked = len(ticks)")
    assert kernel.ok("await deferLater(reactor, 0.25)").printed() == ""
    assert kernel.value("len(ticks) - ticked") == "0"


def test_everything_else_goes_on(kernel: Kernel) -> None:
    """A job's LoopingCall and its server go on while a cell waits, and after it has ended."""
    kernel.ok("from twisted.web import resource, server")
    kernel.ok(
        cell(
            """
            %%run_in_reactor job
            ticks = []
            loop = task.LoopingCall(ticks.append, 1)
            loop.start(0.01)
            port = reactor.listenTCP(0, server.Site(resource.Resource()), interface="127.0.0.1")
            return ticks, loop, port
            """
        )
    )
    kernel.ok("ticks, loop, port = job.wait(5)\nbefore = len(ticks)")
    kernel.ok(
        cell(
            """
            address = f"http://127.0.0.1:{port.getHost().port}/"
            reactor.callLater(0.2, lambda: treq.get(address, persistent=False).addCallback(
                lambda response: print(response.code) or reactor.stop()))
            reactor.run()
            """
        )
    )
    assert kernel.value("len(ticks) - before > 10") == "True"
    assert kernel.value("(await treq.get(address, persistent=False)).code") == "404"
    kernel.ok("loop.stop()\nawait port.stopListening()\ndel job")


def test_a_second_run_in_one_cell(kernel: Kernel) -> None:
    """Also after `reactor.crash()`; and what a cell asks between two runs is for the next one."""
    ran = kernel.ok(
        cell(
            """
            for number in range(3):
                reactor.addSystemEventTrigger("after", "shutdown", print, "shut", number)
                reactor.callLater(0, reactor.stop if number else reactor.crash)
                if number == 2:
                    time.sleep(0.1)
                reactor.run()
                print("ran", number)
            """
        )
    )
    assert ran.printed() == "ran 0\nshut 0\nshut 1\nran 1\nshut 2\nran 2\n"


def test_a_failure_below_it(kernel: Kernel) -> None:
    """It is the cell's, and what the script opened is closed all the same."""
    code = """
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        reactor.callLater(0, reactor.crash)
        reactor.run()
        1 / 0
        """
    kernel.ok("from twisted.internet.protocol import Factory")
    ran = fail(kernel, cell(code))
    assert ran.error == "ZeroDivisionError"


def test_a_question_while_it_waits(kernel: Kernel) -> None:
    """A callback of the script may ask with `input()`, and use the main thread."""
    waits = kernel.submit(
        cell(
            """
            from twisted.internet.defer import ensureDeferred
            from twisted_ipython import in_main_thread

            async def asks():
                print(await in_main_thread(lambda: threading.current_thread().name))
                print("got", input("what? "))
                reactor.stop()

            reactor.callLater(0, lambda: ensureDeferred(asks()))
            reactor.run()
            """
        )
    )
    assert kernel.answer(waits, "that") == "what? "
    assert waits.wait().printed() == "MainThread\ngot that\n"


def test_a_cell_in_a_cell(kernel: Kernel) -> None:
    """Each has a reactor of its own to run, as far as it can see."""
    ran = kernel.ok(
        cell(
            """
            reactor.addSystemEventTrigger("before", "shutdown", print, "outer shuts down")
            get_ipython().run_cell("reactor.callLater(0, reactor.stop); reactor.run()", silent=True)
            get_ipython().run_cell("reactor.callLater(0, reactor.stop); reactor.run()")
            print("inner is over")
            reactor.callLater(0, reactor.stop)
            reactor.run()
            """
        )
    )
    assert ran.printed() == "inner is over\nouter shuts down\n"


def test_a_thread_may_run_it(kernel: Kernel) -> None:
    """`Thread(target=reactor.run)`, as many programs have it, waits for a stop."""
    kernel.ok("thread = threading.Thread(target=reactor.run, args=(False,))\nthread.start()")
    kernel.ok("reactor.callFromThread(reactor.stop)\nthread.join(5)")
    assert kernel.value("thread.is_alive()") == "False"


def test_in_a_callback(kernel: Kernel) -> None:
    """The reactor cannot be run by what it runs itself, also not where a cell waits."""
    ran = kernel.ok(
        cell(
            """
            from twisted.internet.error import ReactorAlreadyRunning
            def again():
                try:
                    reactor.run()
                except ReactorAlreadyRunning as error:
                    print(error)
                reactor.stop()
            reactor.callLater(0, again)
            reactor.run()
            """
        )
    )
    assert ran.printed() == f"{IN_CALLBACK}\n"


# ---- before it


def test_a_stop_before_it(kernel: Kernel) -> None:
    """It is kept for the cell's next `run()`, whose triggers run; a timer's as well as its own."""
    for stop in ("reactor.callLater(0.05, reactor.stop)\ntime.sleep(0.3)", "reactor.stop()"):
        ran = kernel.ok(
            f"{stop}\nreactor.callWhenRunning(print, 'runs')\n"
            "reactor.addSystemEventTrigger('before', 'shutdown', print, 'shuts down')\n"
            "reactor.run()\nprint('over')"
        )
        assert ran.printed() == "runs\nshuts down\nover\n"


def test_a_stop_without_a_run(kernel: Kernel) -> None:
    """At the cell's end it is said to be ignored, or stops the only script that waits."""
    timer = "reactor.callLater(0, reactor.stop)\ntime.sleep(0.1)\nprint('end')"
    assert kernel.ok(timer).printed() == f"end\n{NOBODY_WAITS}\n"
    assert kernel.ok("reactor.stop()\nprint('end')").printed() == f"end\n{NOBODY_WAITS}\n"
    crash = NOBODY_WAITS.replace("reactor.stop()", "reactor.crash()")
    assert kernel.ok("reactor.crash()\nprint('end')").printed() == f"end\n{crash}\n"
    kernel.ok(script("reactor.run()\n'over'", "name"))
    assert kernel.ok(timer).printed() == "end\n"
    assert kernel.value("await name") == "'over'"


def test_a_stop_after_it(kernel: Kernel) -> None:
    """The cell's own code knows that its reactor does not run."""
    ran = fail(kernel, "reactor.callLater(0, reactor.stop)\nreactor.run()\nreactor.stop()")
    assert last_line(ran) == f"ReactorNotRunning: {NOT_YET}"


def test_what_waits_for_run(kernel: Kernel) -> None:
    """`callWhenRunning` is called in `run()`, or quietly at the end of a cell without one."""
    ran = kernel.ok("reactor.callWhenRunning(print, 'called')\ntime.sleep(0.05)\nprint('code')")
    assert ran.printed() == "code\ncalled\n"
    kernel.ok("trigger = reactor.addSystemEventTrigger('before', 'shutdown', print, 'at exit')")
    count = "len(reactor._eventTriggers['shutdown'].before)"
    before = int(str(kernel.value(count)))
    kernel.ok("reactor.removeSystemEventTrigger(trigger)")
    assert int(str(kernel.value(count))) == before - 1


def test_beside_other_scripts(kernel: Kernel) -> None:
    """A cell that waits beside a job is ended by its own stop; a stop of nobody names both."""
    kernel.ok(script("reactor.run()\n'job'", "job"))
    waits = kernel.submit(
        cell(
            """
            import _thread, contextvars
            def of_nobody(own):
                reactor.stop()
                reactor.callFromThread(own.run, reactor.stop)
            def begin():  # a `Thread` would be the cell's
                _thread.start_new_thread(of_nobody, (contextvars.copy_context(),))
            reactor.callLater(0.05, begin)
            reactor.run()
            print("over")
            """
        )
    ).wait()
    number = waits.reply["execution_count"] if waits.reply else 0
    name = str(kernel.value("str(job.job)")).strip("'")
    line = SEVERAL_WAIT.format(scripts=f"{name}, {OF_CELL.format(number=number)}")
    # ipykernel 6 prints for a thread of the user's in the cell that loaded the extension.
    said = [waits] if SUBSHELLS else kernel.executions
    kernel.pump(lambda: any(f"{line}\n" in one.printed() for one in said), SOON)
    assert waits.printed().endswith("over\n")
    kernel.ok("reactor.stop()")
    assert kernel.value("await job") == "'job'"


# ---- task.react

REACT = """
from twisted.internet import task

async def main(reactor, path):
    response = await treq.get(site + path)
    print(await response.text())

task.react(main, ["/react"])
print("never reached")
"""


def test_react_again_and_again(kernel: Kernel) -> None:
    """It ends as a script does, without a word about exiting."""
    for _ in range(5):
        ran = kernel.ok(REACT)
        assert (ran.printed(), ran.value) == ("<h1>page /react</h1>\n", None)


def test_react_that_fails(kernel: Kernel) -> None:
    """Its failure has its own frames; another status is one line; so it is for what is like it."""
    code = """
        from twisted.internet import task
        async def main(reactor):
            {first}
            await task.deferLater(reactor, 0.01)
            {later}
        task.react(main)
        """
    for first, later in (("{}['key']", ""), ("", "{}['key']")):
        ran = fail(kernel, cell(code.format(first=first or "pass", later=later or "pass")))
        assert ran.error == "KeyError"
        assert re.search(r"-> \d +\{\}\['key'\]", ran.traceback)
        assert "site-packages" not in ran.traceback
        assert ran.printed("stderr") == ""
    exits = (
        cell(code.format(first="raise SystemExit(3)", later="pass")),
        "reactor.callLater(0, reactor.stop)\nreactor.run()\nsys.exit(3)",
    )
    for one in exits:
        ran = fail(kernel, one)
        assert ran.traceback == f"RuntimeError: {EXITED.format(status=3)}"
        assert ran.printed("stderr") == ""
    ran = kernel.ok("reactor.callLater(0, reactor.stop)\nreactor.run()\nsys.exit()")
    assert ran.printed() == ""


def test_an_exit_of_no_script_is_ipythons(kernel: Kernel) -> None:
    """`sys.exit()` in an ordinary cell is an error that says how to leave."""
    ran = fail(kernel, "sys.exit(1)")
    assert ran.error == "SystemExit"
    assert "To exit: use 'exit'" in ran.printed("stderr")


# ---- Ctrl-C


def test_an_interrupt(kernel: Kernel) -> None:
    """It ends the wait after the script's shutdown triggers, three times."""
    code = cell(
        """
        def shuts():
            return deferLater(reactor, 0.05, print, "shut")
        reactor.addSystemEventTrigger("before", "shutdown", shuts)
        reactor.callWhenRunning(print, "waits")
        reactor.run()
        print("never reached")
        """
    )
    for _ in range(3):
        ran = broken_off(kernel, kernel.submit(code, stop_on_error=False))
        assert ran.printed() == "waits\nshut\n"
        assert kernel.value("await deferLater(reactor, 0, lambda: 1)") == "1"


def test_a_second_interrupt(kernel: Kernel) -> None:
    """It does not wait for shutdown triggers that hang."""
    waits = kernel.submit(
        cell(
            """
            def shuts():
                print("hangs")
                return Deferred()
            reactor.addSystemEventTrigger("before", "shutdown", shuts)
            reactor.callWhenRunning(print, "waits")
            reactor.run()
            """
        ),
        stop_on_error=False,
    ).wait_for("waits")
    kernel.interrupt()
    waits.wait_for("hangs")
    assert waits.reply is None
    kernel.interrupt()
    assert waits.wait(5).error == "KeyboardInterrupt"


def test_an_interrupt_ends_what_react_waits_for(kernel: Kernel) -> None:
    """`main` is cancelled, which is no failure; nothing of it goes on."""
    ran = broken_off(
        kernel,
        kernel.submit(
            cell(
                """
                async def main(reactor):
                    reactor.callWhenRunning(print, "waits")
                    try:
                        await Deferred()
                    finally:
                        print("ended")
                task.react(main)
                """
            ),
            stop_on_error=False,
        ),
    )
    assert ran.printed() == "waits\nended\n"
    assert ran.printed("stderr") == ""


def test_an_interrupt_of_code_that_holds_the_reactor(kernel: Kernel) -> None:
    """A callback that never returns is broken."""
    code = cell(
        """
        def holds():
            print("waits")
            while True:
                pass
        reactor.callWhenRunning(holds)
        reactor.run()
        """
    )
    broken_off(kernel, kernel.submit(code, stop_on_error=False))
    assert kernel.value("await deferLater(reactor, 0, lambda: 1)") == "1"


# ---- what fails leaves nothing


def test_a_script_that_fails_before_it(kernel: Kernel) -> None:
    """Its port is closed, so that the corrected script can have it; its log is taken off."""
    kernel.ok(
        "from twisted.internet.protocol import Factory\nfrom twisted.python import log\np = 0"
    )
    code = """
        log.startLogging(sys.stdout, setStdout=False)
        port = reactor.listenTCP(p, Factory(), interface="127.0.0.1")
        p = port.getHost().port
        loop = task.LoopingCall(int)
        loop.start(60)
        {wrong}
        reactor.callLater(0, reactor.stop)
        reactor.run()
        """
    ran = fail(kernel, cell(code.format(wrong="wrong")))
    assert ran.error == "NameError"
    assert kernel.value("loop.running, port.connected") == "(False, False)"
    kernel.ok("log.msg('said to nobody')")
    assert "said to nobody" not in ran.printed()
    assert "said to nobody" not in kernel.ok(cell(code.format(wrong="pass"))).printed()


@pytest.mark.parametrize("line", ["", "%%run_in_reactor -w -g\n"])
def test_a_background_script_that_fails_before_it(kernel: Kernel, line: str) -> None:
    """It is the same with the magic, and for `task.react` and functions that are called."""
    kernel.ok("from twisted.internet.protocol import Factory")
    for runs in ("reactor.run()", "task.react(main)", "def main():\n    reactor.run()"):
        code = f"port = reactor.listenTCP(0, Factory(), interface='127.0.0.1')\n1 / 0\n{runs}"
        assert fail(kernel, line + code).error == "ZeroDivisionError"


def test_an_ordinary_cell_that_fails(kernel: Kernel) -> None:
    """It keeps what it has opened."""
    kernel.ok("from twisted.internet.protocol import Factory\nimport subprocess")
    code = "port = reactor.listenTCP(0, Factory(), interface='127.0.0.1')\n1 / 0\nsubprocess.run"
    assert fail(kernel, code).error == "ZeroDivisionError"
    assert kernel.value("port.connected") == "True"
    kernel.ok("await port.stopListening()")


# ---- logs


def test_the_log_of_a_script(kernel: Kernel) -> None:
    """`startLogging` and `basicConfig` go to the script's cell, and are gone afterwards."""
    kernel.ok("from twisted.python import log")
    ran = kernel.ok(
        cell(
            """
            log.startLogging(sys.stdout)
            logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
            log.msg("to Twisted's")
            logging.info("to Python's")
            reactor.callLater(0, reactor.stop)
            reactor.run()
            log.msg("at the end")
            """
        )
    )
    for text in ("[-] to Twisted's\n", "to Python's\n", "[-] at the end\n"):
        assert text in ran.printed()
    later = kernel.ok("log.msg('later')\nlogging.getLogger().info('later')\nprint('plainly')")
    assert later.printed() == "plainly\n"
    assert "later" not in ran.printed()


def test_the_log_of_an_ordinary_cell_stays() -> None:
    """What it sets up is the session's, and takes what all cells write."""
    with Kernel() as kernel:
        kernel.ok(SETUP + "import logging, sys\nfrom twisted.python import log")
        kernel.ok(
            "log.startLogging(sys.stdout, setStdout=False)\n"
            "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s')"
        )
        later = kernel.ok("log.msg('one')\nlogging.info('two')").printed()
        assert "[-] one\n" in later
        assert "two\n" in later
        ran = kernel.ok("reactor.callLater(0, reactor.stop)\nreactor.run()\nlogging.info('three')")
        assert "three\n" in ran.printed()
        assert "four\n" in kernel.ok("logging.info('four')").printed()


# ---- unloading


def test_unload_while_it_waits() -> None:
    """The wait ends, and the shell is put back."""
    with Kernel() as kernel:
        kernel.ok(SETUP)
        ran = kernel.ok(
            cell(
                """
                reactor.addSystemEventTrigger("before", "shutdown", print, "shuts down")
                unload = get_ipython().run_line_magic
                reactor.callLater(0.05, unload, "unload_ext", "twisted_ipython")
                reactor.run()
                print("over")
                """
            )
        )
        assert ran.printed() == "shuts down\nover\n"
        kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
        kernel.ok("reactor.callLater(0, reactor.stop)\nreactor.run()")


@pytest.mark.parametrize("waits", ["None", "Deferred()"])
def test_shutdown_while_it_waits(tmp_path: Path, waits: str) -> None:
    """A kernel that is asked to shut down stops the script, whose triggers run, and ends."""
    file = tmp_path / "shut"
    with Kernel() as kernel:
        kernel.ok(SETUP)
        kernel.submit(
            cell(
                f"""
                def shuts():
                    open({str(file)!r}, "w").close()
                    return {waits}
                reactor.addSystemEventTrigger("before", "shutdown", shuts)
                reactor.callWhenRunning(print, "waits")
                reactor.run()
                """
            )
        ).wait_for("waits")
        kernel.ask_shutdown()
        assert kernel.ended_within(5)
    assert file.exists()
