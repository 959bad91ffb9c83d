"""Magics that wait, in a real kernel: its loop turns meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel

SETUP = """
%autoawait twisted
import asyncio
from twisted.internet import reactor, task
ticks = 0
async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.01)
        ticks += 1
"""
WAITS = {
    "%%run_in_reactor --wait": "%%run_in_reactor --wait\nawait task.deferLater(reactor, 0.5)\n5",
    "%%run_in_reactor -w NAME": "%%run_in_reactor -w five\nawait task.deferLater(reactor, 0.5)\n5",
    "%time": "%time await task.deferLater(reactor, 0.5, lambda: 5)",
    "%%time": "%%time\nawait task.deferLater(reactor, 0.5)\n5",
    "%timeit": "%timeit -n 1 -r 1 await task.deferLater(reactor, 0.5)\n5",
}


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A kernel whose own loop counts its turns."""
    with Kernel() as one:
        one.ok(SETUP)
        one.ok("counting = asyncio.get_running_loop().create_task(tick())")
        yield one


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS)
def test_kernel_is_alive(kernel: Kernel, code: str) -> None:
    """The kernel's own tasks run while a magic waits, and the magic gives its value."""
    before = int(kernel.value("ticks") or 0)
    assert kernel.value(code) == "5"
    assert int(kernel.value("ticks") or 0) - before > 10


def test_kernel_is_alive_while_a_job_is_waited_for(kernel: Kernel) -> None:
    """The kernel's own tasks run during `%reactor wait`, which gives the job's result."""
    kernel.ok("%%run_in_reactor slow\nawait task.deferLater(reactor, 0.5)\n5")
    before = int(kernel.value("ticks") or 0)
    assert str(kernel.value("%reactor wait slow")).startswith("<EventualResult slow of cell ")
    assert int(kernel.value("ticks") or 0) - before > 10
    assert kernel.value("await slow") == "5"


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS)
def test_interrupt(kernel: Kernel, code: str) -> None:
    """Ctrl-C ends a magic that waits, and the next cell works."""
    long = code.replace("0.5", "60").replace("await task", "print('began'); await task")
    if code.startswith("%time"):
        long = code.replace("await task.deferLater(reactor, 0.5", "await begin(task, 60")
    kernel.ok(
        "def begin(task, *args):\n    print('began')\n    return task.deferLater(reactor, *args)"
    )
    waiting = kernel.submit(long).wait_for("began")
    kernel.interrupt()
    waiting.wait(5)
    assert waiting.error == "KeyboardInterrupt"
    assert kernel.value("await task.deferLater(reactor, 0, lambda: 'next')") == "'next'"


def test_limit(kernel: Kernel) -> None:
    """The time limit holds for a magic that waits, and cancels its job."""
    kernel.ok("%twisted_config timeout 0.2")
    try:
        waiting = kernel.run("%%run_in_reactor -w long\nawait task.deferLater(reactor, 60)")
    finally:
        kernel.ok("%twisted_config reset")
    assert waiting.error == "TimeoutError"
    assert "cancelled" in str(kernel.value("long"))
