"""Ports and connections: who opened them, what they are, who holds an address, `%reactor close`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from kernels import Execution, Kernel, fail
from twisted.internet.endpoints import _WrappingFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import _HTTP11ClientFactory

from twisted_ipython._magics.sockets import living, what

OPEN = """
import asyncio, treq
from twisted.internet import endpoints, protocol, reactor
class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
class Hears(protocol.Protocol):
    def __init__(self):
        self.ended = Deferred()
    def connectionLost(self, reason):
        self.ended.callback("lost")
from twisted.internet.defer import Deferred
echo = protocol.Factory.forProtocol(Echo)
def number_of(port):
    return port.getHost().port
async def connected(number):
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", number)
    return await endpoints.connectProtocol(endpoint, Hears())
"""
LISTEN = 'number = number_of(reactor.listenTCP(0, echo, interface="127.0.0.1")); number'
IN_USE = "Address already in use"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """One kernel for all."""
    with Kernel() as kernel:
        kernel.ok(OPEN)
        yield kernel


def opened(kernel: Kernel) -> list[list[str]]:
    """The rows of ports and connections in `%reactor`."""
    shown = kernel.ok("%reactor").data("display_data")["text/plain"]
    table = shown.partition("Ports and connections\n")[2].partition("Thread pool")[0]
    return [line.split() for line in table.splitlines()[1:]]


def number_of(ran: Execution) -> str:
    """The number of a cell."""
    assert ran.reply is not None
    return str(ran.reply["execution_count"])


@pytest.mark.parametrize("opens", ["{0}", "await asyncio.sleep(0); {0}"], ids=["plain", "awaits"])
def test_a_port_is_closed_with_its_connections(kernel: Kernel, opens: str) -> None:
    """It can be opened again in the very next line; the error in between says who has it."""
    ran = kernel.ok(opens.format(LISTEN))
    cell, number = number_of(ran), ran.value
    other = number_of(kernel.ok("client = await connected(number)"))
    rows = opened(kernel)
    assert ["listens", f"127.0.0.1:{number}", "Echo", cell] in rows
    ends = [row for row in rows if row[0] == "connection" and row[3] in ("Echo", "Hears")]
    assert sorted((row[3], row[4]) for row in ends) == [("Echo", cell), ("Hears", other)]

    again = 'port = reactor.listenTCP(number, echo, interface="127.0.0.1")'
    line = f"Port {number} is held by cell {cell}. To close it: %reactor close {number}"
    assert fail(kernel, opens.format(again)).traceback.endswith(f"{IN_USE}.\n{line}")
    closed = kernel.ok(f"%reactor close {number}\n{again}\nawait client.ended").printed()
    assert closed == f"closed port {number} (Echo), 1 connection of cell {cell}\n"
    assert [row for row in opened(kernel) if "Hears" in row] == []
    kernel.ok(f"%reactor close {number}")


def test_what_a_job_opened_is_closed(kernel: Kernel) -> None:
    """Its ports of Twisted and asyncio, and connections that it made itself; the job goes on."""
    kernel.ok(LISTEN)
    began = kernel.ok(
        "%%run_in_reactor served\n"
        "async def handle(reader, writer):\n    await reader.read()\n"
        'server = await asyncio.start_server(handle, "127.0.0.1", 0)\n'
        "global ours, theirs\n"
        "ours = server.sockets[0].getsockname()[1]\n"
        'theirs = number_of(reactor.listenTCP(0, echo, interface="127.0.0.1"))\n'
        "client = await connected(number)\nawait client.ended\nawait Deferred()"
    )
    cell = number_of(began)
    kernel.ok("while 'theirs' not in globals(): await asyncio.sleep(0)")
    kernel.ok("reader, writer = await asyncio.open_connection('127.0.0.1', ours)")
    ours, theirs = kernel.value("ours"), kernel.value("theirs")
    rows = [row for row in opened(kernel) if row[-1] == cell]
    assert sorted((row[0], row[-2]) for row in rows) == [
        ("connection", "Hears"),
        ("connection", "handle"),
        ("listens", "Echo"),
        ("listens", "handle"),
    ]
    job = kernel.value("str(served.job)")
    who = f"{str(job)[1:-1]} of cell {cell}"
    for number, code in (
        (theirs, 'reactor.listenTCP(theirs, echo, interface="127.0.0.1")'),
        (ours, "await asyncio.start_server(print, '127.0.0.1', ours)"),
    ):
        line = f"Port {number} is held by {who}. To close it: %reactor close {number}"
        assert fail(kernel, code).traceback.endswith(line)
    assert kernel.ok("%reactor close served\nawait reader.read()").printed() == (
        f"closed port {theirs} (Echo), port {ours} (handle), 2 connections of {who}\n"
    )
    assert [row for row in opened(kernel) if row[-1] == cell] == []
    assert kernel.value("served.state") == "'pending'"
    kernel.ok("%reactor close $number\n%reactor cancel served")


def test_an_address_in_use_is_explained_where_a_job_fails(kernel: Kernel) -> None:
    """Also one that no cell holds."""
    kernel.ok("import socket\nother = socket.create_server(('127.0.0.1', 0))")
    number = kernel.value("taken = other.getsockname()[1]; taken")
    job = kernel.ok(
        "%%run_in_reactor failing\n"
        'endpoint = endpoints.TCP4ServerEndpoint(reactor, taken, interface="127.0.0.1")\n'
        "await endpoint.listen(echo)"
    )
    kernel.pump(lambda: job.error is not None)
    assert job.traceback.endswith(
        f"No cell or job holds port {number}: another program does, or a thread of this one."
        f" `!lsof -i :{number}` names it."
    )


def test_what_cannot_be_closed_is_refused_in_one_line(kernel: Kernel) -> None:
    """A word that is none of the three; a number that is both a cell and a job."""
    ran = kernel.ok(LISTEN)
    cell, number = number_of(ran), ran.value
    refused = fail(kernel, "%reactor close 0").printed("stderr")
    assert refused == (
        "UsageError: '0' is no port that is open, nor a cell or job that has one:"
        f" {number} (Echo) of cell {cell}\n"
    )
    kernel.ok(
        "from twisted_ipython._reactor.jobs import Job\nimport itertools\n"
        f"kept, Job._work_id = Job._work_id, itertools.count({cell})"
    )
    kernel.ok("%%run_in_reactor\nreactor.listenUDP(0, protocol.DatagramProtocol()); None")
    kernel.ok("Job._work_id = kept")
    refused = fail(kernel, f"%reactor close {cell}").printed("stderr")
    assert refused == (
        f"UsageError: {cell} is a cell and a job, and both have opened something: write"
        f" %reactor close cell {cell}, or job {cell}\n"
    )
    closed = kernel.ok(f"%reactor close job {cell}").printed()
    assert "twisted.internet.protocol.DatagramProtocol" in closed
    assert f"job {cell} of cell" in closed
    assert kernel.ok(f"%reactor close cell {cell}").printed().endswith(f"of cell {cell}\n")


# ---- what a person would know


class Echo(Protocol):
    """A user's protocol."""


class Echoes(Factory):
    """A user's factory."""


ECHO = f"{__name__}.Echo"


@pytest.mark.parametrize(
    ("candidates", "name"),
    [
        ([Factory.forProtocol(Echo)], ECHO),
        ([_WrappingFactory(Factory.forProtocol(Echo))], ECHO),
        ([_WrappingFactory(Echoes())], f"{__name__}.Echoes"),
        ([WrappingFactory(Echoes())], f"{__name__}.Echoes"),
        ([_HTTP11ClientFactory(None, ""), Echo()], ECHO),
        ([None, ProtocolWrapper(WrappingFactory(Echoes()), Echo())], ECHO),
        ([Factory()], "twisted.internet.protocol.Factory"),
        ([None], ""),
    ],
)
def test_what_serves_is_named_as_a_person_knows_it(candidates: list[Any], name: str) -> None:
    """What wraps is passed over, and so is plumbing where there is anything else."""
    assert what(*candidates) == name


def test_a_function_that_makes_protocols_is_named() -> None:
    """Where a factory has no class of protocols."""
    factory = Factory()
    factory.protocol = partial(Echo)  # type: ignore[assignment]
    assert what(factory) == "Echo"


def test_what_lives_is_found_without_asking_it() -> None:
    """Instances of a class and its subclasses; a proxy that pretends is not asked."""

    class Thing:
        pass

    class Special(Thing):
        pass

    class Proxy:
        @property
        def __class__(self) -> Any:
            raise AssertionError("it was asked")

    things = [Thing(), Special(), Proxy()]
    assert sorted(map(id, living(Thing))) == sorted(map(id, things[:2]))
