"""
1,000 calls of ``reactor.callLater`` in a plain cell and in a pool thread; answers with seconds.

The argument says how another thread calls the reactor: ``plainly``, with the extension, or by
``blockingCallFromThread``, Twisted's own way, with the reactor in crochet's thread.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

import crochet
from IPython.core.interactiveshell import InteractiveShell
from serving import serve
from twisted.internet import asyncioreactor

_TIMES: Final = 1000
_CELL: Final = "began = clock()\nfor _ in range(times): later(0, int)\ntook = clock() - began"


def main() -> None:
    """Measure both threads in turn."""
    shell = InteractiveShell.instance()
    ours = sys.argv[1] == "plainly"
    if ours:
        shell.run_line_magic("load_ext", "twisted_ipython")
    else:
        asyncioreactor.install(asyncio.SelectorEventLoop())
        crochet.setup()
    from twisted.internet import reactor, threads

    def hop(*args: Any) -> Any:
        return threads.blockingCallFromThread(reactor, reactor.callLater, *args)

    later: Callable[..., Any] = reactor.callLater if ours else hop
    shell.push({"later": later, "times": _TIMES, "clock": perf_counter})

    def in_pool() -> float:
        began = perf_counter()
        for _ in range(_TIMES):
            later(0, int)
        return perf_counter() - began

    def measure() -> dict[str, float]:
        shell.run_cell(_CELL).raise_error()
        other = threads.blockingCallFromThread(reactor, threads.deferToThread, in_pool)
        return {"plain cell": shell.user_ns["took"], "another thread": other}

    serve(measure)


if __name__ == "__main__":
    main()
