"""`%reactor` and its subcommands."""

from __future__ import annotations

import re
import threading
from time import monotonic

import pytest
from session import Session, eventually, held_reactor, in_reactor_thread

from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.lifecycle import current, start

USAGE = (
    "usage: %reactor [jobs | cancel JOB... | cancel all | close PORT | close CELL | close JOB"
    " | output JOB | profile [SECONDS] | wait JOB [SECONDS] | stack]"
)


def settle() -> None:
    """Let the reactor do what it was told by now."""
    for _ in range(3):
        in_reactor_thread(int)


# ---- what is refused


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("never", f"there is no %reactor never; {USAGE}"),
        ("jobs x", USAGE),
        ("stack x", USAGE),
        ("cancel", USAGE),
        ("wait", USAGE),
        ("wait x 1 2", USAGE),
        ("output", USAGE),
        ("output x 1", USAGE),
        ("output nobody", "there is no job 'nobody'; there are: none"),
        ("cancel nobody", "there is no job 'nobody'; there are: none"),
        ("cancel 0", "there is no job '0'; there are: none"),
        ("wait nobody", "there is no job 'nobody'; there are: none"),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(session: Session, line: str, message: str) -> None:
    """Subcommands and jobs; the line lists what there is."""
    assert session.usage_error(f"%reactor {line}") == message


def test_an_unknown_job_is_answered_with_those_that_there_are(session: Session) -> None:
    """Pending jobs, the latest that have ended, and, to cancel, the tasks on the loop."""
    for number in range(7):
        session.ok(f"%%run_in_reactor done{number}\n1")
    eventually(lambda: not current().jobs.pending())
    session.ok(
        "%%run_in_reactor x\ntask = asyncio.create_task(asyncio.sleep(60), name='nap')\nawait task"
    )
    settle()
    known = [str(job) for job in current().jobs.all()[2:]]
    assert known[-1] == f"job {session.job('x').number} (x)"
    message = session.usage_error("%reactor wait nobody")
    assert message == f"there is no job 'nobody'; there are: {', '.join(known)}"
    message = session.usage_error("%reactor cancel x nobody")
    assert message == f"there is no job 'nobody'; there are: {', '.join(known)}, task nap"
    assert session.job("x").state == "pending"


@pytest.mark.parametrize("seconds", ["x", "-1", "nan", "inf", "1s"])
def test_a_bad_number_of_seconds_is_refused(session: Session, seconds: str) -> None:
    """Only a number of seconds, 0 or more, is one."""
    session.ok("%%run_in_reactor x\n1")
    message = session.usage_error(f"%reactor wait x {seconds}")
    assert message == f"{seconds!r} is not a number of seconds; {USAGE}"


def test_output_is_not_kept_without_a_kernel(session: Session) -> None:
    """A terminal has shown it already."""
    session.ok("%%run_in_reactor x\n1")
    job = f"job {session.job('x').number} (x)"
    message = session.usage_error("%reactor output x")
    assert (
        message == f"the output of {job} is not kept: only a kernel keeps it, a terminal shows it"
    )


# ---- jobs


def test_jobs_are_listed(session: Session) -> None:
    """Number, name, cell, code, state, age, and for a pending coroutine where it waits."""
    assert session.shown("%reactor jobs") == "Jobs: none\n"
    session.ok("%%run_in_reactor x\nasync def f():\n    await Deferred()\nawait f()")
    session.ok("%%run_in_reactor y\n1/0")
    session.ok("%%run_in_reactor\n'<b>'")
    settle()
    title, headings, *rows = session.shown("%reactor jobs").splitlines()
    assert title == "Jobs"
    assert headings.split() == ["job", "name", "cell", "code", "state", "age", "waits", "at"]
    first = session.job("x").number
    assert [row.split()[:3] for row in rows] == [
        [str(first), "x", "3"],
        [str(first + 1), "y", "4"],
        [str(first + 2), "5", "'<b>'"],
    ]
    assert rows[0].split()[6:8] == ["pending", rows[0].split()[7]]
    assert rows[0].endswith("Cell In[3], line 3")
    assert "failed" in rows[1]
    assert "done" in rows[2]
    session.names["y"].original_failure()


# ---- cancel


def test_jobs_are_cancelled_by_number_and_name(session: Session) -> None:
    """Those that are named, and no others; one that has ended is left as it is."""
    for name in ("a", "b", "c"):
        session.ok(f"%%run_in_reactor {name}\nawait Deferred()")
    session.ok("%%run_in_reactor d\n1")
    eventually(lambda: session.job("d").ended)
    a, b, c, d = (session.job(name).number for name in "abcd")
    first, second, ended, *rest = session.shown(f"%reactor cancel {a} b d b").splitlines()
    assert rest == []
    assert first.startswith(f"cancelled job {a} (a) of cell 2, after ")
    assert first.endswith("s: await Deferred()")
    assert second.startswith(f"cancelled job {b} (b) of cell 3, after ")
    assert ended.startswith(f"job {d} (d) has ended: done after ")
    eventually(lambda: len(current().jobs.pending()) == 1)
    assert [job.state for job in current().jobs.all()] == [
        "cancelled",
        "cancelled",
        "pending",
        "done",
    ]
    assert session.shown("%reactor cancel all").startswith(f"cancelled job {c} (c) of cell 4, ")
    eventually(lambda: session.job("c").state == "cancelled")
    said = session.shown("%reactor cancel all")
    assert said == "no job is pending: nothing was cancelled\n"


def test_all_jobs_of_one_name_are_cancelled(session: Session) -> None:
    """Each is said; a number names one of them."""
    for _ in range(3):
        session.ok("%%run_in_reactor x\nawait Deferred()")
    first, second, third = current().jobs.all()
    assert session.shown(f"%reactor cancel {first.number}").count("cancelled job") == 1
    eventually(lambda: first.state == "cancelled")
    assert second.state == third.state == "pending"
    lines = session.shown("%reactor cancel x").splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"cancelled job {second.number} (x) of cell 3",
        f"cancelled job {third.number} (x) of cell 4",
    ]
    eventually(lambda: second.state == third.state == "cancelled")


def test_tasks_are_cancelled_by_name(session: Session) -> None:
    """A task on the reactor's loop; the job that started it goes on."""
    session.ok(
        "%%run_in_reactor x\nglobal nap\n"
        "nap = asyncio.create_task(asyncio.sleep(60), name='nap')\nawait Deferred()"
    )
    eventually(lambda: "nap" in session.names)
    assert session.shown("%reactor cancel nap") == "cancelled task nap: sleep\n"
    eventually(lambda: session.names["nap"].cancelled())
    assert session.job("x").state == "pending"


def test_a_thread_that_goes_on_is_said(session: Session) -> None:
    """Nothing can stop a pool thread: its job is cancelled, and a line says that it goes on."""
    gate = session.names["gate"] = threading.Event()
    session.ok("%%run_in_reactor -t x\ngate.wait(10)")
    said = session.shown("%reactor cancel x")
    number = session.job("x").number
    assert said == (
        f"job {number} (x) runs in a pool thread, which nothing can stop: its code goes on\n"
    )
    eventually(lambda: session.job("x").state == "cancelled")
    assert "has ended: cancelled" in session.shown("%reactor cancel x")
    gate.set()


# ---- wait


def test_waiting_for_a_job_gives_its_result(session: Session) -> None:
    """Whether it is pending, or has ended and somebody holds its result."""
    session.ok("%%run_in_reactor x\nawait deferLater(reactor, 0.01, lambda: 42)")
    result = session.ok("%reactor wait x")
    assert result is session.names["x"]
    assert result.wait(0) == 42
    assert session.ok("%reactor wait x 0") is result
    session.ok("%%run_in_reactor y\n1/0")
    failed = session.ok("%reactor wait y 5")
    assert isinstance(failed, EventualResult)
    assert failed.state == "failed"
    failed.original_failure()


def test_a_job_that_ended_and_is_held_by_nobody_is_said(session: Session) -> None:
    """One line has its state and the time it took."""
    session.ok("%%run_in_reactor x\n1;")
    session.names.pop("x").wait(5)
    number = session.job("x").number
    said = session.shown("%reactor wait x")
    assert said.startswith(f"job {number} (x) has ended: done after ")
    assert said.count("\n") == 1


def test_waiting_has_a_time_limit(session: Session) -> None:
    """After the seconds it ends with TimeoutError; the job goes on, and no timer is left."""
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor x\nawait gate")
    ran = session.run("%reactor wait x 0.02")
    number = session.job("x").number
    assert type(ran.error) is TimeoutError
    assert str(ran.error) == f"job {number} (x) is still pending after 0.02 s, and goes on"
    assert "twisted_ipython" not in ran.out
    assert session.job("x").state == "pending"
    reactor = start().reactor
    in_reactor_thread(lambda: reactor.callLater(0.01, session.names["gate"].callback, 1))
    session.ok("%reactor wait x 60")
    in_a_minute = in_reactor_thread(
        lambda: [c for c in reactor.getDelayedCalls() if c.getTime() > reactor.seconds() + 50]
    )
    assert in_a_minute == []


def test_the_timeout_of_cells_ends_waiting(session: Session) -> None:
    """`%twisted_config timeout` holds for the wait; the job goes on."""
    session.ok("%%run_in_reactor x\nawait Deferred()")
    session.ok("%twisted_config timeout 0.02")
    assert type(session.run("%reactor wait x").error) is TimeoutError
    assert session.job("x").state == "pending"


# ---- a reactor that does not answer


def test_an_idle_reactor_has_no_stack(session: Session) -> None:
    """One line says that it waits."""
    assert session.shown("%reactor stack") == "The reactor thread is idle: it waits for events.\n"


def test_what_holds_the_reactor_is_named_with_its_cell(session: Session) -> None:
    """Also a function in C, whose frame is none, that a timer calls; and the step of a task."""
    session.names["gate"] = gate = threading.Event()
    for code, name in (
        ("import time\nreactor.callLater(0, time.sleep, 0.7)", "time.sleep"),
        ("reactor.callLater(0, gate.wait, 5)", "Event.wait"),
        (
            "async def holds(): gate.wait(5)\nasyncio.create_task(holds(), name='held')",
            "held",
        ),
    ):
        ran = session.run("%%run_in_reactor --wait\n" + code + ";")
        cell = session.shell.execution_count - 1
        begins = f"The reactor thread runs {name} for cell {cell}; it is at\n"
        shown: list[str] = []

        def named(begins: str = begins, shown: list[str] = shown) -> bool:
            shown[:] = [session.shown("%reactor stack")]
            return shown[0].startswith(begins)

        eventually(named)
        assert ran.error is None
        assert "twisted_ipython/" not in shown[0], "our own frames"
        # Outside of the user's code there is nothing to see.
        assert ("base_events" in shown[0]) is (name != "held")
        gate.set()
        settle()
        gate.clear()


def test_a_stuck_reactor_is_reported_with_its_stack(session: Session) -> None:
    """Within a second: jobs, whose code has the reactor, and its frames, the user's first."""
    session.names["monotonic"] = monotonic
    with held_reactor(session):
        shown = session.shown("asked = monotonic()\n%reactor\ntook = monotonic() - asked")
        assert session.names["took"] < 1
        assert "\n  state   stuck: no answer within 500 ms\n" in shown
        assert "hold" in session.shown("%reactor stack")
        message = session.usage_error("%reactor cancel nobody")
        session.ok("%reactor cancel x")
    stack = re.split(r"The reactor thread runs job \d+ \(x\) for cell 2; it is at\n", shown)[1]
    lines = stack.splitlines()
    assert lines[1].split("  ")[1].strip() in ("Cell In[2], line 3", "Cell In[2], line 4")
    assert lines[2].split("  ")[1].strip() == "Cell In[2], line 5"
    # Then what these call; our frames and those of the loop are not shown.
    assert all("threading.py, line" in line for line in lines[3:])
    number = session.job("x").number
    assert message == (
        f"the reactor does not answer, so its tasks are not known; jobs: job {number} (x)"
    )
    eventually(lambda: session.job("x").ended)


def test_the_reactor_is_shown_from_its_own_thread(session: Session) -> None:
    """`%reactor` works inside a cell of the reactor thread, which need not ask itself."""
    assert "answers in 0 ms" in session.shown("%%run_in_reactor -w\n%reactor")
