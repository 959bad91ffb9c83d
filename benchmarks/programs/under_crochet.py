"""
What a module measures under crochet on an untouched asyncio reactor, in seconds.

In a cell of an IPython, as ours: what the shell keeps alive is gone through by each full
collection of garbage, which takes up to a fifth of the time.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

from twisted.internet import asyncioreactor

asyncioreactor.install(asyncio.SelectorEventLoop())

import crochet  # noqa: E402
from IPython.core.interactiveshell import InteractiveShell  # noqa: E402
from serving import serve  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402


def main(module: str) -> None:
    """Answer, with the reactor in crochet's thread."""
    shell = InteractiveShell.instance()
    crochet.setup()
    seconds = import_module(module).seconds
    shell.user_ns["seconds"] = crochet.wait_for(100)(
        lambda: Deferred.fromFuture(asyncio.ensure_future(seconds()))
    )

    def answer() -> object:
        result = shell.run_cell("seconds();")
        result.raise_error()
        return result.result

    serve(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
