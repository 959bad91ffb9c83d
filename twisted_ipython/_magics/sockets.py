"""
Ports and connections: what they are, which cell or job opened them, who holds an address.

A connection belongs to the work in whose context the reactor first heard of it
(`_reactor.contexts`); one that a port accepted, to that of the port.

Thread: any; what the reactor holds is read in its own.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from functools import partial, wraps
from typing import Any, Final, NamedTuple

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Connection
from twisted.python.reflect import qual, safe_repr

from twisted_ipython._base.work_id import WorkId, work_in
from twisted_ipython._private.asyncio import LOOP, PROTOCOL_FACTORY, SERVER, SOCKET, context_served
from twisted_ipython._private.twisted import WRAPPED
from twisted_ipython._reactor.contexts import opened_in
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._reactor.overrides import Table
from twisted_ipython._reactor.thread import ReactorThread

HELD: Final = "Port {port} is held by {opener}. To close it: %reactor close {port}"
NOT_OURS: Final = (
    "No cell or job holds port {port}: another program does, or a thread of this one."
    " `!lsof -i :{port}` names it."
)

# What `living` has to find for `sockets`.
KINDS: Final = (Connection, asyncio.Server, asyncio.Transport)
_OF_CELL: Final = "<module>.<locals>."
_LISTENING: Final = ("listenTCP", "listenSSL", "listenUDP", "listenMulticast", "listenUNIX")


class Socket(NamedTuple):
    """A port or a connection, ``one``, and the work that opened it."""

    kind: str
    address: str
    peer: str  # empty for a port
    what: str  # its protocol or factory
    work_id: WorkId
    port: str  # its number or path; empty for a connection
    one: Any

    @property
    def accepted_by(self) -> Any:
        """The port or the server that accepted a connection.  Thread: any."""
        return getattr(self.one, "server", None) or getattr(self.one, SERVER, None)


def living(*kinds: type[Any]) -> list[Any]:
    """The instances that exist: nothing else knows a connection that is paused.  Thread: any."""
    # Neither isinstance(), which asks proxies, nor hashing: a metaclass can refuse either.
    wanted = {id(kind) for kind in _with_subclasses(kinds)}
    return [one for one in gc.get_objects() if id(type(one)) in wanted]


def _with_subclasses(kinds: Iterable[type[Any]]) -> Iterator[type[Any]]:
    for kind in kinds:
        yield kind
        yield from _with_subclasses(type.__subclasses__(kind))


def sockets(thread: ReactorThread, found: Iterable[Any]) -> list[Socket]:
    """All ports and connections, of the living instances of `KINDS`.  Thread: reactor."""
    reactor, loop = thread.reactor, thread.loop
    known = [one for one in found if isinstance(one, Connection) and one.connected]
    ours = {
        id(one): one
        for one in (*reactor.getReaders(), *reactor.getWriters(), *known)
        if getattr(one, "reactor", reactor) is reactor
    }
    rows = [row for row in map(_of_twisted, ours.values()) if row is not None]
    rows += [row for one in found if is_on(one, loop) for row in _of_asyncio(one, loop)]
    return sorted(rows, key=lambda row: row[:3])


def is_on(one: Any, loop: asyncio.AbstractEventLoop | None) -> bool:
    """Whether something of asyncio's is on the loop; what has ended is on none.  Thread: any."""
    return loop is not None and getattr(one, LOOP, None) is loop


def _of_twisted(one: Any) -> Socket | None:
    listens = IListeningPort.providedBy(one)
    try:
        here, there = one.getHost(), "" if listens else _address(one.getPeer())
    except Exception:
        return None  # a pipe, the reactor's own waker, or closed meanwhile
    work_id = work_in(opened_in(one))
    address = _address(here)
    if listens:
        port = str(getattr(here, "port", address))
        name = what(getattr(one, "factory", None) or one.protocol)
        return Socket("listens", address, "", name, work_id, port, one)
    protocol = getattr(one, "protocol", None)
    name = what(getattr(protocol, "factory", None), protocol)
    return Socket("connection", address, there, name, work_id, "", one)


def _of_asyncio(one: Any, loop: Any) -> Iterator[Socket]:
    """The ports of a server of asyncio's, or one end of a connection."""
    if isinstance(one, asyncio.Server):
        for socket in one.sockets:
            address = _address(socket.getsockname())
            port = address.rpartition(":")[2]
            work_id = work_in(context_served(loop, socket.fileno()))
            yield Socket("listens (asyncio)", address, "", _served(one), work_id, port, one)
    # Not what TLS puts around a transport, nor the pipe of a child process.
    elif hasattr(one, SOCKET) and not one.is_closing():
        here, there = one.get_extra_info("sockname"), one.get_extra_info("peername")
        server = getattr(one, SERVER, None)
        name = what(one.get_protocol()) if server is None else _served(server)
        work_id = work_in(context_served(loop, getattr(one, SOCKET)))
        yield Socket(
            "connection (asyncio)", _address(here), _address(there), name, work_id, "", one
        )


def _address(address: Any) -> str:
    if hasattr(address, "port"):
        return f"{address.host}:{address.port}"
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    name = getattr(address, "name", address)
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")


def opener(work_id: WorkId) -> str:
    """Which cell or job a work id belongs to, in words.  Thread: any."""
    cell = f"cell {work_id.cell}" if work_id.cell else "code of no cell"
    job = next((job for job in current().jobs.all() if job.work_id == work_id), None)
    return cell if job is None else f"{job} of {cell}"


def name_of(function: Any) -> str:
    """What a function is called: for a LoopingCall, what it calls.  Thread: any."""
    if isinstance(function, LoopingCall):
        return f"LoopingCall of {name_of(function.f)}"
    if isinstance(function, partial):
        return name_of(function.func)
    name = getattr(function, "__qualname__", None)
    if inspect.isbuiltin(function) and inspect.ismodule(function.__self__):
        return f"{function.__self__.__name__}.{name}"
    # What a cell of %%run_in_reactor defines is local to the cell.
    return name.removeprefix(_OF_CELL) if isinstance(name, str) else safe_repr(function)


def what(*candidates: Any) -> str:
    """The name of a factory's or protocol's class, as a person knows it.  Thread: any."""
    # Not of what wraps another, nor of Twisted's own plumbing if it makes a protocol.
    kinds = [kind for one in candidates if one is not None for kind in _kinds(one)]
    return next((name for name, known in kinds if known), kinds[0][0] if kinds else "")


def _kinds(one: Any) -> Iterator[tuple[str, bool]]:
    """The name of a factory's or protocol's class, and of what it makes; whether each is known."""
    own = getattr(one, "__dict__", {})
    for inner in (own[name] for name in WRAPPED if own.get(name) is not None):
        yield from _kinds(inner)
        return
    yield _kind(type(one))
    made = getattr(one, "protocol", None)
    if made is not None:
        yield _kind(made) if isinstance(made, type) else (name_of(made), True)


def _kind(kind: type[Any]) -> tuple[str, bool]:
    known = not (kind.__name__.startswith("_") or kind.__module__.startswith("twisted.internet."))
    return qual(kind).removeprefix("__main__.").removeprefix(_OF_CELL), known


def _served(server: Any) -> str:
    """What a server of asyncio's serves: a protocol, or the function that `start_server` got."""
    factory = getattr(server, PROTOCOL_FACTORY, None)
    if not inspect.isfunction(factory):
        return name_of(factory) if isinstance(factory, type) else what(factory)
    return name_of(inspect.getclosurevars(factory).nonlocals.get("client_connected_cb", factory))


# ---- an address in use


def attach(thread: ReactorThread) -> Callable[[], None]:
    """Have an error that an address is in use say who holds it; gives the undo.  Thread: any."""
    tables: list[tuple[object, Table]] = [
        (thread.reactor, {name: [partial(_noting, thread)] for name in _LISTENING})
    ]
    if thread.loop is not None:
        tables.append((thread.loop, {"create_server": [partial(_noting_async, thread)]}))
    return thread.overrides.add("_magics", *tables)


def _noting(thread: ReactorThread, own: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the reactor that listens."""

    @wraps(own)
    def listen(*args: Any, **kwargs: Any) -> Any:
        with _noted(thread):
            return own(*args, **kwargs)

    return listen


def _noting_async(
    thread: ReactorThread, own: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """``loop.create_server``."""

    @wraps(own)
    async def create_server(factory: Any, host: Any = None, port: Any = None, **kwargs: Any) -> Any:
        with _noted(thread, port):
            return await own(factory, host, port, **kwargs)

    return create_server


@contextmanager
def _noted(thread: ReactorThread, port: object = None) -> Iterator[None]:
    """Add the line to an error.  Thread: reactor, or one that has borrowed it."""
    try:
        yield
    except (CannotListenError, OSError) as error:
        if getattr(getattr(error, "socketError", error), "errno", None) == EADDRINUSE:
            port = getattr(error, "port", port)
            port = port.decode(errors="replace") if isinstance(port, bytes) else str(port)
            found = [one for one in sockets(thread, living(*KINDS)) if one.port == port]
            line, who = (HELD, opener(found[0].work_id)) if found else (NOT_OURS, "")
            error.add_note(line.format(port=port, opener=who))
        raise
