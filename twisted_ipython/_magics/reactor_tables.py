"""
What the reactor is and does: the tables of `%reactor`.

A reactor that does not answer is reported with its stack.

Thread: any; the tables are made in the reactor's.
"""

from __future__ import annotations

import asyncio
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
from twisted.python.threadpool import ThreadPool

from twisted_ipython._base import frames
from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.formatting import Report, Table, duration
from twisted_ipython._base.loans import loans
from twisted_ipython._base.work_id import work_in
from twisted_ipython._magics.sockets import KINDS, is_on, living, name_of, sockets, what
from twisted_ipython._private.asyncio import context_of, in_handle
from twisted_ipython._reactor.contexts import of_timer
from twisted_ipython._reactor.delayed_calls import TIMER, LoopCall
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.script import Script

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
    """What a question gives in the reactor thread; NotInTime if it is stuck.  Thread: any."""
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
    """Everything about the reactor; or, if it does not answer, where it is stuck.  Thread: any."""
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
    names = [one.name for one in threading.enumerate() if one.ident == thread.ident] or ["gone"]
    rows = [
        ("class", qual(type(thread.reactor))),
        ("loop", "none" if thread.loop is None else qual(type(thread.loop))),
        ("thread", f"{names[0]} ({thread.ident})"),
        ("uptime", duration(time() - thread.began)),
        ("state", state),
    ]
    return Table("Reactor", (), rows)


def _tables(thread: ReactorThread, label: frames.Label, found: list[Any]) -> list[Table]:
    """The tables that only the reactor thread can make; those without rows are left out."""
    tables = [
        jobs_table(thread, label),
        thread.crawls.table(),
        _tasks_table(thread, label),
        _calls_table(thread.reactor),
        _sockets_table(thread, found),
        _processes_table(thread, found),
        _pool_table(thread.pool),
        threads_table(thread, label),
    ]
    return [table for table in tables if table.rows]


# ---- jobs and tasks


def jobs_table(thread: ReactorThread, label: frames.Label) -> Table:
    """All jobs.  Thread: any."""
    known = thread.jobs.all()
    kept = ["output"] if any(job.output for job in known) else []
    headings = ("job", "name", "cell", "code", "state", "age", *kept, "waits at")
    rows: list[tuple[object, ...]] = []
    for one in known:
        output = [str(one.output or "") for _ in kept]
        about = one.number, one.name or "", one.cell, one.code, one.state, duration(one.seconds)
        rows.append((*about, *output, _where(one.waits_at, label)))
    return Table("Jobs", headings, rows)


def threads_table(thread: ReactorThread, label: frames.Label) -> Table:
    """What threads of the pool work on.  Thread: any."""
    rows = [
        (
            work.work_id.cell or "",
            duration(time() - work.began),
            _where(frames.users_place(work.thread), label),
        )
        for work in thread.pool_work.running()
    ]
    return Table("Pool threads", ("cell", "age", "at"), rows)


def _where(place: frames.Place | None, label: frames.Label) -> str:
    return "" if place is None else label(place)


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
    rows = []
    for task in tasks(thread):
        coro = task.get_coro()
        name, cell = getattr(coro, "__qualname__", ""), work_in(context_of(task)).cell
        where = _where(frames.waits_at(coro), label)
        rows.append((task.get_name(), name, cell or "", where))
    return Table("Tasks", ("task", "coroutine", "cell", "waits at"), rows)


# ---- what the reactor waits for


def _calls_table(reactor: Any) -> Table:
    now = reactor.seconds()
    calls = sorted(reactor.getDelayedCalls(), key=lambda call: call.getTime())
    rows = []
    for call in calls:
        function, context = of_timer(call)
        when = f"in {duration(max(0, call.getTime() - now))}"
        rows.append((when, name_of(function), work_in(context).cell or ""))
    return Table("Delayed calls", ("when", "function", "cell"), rows)


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


def _pool_table(pool: ThreadPool) -> Table:
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
    """Where the reactor thread is: the user's frames, then those that they called.  Thread: any."""
    give_back()
    borrowed = loans.borrower()
    holder = loans.holder(thread.ident)
    frame = frames.frame_of(holder)
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
        one: Any = frame.f_locals.get("call" if frame.f_code is TIMER else "self")
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
