"""Tracebacks with the user's frames, and lines that explain: `_base.tracebacks`, in a shell."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from shells import Shell
from twisted.internet.defer import AlreadyCalledError, succeed

from twisted_ipython._base.tracebacks import (
    AWAIT_IT,
    NO_LOOP_HERE,
    OTHER_DRIVER,
    OTHER_THREAD,
    WRAP_IT,
    explain,
    tidy,
)

OURS = re.compile(r"twisted_ipython|crochet|twisted/internet/defer|twisted/python/failure|wrapt")

SETUP = """
import asyncio, signal, sqlite3, threading
from twisted.internet import defer, reactor, task, threads

def deep():
    raise ValueError("deep")

def later(function=deep):
    return task.deferLater(reactor, 0.01, function)

async def coroutine():
    await later()

@defer.inlineCallbacks
def generator():
    yield later()

def failed():
    return defer.maybeDeferred(deep)
"""


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A shell with functions that fail."""
    with Shell() as one:
        one.ok(SETUP)
        yield one


@pytest.mark.parametrize(
    ("code", "functions"),
    [
        ("await later()", ["deep"]),
        ("await coroutine()", ["coroutine", "deep"]),
        ("await generator()", ["generator", "deep"]),
        ("await failed()", ["deep"]),
        ("await asyncio.create_task(coroutine())", ["coroutine", "deep"]),
        ("await defer.ensureDeferred(coroutine())", ["coroutine", "deep"]),
        ("await asyncio.gather(coroutine())", ["coroutine", "deep"]),
        ("d = failed()\nawait asyncio.sleep(0.01)\nawait d", ["deep"]),
        ("d = failed()\ntry:\n    await d\nexcept ValueError: pass\nawait d", ["deep"]),
        ("await later(lambda: deep())", ["<lambda>", "deep"]),
        ("await threads.deferToThread(deep)", ["deep"]),
        ("await asyncio.sleep(0)\ndeep()", ["deep"]),
    ],
)
def test_frames_are_the_users(shell: Shell, code: str, functions: list[str]) -> None:
    """A failure shows the cell's line and the user's functions, nothing of the way it took."""
    cell = shell.run(code)
    assert cell.error == "ValueError"
    assert not OURS.search(cell.out), cell.out
    assert f"In[{cell.count}], line {code.count(chr(10)) + 1}" in cell.out
    assert re.findall(r", in (\S+?)\(", cell.out) == functions
    assert cell.out.count("raise ValueError") == 1
    assert not re.search(r"site-packages/IPython|asyncio/", cell.out), cell.out


def test_chained_exceptions(shell: Shell) -> None:
    """The causes of a failure are shown with the user's frames only."""
    cell = shell.run(
        "try:\n    await later()\nexcept ValueError as error:\n    raise KeyError('k') from error"
    )
    assert cell.error == "KeyError"
    assert "ValueError: deep" in cell.out
    assert "direct cause" in cell.out
    assert not OURS.search(cell.out), cell.out


def test_exception_groups(shell: Shell) -> None:
    """The members of a group are shown with the user's frames only."""
    cell = shell.run(
        "async with asyncio.TaskGroup() as group:\n"
        "    group.create_task(coroutine())\n"
        "    group.create_task(coroutine())"
    )
    assert cell.error == "ExceptionGroup"
    shown = cell.out + cell.err
    assert shown.count("ValueError: deep") == 2
    assert shown.count("in coroutine") == 2
    assert not OURS.search(shown), shown


def test_tb_magic(shell: Shell) -> None:
    """`%tb` shows the same again."""
    shown = shell.run("await coroutine()").out
    assert shell.run("%tb").out == shown


def test_wait_shows_users_frames(shell: Shell) -> None:
    """`EventualResult.wait` in a plain cell shows the line that waits and the user's functions."""
    shell.ok("%%run_in_reactor failing\nawait coroutine()")
    cell = shell.run("failing.wait(5)")
    assert cell.error == "ValueError"
    assert not OURS.search(cell.out), cell.out
    assert re.findall(r", in (\S+?)\(", cell.out)[-2:] == ["coroutine", "deep"]


def test_history_of_exceptions(shell: Shell) -> None:
    """What IPython 9 keeps of an exception has the user's frames only."""
    cell = shell.run("await coroutine()")
    kept = shell.value(
        f"getattr(get_ipython().history_manager, 'exceptions', None) and "
        f"'\\n'.join(get_ipython().history_manager.exceptions[{cell.count}]['traceback'])"
    )
    assert not OURS.search(kept), kept
    assert kept == "" or "in coroutine" in kept


def test_syntax_error_beside_await(shell: Shell) -> None:
    """A statement that does not compile is shown as in a plain cell, after those before it ran."""
    plain = shell.run("x = 1\nreturn x")
    awaiting = shell.run("x = await later(lambda: 2)\nreturn x")
    assert awaiting.error == plain.error == "SyntaxError"
    number = str(plain.count), str(awaiting.count)
    assert awaiting.out == plain.out.replace(*number)
    assert shell.value("x") == "2"


def test_stop_iteration(shell: Shell) -> None:
    """A StopIteration that a statement beside an await raises is shown as itself."""
    cell = shell.run("await asyncio.sleep(0)\nnext(iter(()))")
    assert cell.error == "StopIteration"
    assert not OURS.search(cell.out), cell.out


def test_usage_error_is_one_line(shell: Shell) -> None:
    """A magic's UsageError in an awaiting cell is the line that IPython shows, no traceback."""
    cell = shell.run("await asyncio.sleep(0)\n%no_such_magic")
    assert cell.error == "UsageError"
    assert "Traceback" not in cell.out + cell.err
    assert "Line magic function `%no_such_magic` not found" in cell.out + cell.err


THREADS = [
    ("base.execute('select 1')", "ProgrammingError"),
    ("signal.signal(signal.SIGUSR1, signal.SIG_DFL)", "ValueError"),
    ("signal.set_wakeup_fd(-1)", "ValueError"),
    ("raise RuntimeError('main thread is not in main loop')", "RuntimeError"),
]


@pytest.mark.parametrize(("statement", "error"), THREADS)
def test_failure_because_of_thread(shell: Shell, statement: str, error: str) -> None:
    """A failure that comes from the thread gets one line that names `in_main_thread`."""
    shell.ok("base = sqlite3.connect(':memory:')")
    cell = shell.run(f"await asyncio.sleep(0)\n{statement}")
    assert cell.error == error
    assert cell.out.count(OTHER_THREAD) == 1
    again = shell.run("%tb")
    assert again.out.count(OTHER_THREAD) == 1


def test_failure_because_of_no_loop(shell: Shell) -> None:
    """What looks for asyncio's loop in a cell that does not await is told where it is."""
    cell = shell.run("asyncio.get_running_loop()")
    assert cell.error == "RuntimeError"
    assert cell.out.count(NO_LOOP_HERE) == 1
    assert shell.value("asyncio.get_event_loop() is reactor._asyncioEventloop") == "True"
    assert shell.value("await asyncio.sleep(0, asyncio.get_event_loop() is not None)") == "True"


@pytest.mark.parametrize(
    "code",
    ["async with asyncio.timeout(5): pass", "async with asyncio.TaskGroup(): pass"],
)
def test_failure_because_of_driver(shell: Shell, code: str) -> None:
    """What needs a Task in a coroutine that Twisted drives says to use `create_task`."""
    shell.ok(f"async def driven():\n    await later(int)\n    {code}")
    cell = shell.run("await defer.ensureDeferred(driven())")
    assert cell.error == "RuntimeError"
    assert "await asyncio.create_task(...)" in cell.out


def test_tidy_keeps_what_is_all_plumbing() -> None:
    """A traceback that has no frame of the user's stays whole."""
    with pytest.raises(AlreadyCalledError) as raised:
        succeed(1).callback(2)
    frame = raised.tb.tb_next
    error = raised.value.with_traceback(frame)
    tidy(error)
    assert error.__traceback__ is frame


def test_explain_says_it_once() -> None:
    """A line is added once, to the exception that it belongs to, wherever in a chain it stands."""
    cause = ValueError("signal only works in main thread of the main interpreter")
    error = RuntimeError("other")
    error.__cause__ = cause
    group = ExceptionGroup("group", [error])
    for _ in range(2):
        explain(group)
    assert cause.__notes__ == [OTHER_THREAD]
    assert not hasattr(error, "__notes__")


def test_explain_of_two_that_say_the_same() -> None:
    """Where an exception follows another of the same cause, the last one has the line."""
    # In the words of `asyncio.Runner`, which fails once more when it closes.
    error = RuntimeError("Cannot run the event loop while another loop is running")
    error.__context__ = RuntimeError("Runner.run() cannot be called from a running event loop")
    for _ in range(2):
        explain(error)
    assert error.__notes__ == [AWAIT_IT]
    assert not hasattr(error.__context__, "__notes__")
    explain(error.__context__)
    assert error.__context__.__notes__ == [AWAIT_IT]


def test_explain_names_driver() -> None:
    """A failure for want of a Task is explained as one."""
    error = RuntimeError("Timeout should be used inside a task")
    explain(error)
    assert error.__notes__ == [OTHER_DRIVER]


@pytest.mark.parametrize("kind", ["Future", "AsyncResult"])
def test_explain_names_wrap_future(kind: str) -> None:
    """A future of threads that is awaited is explained, in the words of this Python."""
    with pytest.raises(TypeError) as raised:
        asyncio.run(await_it(type(kind, (Future,), {})()))
    explain(raised.value)
    assert raised.value.__notes__ == [WRAP_IT]


async def await_it(thing: Any) -> None:
    """Await it."""
    await thing


def test_own_modules_are_kept(shell: Shell, tmp_path: Path) -> None:
    """Frames of modules that the user wrote, or imported, are kept, whatever their files."""
    (tmp_path / "users_module.py").write_text("def fail(): raise ValueError('mine')")
    shell.ok(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport users_module")
    cell = shell.run("await later(users_module.fail)")
    assert "users_module.py" in cell.out
