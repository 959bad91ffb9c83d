"""Awaits on an untouched reactor, driven by Twisted; answers with seconds."""

from __future__ import annotations

import asyncio

from twisted.internet import asyncioreactor

asyncioreactor.install(asyncio.SelectorEventLoop())

from awaits import seconds  # noqa: E402  # it imports the reactor
from serving import questions  # noqa: E402
from twisted.internet import reactor  # noqa: E402
from twisted.internet.defer import ensureDeferred  # noqa: E402


async def _serve() -> None:
    wait = questions()
    while answer := wait():
        answer(await seconds())


def main() -> None:
    """Run the reactor in this thread."""

    def begin() -> None:
        done = ensureDeferred(_serve())
        done.addErrback(lambda failure: failure.printTraceback())
        done.addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
