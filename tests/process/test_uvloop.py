"""A reactor on uvloop's loop: by the setting, and made before; what holds there as on asyncio's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel
from shells import Shell, run_python

LINE = "The reactor runs on uvloop: "
USING = """
import asyncio, time
import uvloop
from twisted.internet import protocol, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
def later(value):
    return deferLater(reactor, 0.01, lambda: value)
async def both():
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(0.01, 2))
    return await later(1) + task.result()
""".strip()


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A kernel whose configuration asks for uvloop."""
    with Kernel("--TwistedMagics.reactor=uvloop", load=False) as kernel:
        told = kernel.ok("%load_ext twisted_ipython\n%autoawait twisted").printed()
        assert told.startswith(LINE)
        assert told.count("\n") == 1
        kernel.ok(USING)
        yield kernel


def test_awaits_and_plain_cells(kernel: Kernel) -> None:
    """Both worlds in a cell that awaits; a plain one has the loop, and borrows the reactor."""
    assert kernel.value("await both()") == "3"
    running = "type(asyncio.get_running_loop()) is uvloop.Loop, asyncio.get_event_loop() is"
    assert kernel.value(f"{running} reactor._asyncioEventloop") == "(True, True)"
    kernel.ok("task = asyncio.create_task(both())")
    assert kernel.value("await task, reactor.running") == "(3, True)"
    assert kernel.value("asyncio.get_running_loop().run_until_complete(both())") == "3"
    plain = "d = later(4); [reactor.callLater(0, int) for _ in range(1000)]; reactor.running"
    assert kernel.value(plain) == "True"
    assert kernel.value("await d") == "4"


def test_servers(kernel: Kernel) -> None:
    """Twisted's server and client, and asyncio's, from plain cells and from those that await."""
    kernel.ok(
        "class Echo(protocol.Protocol):\n"
        "    def dataReceived(self, data): self.transport.write(data)\n"
        "factory = protocol.Factory.forProtocol(Echo)\n"
        "port = reactor.listenTCP(0, factory, interface='127.0.0.1')"
    )
    kernel.ok(
        "reader, writer = await asyncio.open_connection('127.0.0.1', port.getHost().port)\n"
        "async def lines(reader, writer):\n"
        "    writer.write(await reader.readline())\n"
        "    writer.close()\n"
        "server = await asyncio.start_server(lines, '127.0.0.1', 0)"
    )
    assert kernel.value("writer.write(b'twice\\n'); await reader.readline()") == r"b'twice\n'"
    kernel.ok("reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())")
    kernel.ok("writer.write(b'plain\\n')")
    assert kernel.value("await reader.read()") == r"b'plain\n'"
    assert "Echo" in kernel.ok("%reactor").data("display_data")["text/plain"]
    kernel.ok("writer.close(); server.close(); await port.stopListening()")


def test_interrupts_and_failures(kernel: Kernel) -> None:
    """Ctrl-C ends an await and a loop that holds the reactor; a failure is shown in its cell."""
    for code in ("await asyncio.sleep(60)", "await later(0)\nwhile True: pass"):
        cell = kernel.submit(f"print('begun')\n{code}").wait_for("begun")
        kernel.interrupt()
        assert cell.wait().error == "KeyboardInterrupt"
        assert kernel.value("await both()") == "3"
    failing = kernel.ok("failing = deferLater(reactor, 0.01, lambda: 1 / 0)")
    kernel.pump(lambda: "ZeroDivisionError" in failing.traceback)
    job = kernel.ok("%%run_in_reactor job\nprint('of the job')\nawait asyncio.to_thread(int)")
    assert kernel.value("await job") == "0"
    assert "of the job" in job.printed()


MADE_BEFORE = """
import uvloop
from twisted.internet import asyncioreactor
asyncioreactor.install(uvloop.new_event_loop())
"""


def test_loop_made_before() -> None:
    """A uvloop loop that the user's reactor has is used, whatever the setting says."""
    with Shell(load=False) as shell:
        shell.ok(MADE_BEFORE)
        assert shell.ok("%load_ext twisted_ipython\n%autoawait twisted").startswith(LINE)
        shell.ok(USING)
        assert shell.value("await both()") == "3"
        assert shell.value("asyncio.get_event_loop().run_until_complete(both())") == "3"
        shell.ok("%unload_ext twisted_ipython")
        assert shell.value("'run_until_complete' in vars(reactor._asyncioEventloop)") == "False"


TOO_LATE = """
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
{before}
config = Config()
config.TwistedMagics.reactor = "uvloop"
shell = InteractiveShell.instance(config=config, colors="NoColor")
shell.run_line_magic("load_ext", "twisted_ipython", 1)
"""


def test_setting_that_cannot_hold() -> None:
    """Where a reactor is installed already, and where uvloop is missing, a line says so."""
    run = run_python("-c", TOO_LATE.format(before="from twisted.internet import reactor"))
    assert "TwistedMagics.reactor is 'uvloop', but a reactor is installed already" in run.stdout
    missing = TOO_LATE.format(before="import sys\nsys.modules['uvloop'] = None")
    run = run_python("-c", missing)
    assert "RuntimeError: TwistedMagics.reactor is 'uvloop', and there is no package" in run.stderr
