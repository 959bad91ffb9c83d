"""
What the reactor is and does: the tables of `%reactor`.

The tables are made in the reactor thread, within a bound: a reactor that does
not answer is reported as stuck, with its stack.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

import crochet
from twisted.internet.interfaces import IListeningPort
from twisted.internet.process import reapProcessHandlers
from twisted.python.reflect import qual, safe_repr

from twisted_ipython import _numbers, _stack
from twisted_ipython._display import Report, Table, duration
from twisted_ipython._jobs import Job, jobs
from twisted_ipython._reactor import ReactorThread

__all__ = ["jobs_table", "overview", "stack_table", "tasks"]

_HERE: Final = str(Path(__file__).parent)
# Seconds that a reactor gets to answer.
_BOUND: Final = 0.8

Label = Callable[[_stack.Place], str]


def overview(thread: ReactorThread, label: Label) -> Report:
    """
    Everything about the reactor; or, if it does not answer, where it is stuck.

    Any thread but the reactor's.

    Args:
        thread: the reactor thread.
        label: how to write a place in the code.
    """
    asked = monotonic()
    answer = thread.run(lambda: (monotonic() - asked, _tables(thread, label)))
    try:
        latency, tables = answer.wait(_BOUND)
    except crochet.TimeoutError:
        answer.cancel()
        state = f"stuck: no answer within {duration(_BOUND)}"
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


def _tables(thread: ReactorThread, label: Label) -> list[Table]:
    """The tables that only the reactor thread can make; those without rows are left out."""
    reactor = thread.reactor
    tables = [
        jobs_table(label),
        _tasks_table(thread, label),
        _calls_table(reactor),
        _sockets_table(reactor),
        _processes_table(),
        _pool_table(reactor),
    ]
    return [table for table in tables if table.rows]


def jobs_table(label: Label) -> Table:
    """All jobs.  Any thread."""
    headings = ("job", "name", "cell", "code", "state", "age", "waits at")
    return Table("Jobs", headings, [_job_row(job, label) for job in jobs.all()])


def _job_row(job: Job, label: Label) -> tuple[object, ...]:
    place = job.waits_at
    age = duration(job.seconds)
    where = "" if place is None else label(place)
    return job.number, job.name or "", job.cell, job.code, job.state, age, where


def tasks(thread: ReactorThread) -> list[asyncio.Task[Any]]:
    """The asyncio tasks on the reactor's loop, oldest first.  In the reactor thread."""
    if thread.loop is None:
        return []
    running = [task for task in asyncio.all_tasks(thread.loop) if not _is_ours(task)]
    return sorted(running, key=lambda task: task.get_name())


def _is_ours(task: asyncio.Task[Any]) -> bool:
    """Whether it runs a job or an awaiting cell, which are listed as such."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_HERE)


def _tasks_table(thread: ReactorThread, label: Label) -> Table:
    headings = ("task", "coroutine", "cell", "waits at")
    return Table("Tasks", headings, [_task_row(task, label) for task in tasks(thread)])


def _task_row(task: asyncio.Task[Any], label: Label) -> tuple[object, ...]:
    coro = task.get_coro()
    cell = _numbers.numbers_in(getattr(coro, "_context", None)).cell
    place = _stack.waits_at(coro)
    name = getattr(coro, "__qualname__", "")
    return task.get_name(), name, cell or "", "" if place is None else label(place)


def _calls_table(reactor: Any) -> Table:
    now = reactor.seconds()
    calls = sorted(reactor.getDelayedCalls(), key=lambda call: call.getTime())
    rows = [(f"in {duration(max(0, c.getTime() - now))}", _name(c.func)) for c in calls]
    return Table("Delayed calls", ("when", "function"), rows)


def _name(function: Any) -> str:
    """What a function is called: for a LoopingCall, what it calls."""
    looped = getattr(function, "f", None)
    if looped is not None:
        return f"LoopingCall of {_name(looped)}"
    name = getattr(function, "__qualname__", None)
    return str(name) if name else safe_repr(function)


def _sockets_table(reactor: Any) -> Table:
    found: dict[int, Any] = {id(s): s for s in (*reactor.getReaders(), *reactor.getWriters())}
    rows = [row for row in map(_socket_row, found.values()) if row is not None]
    return Table("Ports and connections", ("kind", "address", "peer", "factory"), rows)


def _socket_row(one: Any) -> tuple[str, str, str, str] | None:
    if not hasattr(one, "getHost"):
        return None  # the reactor's own waker, a pipe of a child process
    if IListeningPort.providedBy(one):
        serves = getattr(one, "factory", None) or getattr(one, "protocol", None)
        return "listens", _address(one.getHost()), "", _kind(serves)
    peer = _address(one.getPeer()) if hasattr(one, "getPeer") else ""
    protocol = getattr(one, "protocol", None)
    serves = getattr(protocol, "factory", None) or protocol
    return "connection", _address(one.getHost()), peer, _kind(serves)


def _address(address: Any) -> str:
    if hasattr(address, "port"):
        return f"{address.host}:{address.port}"
    name = getattr(address, "name", address)
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _kind(one: object) -> str:
    return "" if one is None else qual(type(one))


def _processes_table() -> Table:
    rows = [(pid, _kind(getattr(one, "proto", one))) for pid, one in reapProcessHandlers.items()]
    return Table("Child processes", ("pid", "protocol"), rows)


def _pool_table(reactor: Any) -> Table:
    pool = getattr(reactor, "threadpool", None)
    if pool is None:
        return Table("Thread pool", (), [])
    rows = [
        ("working", len(pool.working)),
        ("idle", len(pool.waiters)),
        ("queued", pool._queue.qsize() if hasattr(pool, "_queue") else 0),
        ("at most", pool.max),
    ]
    return Table("Thread pool", (), rows)


def stack_table(thread: ReactorThread, label: Label) -> Table:
    """Where the reactor thread is right now, the user's frames first.  Any thread."""
    places = _stack.of_thread(thread.ident)
    rows: Iterable[_stack.Place] = sorted(places, key=lambda place: not place.users)
    return Table(
        "The reactor thread is at",
        ("place", "function", "line"),
        [(label(place), place.function, place.text) for place in rows],
    )
