"""Pool threads that outlive the cell that asked for them, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Execution, Kernel
from reactor_thread import in_reactor, later
from session import eventually
from twisted.internet.threads import deferToThread

from twisted_ipython._reactor.lifecycle import current

SETUP = """
import asyncio, sys, threading, time
from twisted.internet import defer, threads
def work():
    begun.append(threading.get_ident())
    while not gate.wait(0.01): pass
    return 'worked'
async def watch(number):
    while len(begun) < number: await asyncio.sleep(0.01)
    print('began')
"""


@pytest.fixture
def kernel(kernel: Kernel) -> Iterator[Kernel]:
    """The shared kernel; after each test its threads have ended, and none is listed."""
    kernel.ok("gate, begun = threading.Event(), []")
    yield kernel
    kernel.ok("gate.set()")
    assert kernel.value("await threads.deferToThread(work)") == "'worked'"
    eventually(lambda: "Pool threads" not in table(kernel, "%reactor jobs"))


def table(kernel: Kernel, magic: str) -> str:
    """The tables that a magic displays."""
    text: str = kernel.ok(magic).data("display_data")["text/plain"]
    return text


def interrupted(kernel: Kernel, code: str, threads: int = 1) -> Execution:
    """Run a cell and interrupt it when so many threads work."""
    execution = kernel.submit(code.replace("WATCH\n", f"asyncio.create_task(watch({threads}))\n"))
    execution.wait_for("began")
    kernel.interrupt()
    return execution.wait(1)


@pytest.mark.parametrize(
    "code",
    [
        "WATCH\nawait threads.deferToThread(work)",
        "WATCH\nawait asyncio.to_thread(work)",
        "%%run_in_reactor --thread --wait\nprint('began')\nwork()",
        "%%run_in_reactor --wait\nWATCH\nawait threads.deferToThread(work)",
    ],
)
def test_said_and_listed(kernel: Kernel, code: str) -> None:
    """The first interrupt ends the cell and says which thread goes on; a table lists it."""
    execution = interrupted(kernel, code)
    assert execution.error == "KeyboardInterrupt"
    lines = [line for line in execution.traceback.splitlines() if "A pool thread goes on" in line]
    assert len(lines) == 1
    assert lines[0].startswith("A pool thread goes on at Cell In[")
    assert "nothing can stop it" in lines[0]
    listed = table(kernel, "%reactor jobs").partition("Pool threads\n")[2].splitlines()
    assert listed[0].split() == ["cell", "age", "at"]
    assert listed[1].split()[0] == str(execution.reply and execution.reply["execution_count"])
    assert "Cell In[" in listed[1]
    assert "Pool threads" in table(kernel, "%reactor")


def test_several(kernel: Kernel) -> None:
    """Several threads are said in one line."""
    execution = interrupted(
        kernel,
        "WATCH\nawait asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(work))",
        threads=2,
    )
    assert execution.traceback.count("2 pool threads go on, one of them at Cell In[") == 1


def test_cell_that_catches(kernel: Kernel) -> None:
    """A cell that catches the interrupt succeeds, and the line is on stderr."""
    execution = interrupted(
        kernel,
        "WATCH\ntry: await threads.deferToThread(work)\nexcept KeyboardInterrupt: print('caught')",
    )
    assert execution.reply is not None
    assert execution.reply["status"] == "ok"
    assert execution.printed("stderr").count("A pool thread goes on at Cell In[") == 1


def test_time_limit(kernel: Kernel) -> None:
    """A time limit that is reached says the same."""
    kernel.ok("%twisted_config timeout 0.3")
    execution = kernel.run("await threads.deferToThread(work)")
    kernel.ok("%twisted_config timeout INFINITY")
    assert execution.error == "TimeoutError"
    assert execution.traceback.count("A pool thread goes on at Cell In[") == 1


def test_thread_of_somebody_else(kernel: Kernel) -> None:
    """What another cell's threads do is not said."""
    execution = kernel.ok("background = threads.deferToThread(work)\nawait watch(1)")
    ended = kernel.submit("print('waits'); await defer.Deferred()").wait_for("waits")
    kernel.interrupt()
    assert "pool thread" not in ended.wait(1).traceback
    assert execution.printed("stderr") == ""


@in_reactor
async def test_work_that_fails() -> None:
    """Work that fails is no longer noted."""
    with pytest.raises(ZeroDivisionError):
        await deferToThread(lambda: 1 / 0)
    await later(None, 0.01)
    assert current().pool_work.running() == []
