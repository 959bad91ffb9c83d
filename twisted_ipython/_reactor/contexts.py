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

A reactor without an asyncio loop captures no contexts: there timers, calls from
other threads and events of connections are put into theirs too.

What stays: a callback added to a Deferred runs where the Deferred is fired.
What Twisted's one cooperator (`task.coiterate`, `cooperate`) steps may run in
the context of another's step.

All is set on instances: the reactor, its pool, and each process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final

from twisted.python.threadpool import ThreadPool

from twisted_ipython._base.collected import unheld
from twisted_ipython._base.instance import override
from twisted_ipython._private.twisted import SERVE, SERVE_ON_LOOP

__all__ = ["attach", "of_timer", "opened_in"]

# The attribute of a connection that holds its context: a table beside them would keep
# alive each connection that something in its own context knows.
_CONTEXT: Final = "_twisted_ipython_context"


def attach(reactor: Any, pool: ThreadPool, *, on_loop: bool) -> Callable[[], None]:
    """
    Set what keeps contexts on the reactor instance and its pool.  Any thread.

    Args:
        reactor: the reactor.
        pool: its thread pool.
        on_loop: whether it runs on an asyncio loop.

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
    if on_loop and hasattr(reactor, SERVE_ON_LOOP):
        methods[SERVE_ON_LOOP] = _looking(getattr(reactor, SERVE_ON_LOOP))
    if not on_loop:
        methods |= {
            "callLater": _timing(reactor.callLater),
            "callFromThread": _calling(reactor.callFromThread),
        }
        # A reactor on a loop that does not run yet has none.
        serve = getattr(reactor, SERVE, None)
        if serve is not None:
            methods[SERVE] = _serving(serve)
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
    """``reactor.addReader`` or ``addWriter``, of which a loop captures the context."""

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


# ---- on a reactor without a loop


class _Keeping(partial[Any]):
    """A function that runs in the context in which this was made."""

    context: Context

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.context.run(super().__call__, *args, **kwargs)


def of_timer(call: Any) -> tuple[Callable[..., Any], Context | None]:
    """The function that a timer calls, and the context in which it was asked for.  Any thread."""
    if isinstance(call.func, _Keeping):
        return call.func.func, call.func.context
    return call.func, getattr(call, "context", None)


def _keeping(function: Callable[..., Any]) -> _Keeping:
    kept = _Keeping(function)
    kept.context = copy_context()
    return kept


def _timing(original: Callable[..., Any]) -> Callable[..., Any]:
    """``reactor.callLater``; runs in the reactor thread."""

    def call_later(delay: float, callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return original(delay, _keeping(callable), *args, **kwargs)

    return call_later


def _calling(original: Callable[..., None]) -> Callable[..., None]:
    """``reactor.callFromThread``; any thread."""

    def call_from_thread(callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        original(_keeping(callable), *args, **kwargs)

    return call_from_thread


def _serving(original: Callable[..., None]) -> Callable[..., None]:
    """What the reactor calls for an event of a connection; runs in the reactor thread."""

    def serve(selectable: Any, *event: Any) -> None:
        # A copy: code that runs in it may serve, and what it sets is its own.
        _context_of(selectable).copy().run(original, selectable, *event)
        unheld.look()

    return serve


def _looking(original: Callable[..., None]) -> Callable[..., None]:
    """What the reactor's loop calls for an event of a connection; runs in the reactor thread."""

    def serve(selectable: Any, read: bool) -> None:
        original(selectable, read)
        unheld.look()

    return serve
