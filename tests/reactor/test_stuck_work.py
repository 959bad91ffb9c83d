"""A cancelled job whose code holds the reactor is broken off, in a real kernel."""

from __future__ import annotations

import pytest
from kernels import Execution, Kernel

from twisted_ipython._reactor.stuck_work import BROKEN, IN_C, OTHER_HOLDS

SETUP = """
import asyncio, threading, time
from twisted.internet import reactor, task
gate = threading.Event()
def spin():
    while not gate.is_set(): sum(range(10))
    gate.clear()
"""
# Stands for a place in a cell.
CELL = "Cell In["


def started(kernel: Kernel, name: str, code: str) -> None:
    """Start a job, and wait until it holds the reactor."""
    kernel.submit(f"%%run_in_reactor {name}\n{code}\n").wait_for("holds")


def says(kernel: Kernel, cell: Execution, line: str, work: str) -> bool:
    """Whether a cell says so of some work, within a while."""
    before, after = line.format(work=work, place=CELL).split(CELL)
    kernel.pump(lambda: before + CELL in cell.printed("stderr"))
    return after.rstrip() in cell.printed("stderr")


@pytest.mark.parametrize(
    ("code", "cancel"),
    [
        ("print('holds')\nwhile True: pass", "%reactor cancel job"),
        ("await asyncio.sleep(0.01)\nprint('holds')\nspin()", "job.cancel()"),
        ("yield task.deferLater(reactor, 0, print, 'holds')\nspin()", "%reactor cancel job"),
        ("reactor.callLater(0, lambda: (print('holds'), spin()))\nreactor.run()", "job.cancel()"),
        ("print('holds')\ntry: spin()\nexcept BaseException: pass\nspin()", "%reactor cancel all"),
    ],
    ids=["loop", "coroutine", "generator", "script", "swallowed"],
)
def test_broken(kernel: Kernel, code: str, cancel: str) -> None:
    """It ends, says where it was, and the reactor works."""
    started(kernel, "job", code)
    number = kernel.value("job.job.number")
    cell = kernel.run(cancel)
    assert says(kernel, cell, BROKEN, f"Job {number} (job)")
    kernel.pump(lambda: kernel.value("job.state") == "'cancelled'")
    assert kernel.value("await asyncio.sleep(0.01, 'works')") == "'works'"
    assert cell.printed("stderr").count("broken off there") == 1


def test_in_c(kernel: Kernel) -> None:
    """Code in C is said to hold it, and broken once it returns."""
    started(kernel, "job", "print('holds')\ntime.sleep(1.5)\nwhile True: pass")
    cell = kernel.run("%reactor cancel job")
    assert says(kernel, cell, IN_C, f"Job {kernel.value('job.job.number')} (job)")
    kernel.pump(lambda: kernel.value("job.state") == "'cancelled'")
    assert "was broken off there" in cell.printed("stderr")


def test_other_work(kernel: Kernel) -> None:
    """Code of another job is left alone: it is said that it holds the reactor."""
    kernel.ok("%%run_in_reactor waits\nawait asyncio.sleep(100)\n")
    started(kernel, "holds", "print('holds')\nspin()\n'whole'")
    cell = kernel.run("waits.cancel()")
    assert says(kernel, cell, OTHER_HOLDS, f"job {kernel.value('waits.job.number')} (waits)")
    kernel.ok("gate.set()")
    assert kernel.value("await holds") == "'whole'"
    assert kernel.value("waits.state") == "'cancelled'"


def test_quick(kernel: Kernel) -> None:
    """A job that ends in time is cancelled without a word, and so is one that has ended."""
    kernel.ok("%%run_in_reactor job\nawait asyncio.sleep(100)\n")
    cell = kernel.ok("job.cancel()\nawait asyncio.sleep(0.01)\njob.cancel()")
    assert kernel.value("job.state") == "'cancelled'"
    started(kernel, "holds", "print('holds')\nspin()")
    again = kernel.ok("job.cancel()")
    kernel.run("holds.cancel()\nwhile holds.state == 'pending': time.sleep(0.01)")
    assert cell.printed("stderr") + again.printed("stderr") == ""
