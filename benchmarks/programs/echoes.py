"""Timers, and lines that Twisted's client and server send each other; import it with a reactor."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any, Final

import timers
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

__all__ = ["echoes", "seconds"]

# How often the line goes there and back.
_MANY: Final = 5_000
_LINE: Final = b"x" * 100


class _Echo(Protocol):
    """Sends back what comes."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        assert self.transport is not None
        self.transport.write(data)


class _Client(Protocol):
    """Sends the line again when it has come back."""

    def begin(self) -> Deferred[None]:
        """Send it; fires when it has come back for the last time."""
        self.left, self.done = _MANY, Deferred[None]()
        self._send()
        return self.done

    def _send(self) -> None:
        assert self.transport is not None
        self.transport.write(_LINE)

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  # it is as long as the line
        """Send it again."""
        self.left -= 1
        self._send() if self.left else self.done.callback(None)


async def echoes() -> float:
    """Seconds that the line takes."""
    turn: Any = reactor
    port = turn.listenTCP(0, Factory.forProtocol(_Echo), interface="127.0.0.1")
    endpoint = TCP4ClientEndpoint(turn, "127.0.0.1", port.getHost().port)
    client = await connectProtocol(endpoint, _Client())
    gc.collect()
    began = perf_counter()
    await client.begin()
    taken = perf_counter() - began
    assert client.transport is not None
    client.transport.loseConnection()
    await port.stopListening()
    return taken


async def seconds() -> dict[str, float]:
    """Seconds that each takes."""
    return await timers.seconds() | {"echoes": await echoes()}
