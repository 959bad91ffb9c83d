"""
Awaits, or what else is named, on an untouched reactor, driven by Twisted; answers with seconds.

The argument is the module that measures: ``awaits``, or ``timers``.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

from twisted.internet import asyncioreactor

asyncioreactor.install(asyncio.SelectorEventLoop())

from serving import questions  # noqa: E402
from twisted.internet import reactor  # noqa: E402
from twisted.internet.defer import ensureDeferred  # noqa: E402


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
