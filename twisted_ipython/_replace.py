"""
Stop what a name held, so that the cell that made it can be run again.

Everything here runs in the reactor thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IListeningPort,
    IProcessTransport,
)
from twisted.internet.task import LoopingCall, deferLater

from twisted_ipython._eventual import EventualResult
from twisted_ipython._jobs import jobs
from twisted_ipython._reactor import ReactorThread

__all__ = ["stop"]

LEFT: Final = "{name} held {kind} {what}, which --replace does not know how to stop: it was left"
# Seconds that what is stopped gets to end, and how often a process is looked at.
_PATIENCE: Final = 2.0
_LOOK: Final = 0.02


def stop(thread: ReactorThread, name: str | None, held: object) -> Deferred[Any]:
    """
    Stop what ``name`` held; what cannot be stopped is said and left.

    Args:
        thread: the reactor thread.
        name: the name.
        held: an EventualResult, which stands for its job or its value; or one
            of the things that can be stopped, or a list or tuple of them.

    Returns:
        a Deferred that fires when everything has stopped; it never fails.
    """
    if isinstance(held, EventualResult):
        return _stop_result(thread, name, held)
    if isinstance(held, (list, tuple)):
        return DeferredList([stop(thread, name, one) for one in held], consumeErrors=True)
    for kind, way in _WAYS:
        if kind(held):
            stopped = maybeDeferred(way, thread, held)
            return stopped.addErrback(lambda failure: print(failure.getErrorMessage()))
    if held is not None:
        print(LEFT.format(name=name, kind=type(held).__name__, what=_short(held)))
    return maybeDeferred(lambda: None)


def _short(held: object) -> str:
    text = " ".join(repr(held).split())
    return text if len(text) < 60 else text[:57] + "..."


def _stop_result(thread: ReactorThread, name: str | None, held: EventualResult) -> Deferred[Any]:
    if held.job is not None:
        jobs.cancel(thread, held.job)
    if held.state == "pending":
        ended: Deferred[None] = Deferred()
        held.when_done(lambda: ended.callback(None))
        held.cancel()
        return ended
    return stop(thread, name, held.peek())


def _stop_port(thread: ReactorThread, port: Any) -> Deferred[Any]:
    """Stop listening, and close what the port had accepted: clients keep connections open."""
    reactor = thread.reactor
    accepted = set(reactor.getReaders()) | set(reactor.getWriters())
    stopped = maybeDeferred(port.stopListening)
    for transport in accepted:
        if getattr(transport, "server", None) is port:
            transport.abortConnection()
    return stopped


def _stop_loop(_: ReactorThread, loop: LoopingCall) -> None:
    if loop.running:
        loop.stop()


def _cancel_call(_: ReactorThread, call: Any) -> None:
    if call.active():
        call.cancel()


async def _cancel_task(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_PATIENCE)


async def _close_server(server: asyncio.Server) -> None:
    server.close()
    if hasattr(server, "close_clients"):  # Python 3.13
        server.close_clients()
    try:
        async with asyncio.timeout(_PATIENCE):
            await server.wait_closed()
    except TimeoutError:
        pass


@inlineCallbacks
def _stop_process(thread: ReactorThread, process: Any) -> Any:
    """End a child process: politely, then not."""
    for signal in ("TERM", "KILL"):
        try:
            process.signalProcess(signal)
        except ProcessExitedAlready:
            return
        for _ in range(round(_PATIENCE / _LOOK)):
            if process.pid is None:
                return
            yield deferLater(thread.reactor, _LOOK)


def _in_task(function: Callable[[Any], Any]) -> Callable[[ReactorThread, Any], Deferred[Any]]:
    """Run a coroutine function as a task: it needs asyncio."""
    from contextvars import copy_context

    return lambda thread, held: thread.deferred(function(held), copy_context())


_WAYS: Final[list[tuple[Callable[[Any], bool], Callable[[ReactorThread, Any], Any]]]] = [
    (IListeningPort.providedBy, _stop_port),
    (lambda held: isinstance(held, LoopingCall), _stop_loop),
    (lambda held: isinstance(held, Deferred), lambda _, held: held.cancel()),
    (IService.providedBy, lambda _, held: held.stopService()),
    (IConnector.providedBy, lambda _, held: held.disconnect()),
    (IDelayedCall.providedBy, _cancel_call),
    (lambda held: isinstance(held, asyncio.Future), _in_task(_cancel_task)),
    (lambda held: isinstance(held, asyncio.Server), _in_task(_close_server)),
    (IProcessTransport.providedBy, _stop_process),
]
