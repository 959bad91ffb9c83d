"""
Stop what a name held, so that the cell that made it can be run again.

Thread: reactor.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Transport
from collections.abc import Callable, Generator
from contextvars import copy_context
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IConnector, IDelayedCall, IListeningPort, IProcessTransport
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.tcp import Connection, Server
from twisted.python.reflect import safe_repr

from twisted_ipython._base.formatting import failure_line, one_line
from twisted_ipython._magics.sockets import living
from twisted_ipython._private.asyncio import abort_clients
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import THREAD_GOES_ON
from twisted_ipython._reactor.thread import ReactorThread

LEFT: Final = "{name} held {what}, which --replace does not know how to stop: it was left"
NOT_STOPPED: Final = "{name} held {what}, which did not stop: {why}"
# Seconds that a thing gets to stop; a child process gets less before it is killed.
_PATIENCE: Final = 5.0
_POLITE: Final = 2.0
# Seconds after which a child process is asked again whether it runs.
_POLL: Final = 0.02

_Steps = Generator[Deferred[Any], Any, None]


@inlineCallbacks
def stop(thread: ReactorThread, name: str, held: object) -> _Steps:
    """Stop what ``name`` held; what cannot be stopped is said and left.  Thread: reactor."""
    if isinstance(held, EventualResult):
        yield _bounded(thread, name, held, _stop_result)
        if held.state == "done":
            yield stop(thread, name, held.peek())
    elif isinstance(held, (list, tuple)):
        begun = [stop(thread, name, one) for one in held]
        for stopping in begun:  # noqa: UP028  # results are sent in, which a list refuses
            yield stopping
    elif held is not None:
        way = next((way for is_one, way in _WAYS if is_one(held)), None)
        if way is not None:
            yield _bounded(thread, name, held, way)
        else:
            print(LEFT.format(name=name, what=_what(held)))


def _what(held: object) -> str:
    return one_line(f"{type(held).__name__} {safe_repr(held)}", 80)


@inlineCallbacks
def _bounded(thread: ReactorThread, name: str, held: Any, way: _Way) -> _Steps:
    """Stop one thing, or say why it did not stop."""
    try:
        stopped = maybeDeferred(way, thread, held)
        yield stopped.addTimeout(_PATIENCE, thread.reactor, _too_long)
    except (CancelledError, asyncio.CancelledError):
        raise
    except Exception as error:
        print(NOT_STOPPED.format(name=name, what=_what(held), why=failure_line(error)))


def _too_long(_: object, seconds: float) -> None:
    raise TimeoutError(f"it takes more than {seconds:g} s")


@inlineCallbacks
def _stop_result(thread: ReactorThread, held: EventualResult) -> _Steps:
    """Cancel the work, and stop the LoopingCalls and crawls that it left behind, done or not."""
    job = held.job
    if job is not None:
        thread.loops.stop(job.work_id)
    if held.state == "pending":
        if job is not None and job.in_thread:
            print(THREAD_GOES_ON.format(job=job))
        ended: Deferred[None] = Deferred()
        held.when_done(lambda: ended.callback(None))
        held.cancel()
        yield ended
    elif job is not None:
        thread.crawls.close(job.work_id)
    if job is not None:
        yield thread.crawls.when_closed(job.work_id)


@inlineCallbacks
def _stop_listening(thread: ReactorThread, stop: Callable[[], object]) -> _Steps:
    """Call ``stop``, and close what the ports that it stops had accepted: clients keep it open."""
    reactor = thread.reactor
    before = _ports(reactor)
    yield maybeDeferred(stop)
    stopped = before - _ports(reactor)
    for connection in living(Server):
        if connection.server in stopped and connection.connected:
            connection.abortConnection()
    yield deferLater(reactor, 0)  # by then they are closed


def _ports(reactor: Any) -> set[Any]:
    return {one for one in reactor.getReaders() if IListeningPort.providedBy(one)}


def _disconnect(_: ReactorThread, connector: Any) -> None:
    _stop_trying(connector)
    connector.disconnect()


def _stop_trying(connector: Any) -> None:
    factory = getattr(connector, "factory", None)
    if isinstance(factory, ReconnectingClientFactory):
        factory.stopTrying()


def _abort(thread: ReactorThread, connection: Any) -> Deferred[None]:
    """Close a connection, Twisted's or asyncio's, without waiting for its peer."""
    _stop_trying(getattr(connection, "connector", None))
    abort = connection.abort if isinstance(connection, Transport) else connection.abortConnection
    abort()
    return deferLater(thread.reactor, 0)  # by then it is closed


def _cancel_task(thread: ReactorThread, task: asyncio.Future[Any]) -> Deferred[None] | None:
    """Cancel a task or future in the thread of its loop, which may be another one."""
    if task.done():
        return None
    ended: Deferred[None] = Deferred()

    def cancel() -> None:
        task.add_done_callback(lambda _: thread.call(ended.callback, None))
        task.cancel()

    task.get_loop().call_soon_threadsafe(cancel)
    return ended


def _close_server(thread: ReactorThread, server: asyncio.Server) -> Deferred[None]:
    server.close()
    abort_clients(server, living(Transport))
    return thread.deferred(server.wait_closed(), copy_context())


@inlineCallbacks
def _stop_process(thread: ReactorThread, process: Any) -> _Steps:
    """End a child process: politely, then not."""
    for signal in ("TERM", "KILL"):
        try:
            process.signalProcess(signal)
        except ProcessExitedAlready:
            return
        for _ in range(round(_POLITE / _POLL)):
            if process.pid is None:
                return
            yield deferLater(thread.reactor, _POLL)


_Way = Callable[[ReactorThread, Any], Any]
_WAYS: Final[tuple[tuple[Callable[[Any], bool], _Way], ...]] = (
    (IListeningPort.providedBy, lambda thread, port: _stop_listening(thread, port.stopListening)),
    (IService.providedBy, lambda thread, one: _stop_listening(thread, one.stopService)),
    (lambda held: isinstance(held, LoopingCall), lambda _, loop: loop.running and loop.stop()),
    (lambda held: isinstance(held, Deferred), lambda _, held: held.cancel()),
    (IConnector.providedBy, _disconnect),
    (IDelayedCall.providedBy, lambda _, call: call.active() and call.cancel()),
    (lambda held: isinstance(held, Future), _cancel_task),
    (lambda held: isinstance(held, asyncio.Server), _close_server),
    (lambda held: isinstance(held, (Connection, Transport)), _abort),
    (IProcessTransport.providedBy, _stop_process),
)
