"""TLS on top of a connection, whose methods a plain cell calls: `_plain.transports`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from session import Session, eventually, in_reactor_thread
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, ContextFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python import threadable

HOST = "127.0.0.1"
NAMES = {"abortConnection", "loseConnection", "write", "writeSequence"}


# Its extension is loaded, so that all calls of this thread are carried.
pytestmark = pytest.mark.usefixtures("session")


class Echo(Protocol):
    """Sends back what it gets."""

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        assert self.transport is not None
        self.transport.write(data)


class Hears(Protocol):
    """Notes what it gets."""

    def connectionMade(self) -> None:
        """See `IProtocol`."""
        self.heard = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        self.heard += data

    def connectionLost(self, _: Any = None) -> None:
        """See `IProtocol`."""
        self.lost = True


class Contexts(ContextFactory):
    """Gives a context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        """See `IOpenSSLContextFactory`."""
        return self._context


@pytest.fixture
def port(reactor: Any) -> Iterator[Any]:
    """A server that speaks TLS, with a certificate of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, today, today.replace(year=9999))
    # Not by Twisted's: its way to do so is deprecated in pyOpenSSL 26.
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_privatekey(key)
    context.use_certificate(made.sign(key, hashes.SHA256()))
    echo = TLSMemoryBIOFactory(Contexts(context), False, Factory.forProtocol(Echo))
    port = reactor.listenTCP(0, echo, interface=HOST)
    yield port
    in_reactor_thread(port.stopListening)


def connected(reactor: Any, port: Any) -> Any:
    """A connection to it, from this thread."""
    below = TCP4ClientEndpoint(reactor, HOST, port.getHost().port)
    made: list[Any] = []
    endpoint = wrapClientTLS(CertificateOptions(), below)
    endpoint.connect(Factory.forProtocol(Hears)).addCallback(made.append)
    eventually(lambda: made)
    return made[0]


def test_written_to_and_closed(reactor: Any, port: Any) -> None:
    """What this thread writes, while the answers come, goes out in order."""
    hears = connected(reactor, port)
    transport = hears.transport
    assert isinstance(transport, TLSMemoryBIOProtocol)

    def pieces() -> Iterator[bytes]:
        assert threadable.isInIOThread()
        yield b"piece "

    sent = b""
    for number in range(300):
        data = b"%d " % number * 200
        transport.write(data)
        transport.writeSequence(pieces())
        sent += data + b"piece "
    eventually(lambda: len(hears.heard) >= len(sent))
    assert hears.heard == sent
    transport.loseConnection()
    eventually(lambda: hears.lost)


def test_unload(reactor: Any, port: Any, session: Session) -> None:
    """Unloading takes the methods off, and leaves those that the transport had of its own."""
    transport = connected(reactor, port).transport
    kind = type(transport)
    session.ok("%unload_ext twisted_ipython")
    assert type(transport) is kind.__base__
    own = {name: value for name, value in vars(transport).items() if name in NAMES}
    # Twisted 26.10 sets a `write` on each.
    assert own in ({}, {"write": getattr(getattr(transport, "_aggregator", None), "write", None)})
    in_reactor_thread(transport.abortConnection)
