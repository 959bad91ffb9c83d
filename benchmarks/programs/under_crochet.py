"""What a module measures under crochet on an untouched asyncio reactor, in seconds."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

from twisted.internet import asyncioreactor

asyncioreactor.install(asyncio.SelectorEventLoop())

import crochet  # noqa: E402
from serving import serve  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402


def main(module: str) -> None:
    """Answer, with the reactor in crochet's thread."""
    crochet.setup()
    seconds = import_module(module).seconds
    serve(crochet.wait_for(100)(lambda: Deferred.fromFuture(asyncio.ensure_future(seconds()))))


if __name__ == "__main__":
    main(*sys.argv[1:])
