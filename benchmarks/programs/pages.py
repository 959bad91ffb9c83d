"""Pages that link to each other, in a process of its own; prints the port, ends with its input."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.protocol import Protocol
from twisted.web import resource, server


class _Page(resource.Resource):
    """Page N links to 2N+1 and 2N+2."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """The page, of two kilobytes."""
        number = int(request.path.strip(b"/") or 0)
        links = (f"<a href='/{one}'>{one}</a>" for one in (2 * number + 1, 2 * number + 2))
        return f"<html><p>{'text ' * 400}</p>{''.join(links)}</html>".encode()


class _Input(Protocol):
    """Ends the process with its input."""

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002
        """Whoever started it has ended."""
        turn: Any = reactor
        if turn.running:
            turn.stop()


if __name__ == "__main__":
    turn: Any = reactor
    site = server.Site(_Page())
    site.noisy = False
    print(turn.listenTCP(0, site, interface="127.0.0.1").getHost().port, flush=True)
    stdio.StandardIO(_Input())
    turn.run()
