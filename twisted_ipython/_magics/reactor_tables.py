"""
What the reactor is and does: the tables of `%reactor`.

A reactor that does not answer is reported with its stack.

Thread: any; the tables are made in the reactor's.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from time import monotonic, time
from types import FrameType
from typing import Any, Final, TypeVar

from twisted.internet.process import reapProcessHandlers
from twisted.python.reflect import qual

from twisted_ipython._base import frames
from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.formatting import Report, Table, duration
from twisted_ipython._base.loans import loans
from twisted_ipython._base.work_id import work_in
from twisted_ipython._magics.sockets import KINDS, is_on, living, name_of, sockets, what
from twisted_ipython._private.asyncio import context_of, in_handle
from twisted_ipython._reactor.delayed_calls import TIMER, LoopCall
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._reactor.thread_pool import Work
from twisted_ipython._scripts.script import Script

__all__ = ["ask", "is_idle", "jobs_table", "overview", "stack_table", "tasks", "threads_table"]

_T = TypeVar("_T")

_HERE: Final = str(Path(__file__).parents[1])
IDLE: Final = "The reactor thread is idle: it waits for events."
# The modules whose function a reactor waits in.
_SELECTING: Final = (
    "selectors",
    *(f"twisted.internet.{n}reactor" for n in ("epoll", "poll", "select")),
)
# Seconds that a reactor gets to answer.
_BOUND: Final = 0.5


def ask(thread: ReactorThread, question: Callable[[], _T]) -> _T:
    """
    Ask something in the reactor thread, and wait for the answer.

    Args:
        thread: the reactor thread.
        question: what to call there.

    Returns:
        what it gives.

    Raises:
        NotInTime: the reactor does not answer; it will not be asked later either.

    Thread: any.
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


def overview(thread: ReactorThread, label: frames.Label) -> Report:
    """
    Everything about the reactor; or, if it does not answer, where it is stuck.

    Args:
        thread: the reactor thread.
        label: how to write a place in the code.

    Returns:
        the tables.

    Thread: any.
    """
    asked = monotonic()
    try:
        latency = ask(thread, monotonic) - asked
        # Out of the reactor's way: with millions of objects this takes a while.
        found = living(*KINDS, BaseSubprocessTransport)
        tables = ask(thread, lambda: _tables(thread, label, found))
    except NotInTime:
        state = loans.borrower() or f"stuck: no answer within {duration(_BOUND)}"
        return Report(_about(thread, state), jobs_table(thread, label), stack_table(thread, label))
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
        jobs_table(thread, label),
        thread.crawls.table(),
        _tasks_table(thread, label),
        _calls_table(thread.reactor),
        _sockets_table(thread, found),
        _processes_table(thread, found),
        _pool_table(thread.reactor),
        threads_table(thread, label),
    ]
    return [table for table in tables if table.rows]


# ---- jobs and tasks


def jobs_table(thread: ReactorThread, label: frames.Label) -> Table:
    """All jobs.  Thread: any."""
    known = thread.jobs.all()
    kept = ["output"] if any(job.output for job in known) else []
    headings = ("job", "name", "cell", "code", "state", "age", *kept, "waits at")
    return Table("Jobs", headings, [_job_row(job, label, kept) for job in known])


def threads_table(thread: ReactorThread, label: frames.Label) -> Table:
    """What threads of the pool work on.  Thread: any."""
    headings = ("cell", "age", "at")
    return Table(
        "Pool threads", headings, [_thread_row(work, label) for work in thread.pool_work.running()]
    )


def _thread_row(work: Work, label: frames.Label) -> tuple[object, ...]:
    place = work.place
    where = "" if place is None else label(place)
    return work.work_id.cell or "", duration(time() - work.began), where


def _job_row(job: Job, label: frames.Label, kept: list[str]) -> tuple[object, ...]:
    place = job.waits_at
    age = duration(job.seconds)
    where = "" if place is None else label(place)
    output = [str(job.output or "") for _ in kept]
    return job.number, job.name or "", job.cell, job.code, job.state, age, *output, where


def tasks(thread: ReactorThread) -> list[asyncio.Task[Any]]:
    """The asyncio tasks on the reactor's loop, about in their order.  Thread: reactor."""
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
    cell = work_in(context_of(task)).cell
    place = frames.waits_at(coro)
    name = getattr(coro, "__qualname__", "")
    return task.get_name(), name, cell or "", "" if place is None else label(place)


# ---- what the reactor waits for


def _calls_table(reactor: Any) -> Table:
    now = reactor.seconds()
    calls = sorted(reactor.getDelayedCalls(), key=lambda call: call.getTime())
    rows = [(f"in {duration(max(0, c.getTime() - now))}", name_of(c.func)) for c in calls]
    return Table("Delayed calls", ("when", "function"), rows)


def _sockets_table(thread: ReactorThread, found: list[Any]) -> Table:
    headings = ("kind", "address", "peer", "protocol or factory", "cell")
    rows = [(*one[:4], one.work_id.cell or "") for one in sockets(thread, found)]
    return Table("Ports and connections", headings, rows)


def _processes_table(thread: ReactorThread, found: list[Any]) -> Table:
    rows = [(pid, what(getattr(one, "proto", one))) for pid, one in reapProcessHandlers.items()]
    rows += [
        (one.get_pid() or 0, what(one.get_protocol()))
        for one in found
        if isinstance(one, BaseSubprocessTransport) and is_on(one, thread.loop)
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


def is_idle(frame: FrameType) -> bool:
    """Whether a reactor whose thread is in this frame waits for events.  Thread: any."""
    return frame.f_globals.get("__name__") in _SELECTING


def stack_table(thread: ReactorThread, label: frames.Label) -> Table | str:
    """
    Where the reactor thread is, or that it is idle.

    The frames of the user's come first, then those that they called.

    Thread: any.
    """
    give_back()
    borrowed = loans.borrower()
    holder = loans.holder(thread.ident)
    frame = sys._current_frames().get(holder)
    if borrowed:
        title = f"The reactor: {borrowed}, which is at"
    elif frame is not None and is_idle(frame):
        return IDLE
    else:
        title = f"The reactor thread{_work_of(frame)} is at"
    places = frames.of_thread(holder)
    outermost = max((n for n, place in enumerate(places) if place.users), default=len(places))
    places = sorted(places[: outermost + 1], key=lambda place: not place.users)
    cells = [(label(place), place.function, place.text) for place in places]
    return Table(title, ("place", "function", "line"), cells)


def _work_of(frame: FrameType | None) -> str:
    """What a thread runs and for which cell, in words; empty if that is not known."""
    while frame is not None:
        one = frame.f_locals.get("call" if frame.f_code is TIMER else "self")
        frame = frame.f_back
        if type(one) is LoopCall:
            return _runs(one.func, one.context)
        if issubclass(type(one), Script):
            return f" runs {one} for cell {one.work_id.cell}; it"
        if issubclass(type(one), asyncio.Handle):
            return _runs(*in_handle(one))
    return ""


def _runs(function: Any, context: Context | None) -> str:
    task = getattr(function, "__self__", None)
    name = task.get_name() if isinstance(task, asyncio.Task) else name_of(function)
    cell = work_in(context).cell
    return f" runs {name}{f' for cell {cell}' if cell else ''}; it"
