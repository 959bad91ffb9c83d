"""A shell of the test process with the extension, so that tests can look into everything."""

from __future__ import annotations

import asyncio
import atexit
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, TypeVar

import IPython
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets.config import Config

from twisted_ipython._base.loans import loans
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.lifecycle import current, start

__all__ = [
    "SECONDS",
    "Ran",
    "Session",
    "eventually",
    "held_reactor",
    "in_reactor_thread",
    "session_of",
]

SECONDS = 10.0
# IPython 9 writes it small, and IPython 8 does not know it so.
NO_COLOURS = "nocolor" if IPython.version_info >= (9,) else "NoColor"
_T = TypeVar("_T")

IMPORTS = """
import asyncio, gc, os, sys, threading, time, weakref
import crochet
from twisted.internet import defer, reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
"""


@dataclass(frozen=True)
class Ran:
    """
    What a cell did.

    Attributes:
        result: what IPython says of it.
        out: what was written to stdout meanwhile.
        err: what was written to stderr meanwhile.
    """

    result: ExecutionResult
    out: str
    err: str

    @property
    def error(self) -> BaseException | None:
        """The exception that ended it."""
        return self.result.error_before_exec or self.result.error_in_exec


class Session:
    """
    The shell of the process, with the extension and names that most cells need.

    Attributes:
        shell: the shell.
        names: its namespace.
    """

    def __init__(self) -> None:
        config = Config({"HistoryManager": {"enabled": False}})
        self.shell = InteractiveShell.instance(config=config, colors=NO_COLOURS)
        self.names: dict[str, Any] = self.shell.user_ns

    def run(self, code: str) -> Ran:
        """Run a cell."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            result = self.shell.run_cell(code, store_history=True)
        return Ran(result, out.getvalue(), err.getvalue())

    def ok(self, code: str) -> Any:
        """The value of a cell that must succeed."""
        ran = self.run(code)
        assert ran.error is None, ran.out + ran.err
        return ran.result.result

    def shown(self, code: str) -> str:
        """What a cell that must succeed writes to stdout."""
        ran = self.run(code)
        assert ran.error is None, ran.out + ran.err
        return ran.out

    def usage_error(self, code: str) -> str:
        """The message of a cell that ends in a UsageError of one line."""
        ran = self.run(code)
        assert type(ran.error).__name__ == "UsageError", ran
        message = str(ran.error)
        assert "\n" not in message
        assert (ran.out + ran.err).strip() == f"UsageError: {message}"
        return message

    def job(self, name: str) -> Job:
        """The latest job of that name."""
        job = current().jobs.find(name)
        assert job is not None
        return job


def eventually(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until a condition holds; as at the end of a cell, the reactor goes on."""
    loans.give_back()
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it did not come to hold"
        sleep(0.002)


def in_reactor_thread(function: Callable[[], _T]) -> _T:
    """What a function gives in the reactor thread."""
    given: _T = start().run(function).wait(SECONDS)
    return given


@contextmanager
def held_reactor(session: Session) -> Iterator[None]:
    """A job `x`, whose function `hold` holds the reactor thread meanwhile."""
    began = session.names["began"] = threading.Event()
    gate = session.names["gate"] = threading.Event()
    session.ok(
        "%%run_in_reactor x\n"
        "def hold():\n"
        "    while not gate.is_set():\n"
        "        began.set()\n"
        "hold();"
    )
    assert began.wait(SECONDS)
    try:
        yield
    finally:
        gate.set()


@contextmanager
def session_of() -> Iterator[Session]:
    """A session; at its end all jobs and tasks are cancelled and forgotten."""
    session = Session()
    session.ok("%load_ext twisted_ipython\n" + IMPORTS)
    # A cell that waits for ever fails its test, and the next one begins.
    session.shell.run_line_magic("twisted_config", f"timeout {2 * SECONDS}")
    try:
        yield session
    finally:
        jobs = start().jobs
        for job in jobs.all():
            jobs.cancel(job)
        eventually(lambda: not jobs.pending())
        in_reactor_thread(_cancel_tasks)
        jobs._ended.clear()
        session.run("%unload_ext twisted_ipython")
        InteractiveShell.clear_instance()
        # IPython would collect garbage four times for each shell at the process's end, which takes
        # minutes for hundreds of them.
        atexit.unregister(session.shell.atexit_operations)


def _cancel_tasks() -> None:
    for one in asyncio.all_tasks(start().loop):
        one.cancel()
