"""
Later work runs in the context of who asked for it, which decides where it prints.

ipykernel keeps the cell that output belongs to in context variables.  asyncio
captures contexts by itself, and so do our timers; here is the rest:

- Twisted's thread pool calls a function, and what gets its result, in the
  context of who asked;
- a connection is served in the context in which its reactor first heard of it,
  whoever writes to it, pauses or closes it later: that of the cell that opened
  it, and for an accepted one that of the cell that listens;
- a process protocol hears of its process's end in the context of who started
  the process; crochet looks for ended children from its own.

What stays: a callback added to a Deferred runs where the Deferred is fired.

All is set on instances: the reactor, its pool, and each process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final

from twisted.python.threadpool import ThreadPool

from twisted_ipython._instance import override

__all__ = ["attach", "opened_in"]

# The attribute of a connection that holds its context: a table beside them would keep
# alive each connection that something in its own context knows.
_CONTEXT: Final = "_twisted_ipython_context"


def attach(reactor: Any, pool: ThreadPool) -> Callable[[], None]:
    """
    Set what keeps contexts on the reactor instance and its pool.  Any thread.

    Returns:
        What takes it off; what has begun keeps its context.
    """
    undo = ExitStack()
    undo.callback(override(pool, {"callInThreadWithCallback": _in_threads(pool)}))
    methods = {
        "addReader": _served_by(reactor.addReader),
        "addWriter": _served_by(reactor.addWriter),
        "spawnProcess": _spawning(reactor.spawnProcess),
    }
    undo.callback(override(reactor, methods))
    return undo.close


def _in_threads(pool: ThreadPool) -> Callable[..., None]:
    """``pool.callInThreadWithCallback``; any thread."""
    original: Callable[..., None] = pool.callInThreadWithCallback

    def call_in_thread_with_callback(
        onResult: Callable[..., object] | None,
        func: Callable[..., object],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        run = copy_context().run
        tells = None if onResult is None else partial(run, onResult)
        original(tells, run, func, *args, **kwargs)

    return call_in_thread_with_callback


def _served_by(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """``reactor.addReader`` or ``addWriter``, of which the loop captures the context."""

    def add(selectable: Any) -> None:
        _context_of(selectable).run(original, selectable)

    return add


def _context_of(selectable: Any) -> Context:
    """The context that a connection was first seen in.  In the reactor thread."""
    context: Context | None = getattr(selectable, _CONTEXT, None)
    if context is None:
        context = copy_context()
        with suppress(AttributeError):  # one with slots is served where it was added last
            setattr(selectable, _CONTEXT, context)
    return context


def opened_in(selectable: Any) -> Context | None:
    """The context in which a port or a connection was opened, if that is known.  Any thread."""
    return getattr(selectable, _CONTEXT, None)


def _spawning(original: Callable[..., Any]) -> Callable[..., Any]:
    """``reactor.spawnProcess``; runs in the reactor thread."""

    def spawn_process(*args: Any, **kwargs: Any) -> Any:
        process = original(*args, **kwargs)
        override(process, {"processEnded": partial(copy_context().run, process.processEnded)})
        return process

    return spawn_process
