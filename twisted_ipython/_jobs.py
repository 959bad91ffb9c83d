"""
Background jobs: cells that `%%run_in_reactor` runs in the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from twisted_ipython._cell import Kind
from twisted_ipython._eventual import EventualResult
from twisted_ipython._reactor import ReactorThread

__all__ = ["begin"]


def begin(thread: ReactorThread, function: Callable[[], Any], kind: Kind) -> EventualResult:
    """
    Run a cell's function in the reactor thread, in a copy of the caller's context.

    Any thread.

    Args:
        thread: the reactor thread.
        function: the cell as a function.
        kind: how to drive it.

    Returns:
        what will come of it.

    Raises:
        RuntimeError: the reactor was stopped.
    """
    context = copy_context()

    def run() -> Any:
        if kind is Kind.COROUTINE:
            return thread.deferred(function(), context)
        if kind is Kind.GENERATOR:
            deferred: Deferred[Any] = context.run(inlineCallbacks(function))
            return deferred
        return context.run(function)

    return thread.run(run)
