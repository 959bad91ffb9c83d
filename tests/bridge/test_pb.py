"""Failures of Perspective Broker, whose value is a text: `exception_of`, in a real kernel."""

from __future__ import annotations

from kernels import SOON, Kernel

SETUP = """
import asyncio
from twisted.internet import defer, reactor
from twisted.spread import pb
from twisted_ipython import progress

class Root(pb.Root):
    def remote_divide(self, number): return 84 / number

port = reactor.listenTCP(0, pb.PBServerFactory(Root()), interface="127.0.0.1")
factory = pb.PBClientFactory()
reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
root = await factory.getRootObject()
"""
LAST = "RemoteError: division by zero"


def test_awaited(kernel: Kernel) -> None:
    """A call that fails at the other end raises RemoteError where it is awaited, in any way."""
    assert kernel.value("await root.callRemote('divide', 2)") == "42.0"
    for code in (
        "await root.callRemote('divide', 0)",
        "await asyncio.ensure_future(root.callRemote('divide', 0))",
        "await progress([root.callRemote('divide', 0)])",
        "%%run_in_reactor --wait\nawait root.callRemote('divide', 0)",
        "%%run_in_reactor --wait\nreturn root.callRemote('divide', 0)",
    ):
        cell = kernel.run(code, stop_on_error=False)
        assert cell.traceback.splitlines()[-1] == LAST, code
        assert cell.printed("stderr") == ""


def test_shown(kernel: Kernel) -> None:
    """One that nobody awaits is shown as any failure: of a name, of a cell's value, of a job."""
    cells = [
        kernel.ok("held = root.callRemote('divide', 0)"),
        kernel.ok("root.callRemote('divide', 0)"),
        kernel.ok("%%run_in_reactor job\nreturn root.callRemote('divide', 0)"),
    ]
    for cell in cells:
        kernel.pump(lambda cell=cell: cell.error is not None, SOON)
        assert cell.error == "RemoteError"
        assert cell.traceback.splitlines()[-1] == LAST
    kernel.shows(cells[1].displays()[0], "failed after")
