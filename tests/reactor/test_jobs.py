"""Background jobs: the table, their states, what cancelling stops, and what they keep alive."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from contextvars import copy_context
from typing import Any

import pytest
from session import Session, eventually, in_reactor_thread
from twisted.internet.task import LoopingCall

from twisted_ipython._base.work_id import NO_WORK, WorkId, current_work, work_in
from twisted_ipython._cells.cell_function import CellFunction, Kind
from twisted_ipython._magics.run_in_reactor import start_job
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.lifecycle import current, start


class Value:
    """A value that a weak reference can watch."""


def do(function: Any, kind: Kind = Kind.PLAIN, name: str | None = None) -> EventualResult:
    """Start a job as the magic does, without a shell."""
    return start_job(
        start(), Job(name, 1, "code"), function, CellFunction(kind, ()), copy_context()
    )


# ---- the table


def test_every_cell_is_a_job_until_it_ends(session: Session) -> None:
    """A job has a number, its name, cell and first line of code, and a state."""
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor x\n\n# a comment\nawait gate")
    session.ok("%%run_in_reactor\n1/0")
    first, second = current().jobs.all()
    assert second.number == first.number + 1
    assert (first.name, first.cell, first.code) == ("x", 3, "await gate")
    assert (second.name, second.cell, second.code) == (None, 4, "1/0")
    eventually(lambda: second.state == "failed")
    assert current().jobs.pending() == [first]
    assert second.ended is not None
    assert second.seconds == second.ended - second.began
    assert first.state == "pending"
    assert first.ended is None
    in_reactor_thread(lambda: session.names["gate"].callback(None))
    eventually(lambda: first.state == "done")
    assert current().jobs.pending() == []
    session.names["_"].original_failure()


def test_a_job_is_found_by_number_or_name(session: Session) -> None:
    """Of two with one name the latest is meant, pending or not."""
    session.ok("%%run_in_reactor x\nawait Deferred()")
    session.ok("%%run_in_reactor x\n1")
    session.ok("%%run_in_reactor y\n1")
    first, second, third = current().jobs.all()
    assert current().jobs.find("x") is second
    assert current().jobs.find("y") is third
    assert current().jobs.find(str(first.number)) is first
    assert current().jobs.find("z") is None
    assert current().jobs.find("0") is None


def test_the_table_is_bounded(session: Session) -> None:
    """Of 10,000 ended jobs the last hundred are remembered; a pending one always is."""
    session.ok("%%run_in_reactor x\nawait Deferred()")
    for _ in range(9_999):
        do(int)
    last = do(int)
    last.wait(10)
    eventually(lambda: len(current().jobs.pending()) == 1)
    known = current().jobs.all()
    assert len(known) == 101
    assert known[0] is session.job("x")
    assert known[-1] is last.job


def test_what_ended_is_not_kept_alive(session: Session) -> None:
    """Hundreds of results of a megabyte leave memory as it was."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            do(lambda: bytes(1_000_000)).wait(10)
        eventually(lambda: not current().jobs.pending())
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 2_000_000
    finally:
        tracemalloc.stop()


LEAVE = {
    "a port": "port = reactor.listenTCP(0, Factory(), interface='127.0.0.1')",
    "a UDP port": "port = reactor.listenUDP(0, DatagramProtocol(), interface='127.0.0.1')",
    "a LoopingCall": "loop = LoopingCall(int); loop.start(60)",
    "a LoopingCall that waits": "loop = LoopingCall(Deferred); loop.start(60)",
    "a DelayedCall": "call = reactor.callLater(60, int)",
    "a timer of asyncio's": "call = reactor._asyncioEventloop.call_later(60, int)",
    "a task": "call = reactor._asyncioEventloop.create_task(asyncio.sleep(60))",
}


@pytest.mark.parametrize("end", ["", "await asyncio.sleep(0)\n", "yield deferLater(reactor, 0)\n"])
@pytest.mark.parametrize("left", LEAVE)
def test_what_a_cell_left_keeps_no_result_alive(session: Session, left: str, end: str) -> None:
    """Once the name is gone so is the value, though a context of the cell lives on."""
    session.ok("from twisted.internet.protocol import DatagramProtocol, Factory")
    check_freed(session, f"%%run_in_reactor x\n{LEAVE[left]}\n{end}return Value();")


def test_what_a_cell_in_a_thread_left_keeps_no_result_alive(session: Session) -> None:
    """The same with `--thread`, for a call that the cell sent to the reactor."""
    leave = "reactor.callFromThread(reactor.callLater, 60, int)"
    check_freed(session, f"%%run_in_reactor -t x\n{leave}\nreturn Value();")


def check_freed(session: Session, cell: str) -> None:
    """The result and the value of a cell named x are gone when the name is."""
    session.names["Value"] = Value
    session.ok(cell)
    value = weakref.ref(session.names["x"].wait(10))
    work_id = session.job("x").work_id
    result = weakref.ref(session.names.pop("x"))
    eventually(lambda: gc.collect() >= 0 and value() is None and result() is None)
    in_reactor_thread(lambda: tidy_up(work_id))


def tidy_up(work_id: WorkId) -> None:
    """Stop what a cell of `LEAVE` left."""
    reactor = start().reactor
    start().loops.stop(work_id)
    for call in reactor.getDelayedCalls():
        if call.func is int:
            call.cancel()
    for port in reactor.getReaders():
        if hasattr(port, "stopListening"):
            port.stopListening()


def test_contexts_carry_numbers_only(session: Session) -> None:
    """What we put into a context is two numbers: that of the work and that of its cell."""
    session.ok("from contextvars import copy_context")
    for options, end in (("", ""), ("-t", ""), ("", "await asyncio.sleep(0)\n"), ("", "yield\n")):
        session.ok(f"%%run_in_reactor {options} x\n{end}return copy_context()")
        context = session.names["x"].wait(5)
        ours = {v.name: value for v, value in context.items() if v.name.startswith("twisted_")}
        job = session.job("x")
        assert ours["twisted_ipython_numbers"] == (job.work_id.work, job.cell)
        assert all(type(one) is int for value in ours.values() for one in flat(value))
    assert current_work() == NO_WORK
    assert work_in(copy_context()) == NO_WORK
    assert work_in(None) == NO_WORK


def flat(value: Any) -> list[Any]:
    """The values in a tuple and in the tuples in it, or the value."""
    if not isinstance(value, tuple):
        return [value]
    return [one for member in value for one in flat(member)]


# ---- where a job waits


@pytest.mark.parametrize(
    ("body", "line", "function"),
    [
        ("await Deferred()", 2, "<module>"),
        ("x = 1\n\nyield Deferred()", 4, "<module>"),
        ("async def f():\n    await g()\nasync def g():\n    await Deferred()\nawait f()", 5, "g"),
        ("async def f():\n    await asyncio.sleep(60)\nawait asyncio.gather(f())", 4, "<module>"),
        ("@defer.inlineCallbacks\ndef f():\n    yield Deferred()\nyield f()", 5, "<module>"),
    ],
)
@pytest.mark.parametrize("options", ["", "-g"])
def test_a_pending_job_waits_at_a_line(
    session: Session, options: str, body: str, line: int, function: str
) -> None:
    """The innermost line of the user's, for coroutines and generators; none once it ended."""
    session.ok(f"%%run_in_reactor {options} x\n{body}")
    in_reactor_thread(int)
    in_reactor_thread(int)
    job = session.job("x")
    place = job.waits_at
    assert place is not None
    assert (place.line, place.function) == (line, function)
    current().jobs.cancel(job)
    eventually(lambda: job.ended)
    assert job.waits_at is None


def test_a_job_that_is_no_coroutine_waits_nowhere(session: Session) -> None:
    """A pending Deferred has no line."""
    session.ok("%%run_in_reactor x\nDeferred()")
    in_reactor_thread(int)
    assert session.job("x").waits_at is None


# ---- cancelling

LOOPS = {
    "its timer runs": "loop = LoopingCall(tick); loop.start(60, now=False)",
    "it has called": "loop = LoopingCall(tick); loop.start(60)",
    "its first call waits": "loop = LoopingCall(Deferred); loop.start(60)",
    "a later call waits": (
        "waits = iter([None, Deferred()])\n"
        "loop = LoopingCall(lambda: next(waits)); loop.start(0.001)"
    ),
    "its coroutine waits": (
        "async def wait(): await Deferred()\nloop = LoopingCall(wait); loop.start(60)"
    ),
    "a callback started it": (
        "loop = LoopingCall(tick); reactor.callLater(0, loop.start, 60); await asyncio.sleep(0.01)"
    ),
    "a task started it": (
        "loop = LoopingCall(tick)\n"
        "async def begin(): loop.start(60)\n"
        "await asyncio.create_task(begin())"
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ["return loop", "await Deferred()"])
def test_cancelling_a_job_stops_its_looping_calls(session: Session, loop: str, end: str) -> None:
    """Done or pending, whatever they wait for; those of other cells go on."""
    session.ok("def tick(): pass")
    session.ok(
        "%%run_in_reactor other\nglobal theirs\ntheirs = LoopingCall(tick)\ntheirs.start(60);"
    )
    session.ok(f"%%run_in_reactor x\nglobal loop\n{LOOPS[loop]}\n{end}")
    eventually(lambda: getattr(session.names.get("loop"), "running", False))
    if loop == "a later call waits":
        eventually(lambda: in_reactor_thread(lambda: session.names["loop"].call is None))
    ours: LoopingCall = session.names["loop"]
    theirs: LoopingCall = session.names["theirs"]
    current().jobs.cancel(session.job("x"))
    eventually(lambda: not ours.running)
    assert theirs.running
    current().jobs.cancel(session.job("other"))
    eventually(lambda: not theirs.running)


def test_a_looping_call_belongs_to_the_last_work_that_started_it(session: Session) -> None:
    """One that was stopped and started again is the new cell's; one of no cell is nobody's."""
    session.ok("loop = LoopingCall(int)")
    session.ok("%%run_in_reactor x\nloop.start(60)\nloop.stop()")
    session.ok("%%run_in_reactor y\nloop.start(60);")
    loop = session.names["loop"]
    eventually(lambda: loop.running)
    current().jobs.cancel(session.job("x"))
    in_reactor_thread(int)
    in_reactor_thread(int)
    assert loop.running
    current().jobs.cancel(session.job("y"))
    eventually(lambda: not loop.running)


def test_the_reactor_tells_the_time_as_before(session: Session) -> None:
    """What notes LoopingCalls is on the reactor's instance only while the extension is loaded."""
    reactor = start().reactor
    assert "seconds" in vars(reactor)
    assert abs(reactor.seconds() - type(reactor).seconds()) < 1
    session.ok("%unload_ext twisted_ipython")
    assert "seconds" not in vars(reactor)


def test_a_job_in_a_thread_ends_when_it_is_cancelled(session: Session) -> None:
    """Its result is cancelled at once; the thread goes on to its own end."""
    gate = session.names["gate"] = threading.Event()
    began = session.names["began"] = threading.Event()
    ended = session.names["ended"] = threading.Event()
    session.ok("%%run_in_reactor -t x\nbegan.set()\ngate.wait(10)\nended.set()")
    assert began.wait(10)
    current().jobs.cancel(session.job("x"))
    eventually(lambda: session.job("x").state == "cancelled")
    assert not ended.is_set()
    gate.set()
    assert ended.wait(10)


# ---- unloading


def test_unloading_lists_what_goes_on(session: Session) -> None:
    """A line for each pending job, none without; results stay usable and the table stays."""
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor done\n1")
    session.names["done"].wait(5)
    assert session.shown("%reload_ext twisted_ipython") == ""
    session.ok("%%run_in_reactor x\nawait gate\nawait deferLater(reactor, 0.001, lambda: 'late')")
    session.ok("%%run_in_reactor\nawait Deferred();")
    first, second = current().jobs.pending()
    lines = session.shown("%unload_ext twisted_ipython").splitlines()
    assert [line.partition("; pending for ")[0] for line in lines] == [
        f"job {first.number} (x) of cell 5 goes on in the reactor thread",
        f"job {second.number} of cell 6 goes on in the reactor thread",
    ]
    assert len(current().jobs.pending_lines()) == 2
    thread = start()
    thread.run(lambda: session.names["gate"].callback(None)).wait(5)
    assert session.names["x"].wait(5) == "late"
    session.ok("%load_ext twisted_ipython")
    assert [job.name for job in current().jobs.all()] == ["done", "x", None]
