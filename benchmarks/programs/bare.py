"""
Awaits, or what else is named, on an untouched reactor, driven by Twisted; answers with seconds.

The arguments are the module that measures, ``awaits`` unless named, and ``epoll`` for a
reactor of that kind in place of asyncio's.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

from twisted.internet import asyncioreactor

if sys.argv[2:] != ["epoll"]:
    asyncioreactor.install(asyncio.SelectorEventLoop())

from serving import questions
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred


async def _serve() -> None:
    seconds = import_module(*sys.argv[1:2] or ["awaits"]).seconds
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
