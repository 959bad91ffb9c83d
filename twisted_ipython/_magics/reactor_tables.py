"""
What the reactor is and does: the tables of `%reactor`.

They are made in the reactor thread; one that does not answer is reported with its stack.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Any, Final, TypeVar

from twisted.internet.interfaces import IListeningPort
from twisted.internet.process import reapProcessHandlers
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Connection
from twisted.python.reflect import qual, safe_repr

from twisted_ipython._base import frames
from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.formatting import Report, Table, duration
from twisted_ipython._base.loans import loans
from twisted_ipython._base.work_id import work_in
from twisted_ipython._private.asyncio import LOOP, PROTOCOL_FACTORY, SOCKET
from twisted_ipython._reactor import thread_pool
from twisted_ipython._reactor.crawls import crawls
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.jobs import Job, jobs
from twisted_ipython._reactor.thread import ReactorThread

__all__ = ["ask", "jobs_table", "living", "overview", "stack_table", "tasks", "threads_table"]

_T = TypeVar("_T")

_HERE: Final = str(Path(__file__).parents[1])
# Seconds that a reactor gets to answer.
_BOUND: Final = 0.5


def ask(thread: ReactorThread, question: Callable[[], _T]) -> _T:
    """
    What ``question`` gives in the reactor thread.  Any thread.

    Raises:
        crochet.TimeoutError: the reactor does not answer; it will not be asked later either.
    """
    if thread.here():
        return question()
    late: list[bool] = []
    answer = thread.run(lambda: None if late else question())
    try:
        given: _T = answer.wait(_BOUND)
    except NotInTime:
        late.append(True)
        raise
    return given


def living(*kinds: type[Any]) -> list[Any]:
    """
    The instances of ``kinds`` that exist.  Any thread.

    Nothing else knows a connection that is paused, or a child of asyncio's.
    """
    # Neither isinstance(), which asks proxies, nor hashing: a metaclass can refuse either.
    wanted = {id(kind) for kind in _with_subclasses(kinds)}
    return [one for one in gc.get_objects() if id(type(one)) in wanted]


def _with_subclasses(kinds: Iterable[type[Any]]) -> Iterator[type[Any]]:
    for kind in kinds:
        yield kind
        yield from _with_subclasses(type.__subclasses__(kind))


def overview(thread: ReactorThread, label: frames.Label) -> Report:
    """
    Everything about the reactor; or, if it does not answer, where it is stuck.  Any thread.

    Args:
        thread: the reactor thread.
        label: how to write a place in the code.
    """
    asked = monotonic()
    try:
        latency = ask(thread, monotonic) - asked
        # Out of the reactor's way: with millions of objects this takes a while.
        found = living(Connection, asyncio.Server, asyncio.Transport, BaseSubprocessTransport)
        tables = ask(thread, lambda: _tables(thread, label, found))
    except NotInTime:
        state = loans.borrower() or f"stuck: no answer within {duration(_BOUND)}"
        return Report(_about(thread, state), jobs_table(label), stack_table(thread, label))
    return Report(_about(thread, f"answers in {duration(latency)}"), *tables)


def _about(thread: ReactorThread, state: str) -> Table:
    reactor = thread.reactor
    rows = [
        ("class", qual(type(reactor))),
        ("loop", "none" if thread.loop is None else qual(type(thread.loop))),
        ("thread", f"{_thread_name(thread.ident)} ({thread.ident})"),
        ("uptime", duration(time() - thread.began)),
        ("state", state),
    ]
    return Table("Reactor", (), rows)


def _thread_name(ident: int) -> str:
    names = [one.name for one in threading.enumerate() if one.ident == ident]
    return names[0] if names else "gone"


def _tables(thread: ReactorThread, label: frames.Label, found: list[Any]) -> list[Table]:
    """The tables that only the reactor thread can make; those without rows are left out."""
    tables = [
        jobs_table(label),
        crawls.table(),
        _tasks_table(thread, label),
        _calls_table(thread.reactor),
        _sockets_table(thread, found),
        _processes_table(thread, found),
        _pool_table(thread.reactor),
        threads_table(label),
    ]
    return [table for table in tables if table.rows]


# ---- jobs and tasks


def jobs_table(label: frames.Label) -> Table:
    """All jobs.  Any thread."""
    headings = ("job", "name", "cell", "code", "state", "age", "waits at")
    return Table("Jobs", headings, [_job_row(job, label) for job in jobs.all()])


def threads_table(label: frames.Label) -> Table:
    """What threads of the pool work on.  Any thread."""
    headings = ("cell", "age", "at")
    return Table(
        "Pool threads", headings, [_thread_row(work, label) for work in thread_pool.running()]
    )


def _thread_row(work: thread_pool.Work, label: frames.Label) -> tuple[object, ...]:
    place = work.place
    where = "" if place is None else label(place)
    return work.work_id.cell or "", duration(time() - work.began), where


def _job_row(job: Job, label: frames.Label) -> tuple[object, ...]:
    place = job.waits_at
    age = duration(job.seconds)
    where = "" if place is None else label(place)
    return job.number, job.name or "", job.cell, job.code, job.state, age, where


def tasks(thread: ReactorThread) -> list[asyncio.Task[Any]]:
    """The asyncio tasks on the reactor's loop, about in their order.  In the reactor thread."""
    if thread.loop is None:
        return []
    running = [task for task in asyncio.all_tasks(thread.loop) if not _is_ours(task)]
    # Task-9 stands before Task-10.
    return sorted(running, key=lambda task: (len(task.get_name()), task.get_name()))


def _is_ours(task: asyncio.Task[Any]) -> bool:
    """Whether it runs a job or an awaiting cell, which are listed as such."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_HERE)


def _tasks_table(thread: ReactorThread, label: frames.Label) -> Table:
    headings = ("task", "coroutine", "cell", "waits at")
    return Table("Tasks", headings, [_task_row(task, label) for task in tasks(thread)])


def _task_row(task: asyncio.Task[Any], label: frames.Label) -> tuple[object, ...]:
    coro = task.get_coro()
    cell = work_in(getattr(coro, "_context", None)).cell
    place = frames.waits_at(coro)
    name = getattr(coro, "__qualname__", "")
    return task.get_name(), name, cell or "", "" if place is None else label(place)


# ---- what the reactor waits for


def _calls_table(reactor: Any) -> Table:
    now = reactor.seconds()
    calls = sorted(reactor.getDelayedCalls(), key=lambda call: call.getTime())
    rows = [(f"in {duration(max(0, c.getTime() - now))}", _name(c.func)) for c in calls]
    return Table("Delayed calls", ("when", "function"), rows)


def _name(function: Any) -> str:
    """What a function is called: for a LoopingCall, what it calls."""
    if isinstance(function, LoopingCall):
        return f"LoopingCall of {_name(function.f)}"
    if isinstance(function, partial):
        return _name(function.func)
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else safe_repr(function)


_Row = tuple[str, str, str, str]


def _sockets_table(thread: ReactorThread, found: list[Any]) -> Table:
    reactor = thread.reactor
    known = [one for one in found if isinstance(one, Connection) and one.connected]
    ours = {
        id(one): one
        for one in (*reactor.getReaders(), *reactor.getWriters(), *known)
        if getattr(one, "reactor", reactor) is reactor
    }
    rows = [row for row in map(_socket_row, ours.values()) if row is not None]
    rows += [row for one in found if _is_on(one, thread.loop) for row in _asyncio_rows(one)]
    return Table("Ports and connections", ("kind", "address", "peer", "factory"), sorted(rows))


def _is_on(one: Any, loop: asyncio.AbstractEventLoop | None) -> bool:
    """Whether something of asyncio's is on the loop; what has ended is on none."""
    return loop is not None and getattr(one, LOOP, None) is loop


def _socket_row(one: Any) -> _Row | None:
    listens = IListeningPort.providedBy(one)
    try:
        here, there = _address(one.getHost()), "" if listens else _address(one.getPeer())
    except Exception:
        return None  # a pipe, the reactor's own waker, or closed meanwhile
    if listens:
        return "listens", here, "", _kind(getattr(one, "factory", None) or one.protocol)
    protocol = getattr(one, "protocol", None)
    return "connection", here, there, _kind(getattr(protocol, "factory", None) or protocol)


def _asyncio_rows(one: Any) -> Iterator[_Row]:
    """A server of asyncio's, or one end of a connection."""
    if isinstance(one, asyncio.Server):
        factory = _name(getattr(one, PROTOCOL_FACTORY, one))
        for socket in one.sockets:
            yield "listens (asyncio)", _address(socket.getsockname()), "", factory
    # Not what TLS puts around a transport, nor the pipe of a child process.
    elif hasattr(one, SOCKET) and not one.is_closing():
        here, there = one.get_extra_info("sockname"), one.get_extra_info("peername")
        yield "connection (asyncio)", _address(here), _address(there), _kind(one.get_protocol())


def _address(address: Any) -> str:
    if hasattr(address, "port"):
        return f"{address.host}:{address.port}"
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    name = getattr(address, "name", address)
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")


def _kind(one: object) -> str:
    one = getattr(one, "wrappedFactory", None) or one  # of TLS
    return "" if one is None else qual(type(one))


def _processes_table(thread: ReactorThread, found: list[Any]) -> Table:
    rows = [(pid, _kind(getattr(one, "proto", one))) for pid, one in reapProcessHandlers.items()]
    rows += [
        (one.get_pid() or 0, _kind(one.get_protocol()))
        for one in found
        if isinstance(one, BaseSubprocessTransport) and _is_on(one, thread.loop)
    ]
    return Table("Child processes", ("pid", "protocol"), rows)


def _pool_table(reactor: Any) -> Table:
    pool = getattr(reactor, "threadpool", None)
    if pool is None:
        return Table("Thread pool", (), [])
    rows = [
        ("working", len(pool.working)),
        ("idle", len(pool.waiters)),
        ("queued", pool.q.qsize()),
        ("at most", pool.max),
    ]
    return Table("Thread pool", (), rows)


def stack_table(thread: ReactorThread, label: frames.Label) -> Table:
    """Where the reactor thread is right now, the user's frames first.  Any thread."""
    give_back()
    borrowed = loans.borrower()
    places = frames.of_thread(loans.holder(thread.ident))
    rows: Iterable[frames.Place] = sorted(places, key=lambda place: not place.users)
    return Table(
        f"The reactor: {borrowed}, which is at" if borrowed else "The reactor thread is at",
        ("place", "function", "line"),
        [(label(place), place.function, place.text) for place in rows],
    )
