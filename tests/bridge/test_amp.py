"""AMP adds an errback behind what awaits a command: it must find nothing left to handle."""

from __future__ import annotations

import pytest
from kernels import Kernel

SETUP = """
import asyncio
from twisted.internet import defer, protocol, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.protocols import amp
from twisted_ipython import progress

class Divide(amp.Command):
    arguments = [(b"by", amp.Integer())]
    response = [(b"result", amp.Integer())]
    errors = {ZeroDivisionError: b"ZERO"}

class Server(amp.AMP):
    @Divide.responder
    def divide(self, by): return {"result": 84 // by}

port = reactor.listenTCP(0, protocol.Factory.forProtocol(Server), interface="127.0.0.1")
end = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
client = await connectProtocol(end, amp.AMP())
async def divide(by): return (await client.callRemote(Divide, by=by))["result"]
"""


@pytest.mark.parametrize(
    "code",
    [
        "await client.callRemote(Divide, by=0)",
        "await divide(0)",
        "await defer.ensureDeferred(divide(0))",
        "await asyncio.create_task(divide(0))",
        "await progress([client.callRemote(Divide, by=0)])",
        "%%run_in_reactor --wait\nawait divide(0)",
    ],
)
def test_a_declared_error(kernel: Kernel, code: str) -> None:
    """It is raised where it is awaited, nothing is logged, and the connection stays."""
    cell = kernel.run(code, stop_on_error=False)
    assert cell.error == "ZeroDivisionError"
    assert cell.printed("stderr") == ""
    assert kernel.value("await divide(2), client.transport.connected") == "(42, 1)"
