"""Whatever swallows a cancellation, a cell that was stopped ends so: in a real kernel."""

from __future__ import annotations

import re
from time import monotonic

import pytest
from kernels import Execution, Kernel

from twisted_ipython._waiting.awaiting_cell import GOES_ON

SETUP = """
import asyncio
from twisted.internet import defer, reactor, task
from twisted.internet.defer import Deferred
from twisted_ipython import progress

async def stubborn():
    try: await asyncio.sleep(30)
    except asyncio.CancelledError: print("swallowed")

async def main():
    while True: await stubborn()

def fires():
    return Deferred(lambda deferred: deferred.callback("as if nothing had happened"))

async def single():
    while True:
        try: await asyncio.sleep(30)
        except asyncio.CancelledError: pass

async def cleans(seconds):
    while True:
        try: await asyncio.sleep(30)
        except asyncio.CancelledError:
            try: await asyncio.sleep(seconds)
            except asyncio.CancelledError: pass

@defer.inlineCallbacks
def retries():
    while True:
        try: yield task.deferLater(reactor, 30)
        except Exception: pass

async def retried():
    while True:
        try: await task.deferLater(reactor, 30)
        except Exception: pass

@defer.inlineCallbacks
def wraps():
    while True:
        try: yield defer.gatherResults([retries(), retries()])
        except Exception: pass

@defer.inlineCallbacks
def repeats():
    while True: yield defer.gatherResults([cleans_once()])

@defer.inlineCallbacks
def cleans_once():
    try: yield Deferred()
    except Exception: yield task.deferLater(reactor, 0.1)
"""
# Seconds in which a stopped cell has ended.
PROMPTLY = 1


def stopped(kernel: Kernel, code: str) -> Execution:
    """A cell that is interrupted once it has begun, and has ended."""
    # What it prints comes after the first steps of the tasks.
    cell = kernel.submit(f"reactor.callLater(0, print, 'began')\n{code}", stop_on_error=False)
    cell.wait_for("began")
    kernel.interrupt()
    return cell.wait()


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("for n in range(4):\n    await stubborn()\n    print(n)", "    await stubborn()"),
        ("await stubborn()\nprint('next')", "await stubborn()"),
        ("await main()\nprint('next')", "while True: await stubborn()"),
        ("[await stubborn() for _ in range(4)]", "[await stubborn() for _ in range(4)]"),
        ("await stubborn()", "await stubborn()"),
        ("await fires()\nprint('next')", "await fires()"),
        ("value = await fires()", "value = await fires()"),
        ("await asyncio.gather(stubborn(), stubborn())", "await asyncio.gather("),
        ("async with asyncio.TaskGroup() as g: g.create_task(stubborn())", "async with asyncio.T"),
        ("await progress([stubborn(), fires()])", "await progress("),
        ("await single()", "await single()"),
        ("await asyncio.create_task(main())", "await asyncio.create_task(main())"),
        ("await asyncio.gather(main(), single(), cleans(0.1))", "await asyncio.gather("),
        ("async with asyncio.TaskGroup() as g: g.create_task(main())", "async with asyncio.T"),
        ("await asyncio.wait_for(asyncio.gather(main()), 60)", "await asyncio.wait_for("),
        ("await progress([main(), retries(), retried()])", "await progress("),
        ("await defer.gatherResults([retries(), defer.ensureDeferred(retried())])", "await defer."),
        (
            "await defer.DeferredList([retries(), Deferred.fromCoroutine(retried())])",
            "await defer.",
        ),
        ("await repeats()", "await repeats()"),
        ("await wraps()", "await wraps()"),
        ("await asyncio.gather(retried(), asyncio.gather(main()))", "await asyncio.gather("),
    ],
)
def test_swallowed(kernel: Kernel, code: str, line: str) -> None:
    """What is awaited swallows the cancellation: KeyboardInterrupt at that line, nothing after."""
    began = monotonic()
    cell = stopped(kernel, code)
    assert monotonic() - began < PROMPTLY
    assert cell.error == "KeyboardInterrupt"
    arrows = [one for one in cell.traceback.splitlines() if one.startswith("-")]
    assert any(line in arrow for arrow in arrows), arrows
    assert "next" not in cell.printed()
    assert "twisted_ipython" not in cell.traceback


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "asyncio.CancelledError"])
def test_own_try(kernel: Kernel, error: str) -> None:
    """A `try` of the cell's own around the await is respected: the cell goes on."""
    wait = "asyncio.sleep(30)" if "Cancelled" in error else "Deferred()"
    code = f"try: await {wait}\nexcept {error}: print('mine')\nawait asyncio.sleep(0)\n7"
    cell = stopped(kernel, code)
    assert (cell.error, cell.value) == (None, "7")
    assert cell.printed() == "began\nmine\n"


def test_said(kernel: Kernel) -> None:
    """What goes on after a second is said in one line, and the cell ends as interrupted."""
    cell = stopped(kernel, "await cleans(1.3)")
    assert cell.error == "KeyboardInterrupt"
    # Python may warn there of coroutines of other cells that were stopped before they began.
    assert cell.printed("stderr").count(f"{GOES_ON}\n") == 1


def test_limit_changed_in_the_cell(kernel: Kernel) -> None:
    """A setting that a cell changes holds for the rest of that cell."""
    code = "%twisted_config timeout 0.1\nawait Deferred()"
    cell = kernel.run(f"await asyncio.sleep(0)\n{code}", stop_on_error=False)
    assert cell.error == "TimeoutError"
    assert "more than 0.1 seconds" in cell.traceback
    code = "%twisted_config timeout INFINITY\nawait asyncio.sleep(1.3); 7"
    assert kernel.value(f"%twisted_config timeout 1\n{code}") == "7"


def test_goes_on(kernel: Kernel) -> None:
    """A task that is shielded, and one that the cell does not wait for, go on."""
    tasks = "free, held = [asyncio.create_task(asyncio.sleep(30, 7)) for _ in range(2)]\n"
    cell = stopped(kernel, f"{tasks}await asyncio.gather(asyncio.shield(held), main())")
    assert cell.error == "KeyboardInterrupt"
    assert kernel.value("free.cancel(), held.cancel()") == "(True, True)"


def test_press_after_own_try(kernel: Kernel) -> None:
    """After the cell's own `try` has handled one Ctrl-C, the next counts as the first again."""
    wait = "try: await Deferred()\nexcept KeyboardInterrupt: print('mine')\n"
    later = "reactor.callLater(1.3, print, 'later')\n"  # after the line that must not come
    code = f"reactor.callLater(0, print, 'began')\n{wait}{later}{wait}await main()"
    cell = kernel.submit(code, stop_on_error=False).wait_for("began")
    for text in ("later", "mine\nlater\nmine"):
        kernel.interrupt()
        cell.wait_for(text)
    kernel.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    assert "await main()" in cell.traceback
    assert GOES_ON not in cell.printed("stderr")
    assert "given up" not in cell.traceback


def test_c_code_returns(kernel: Kernel) -> None:
    """Where C code has returned by itself, the KeyboardInterrupt has the line that called it."""
    code = "import time\nawait asyncio.sleep(0)\nprint('began'); time.sleep(2)\nprint('next')"
    cell = kernel.submit(code, stop_on_error=False).wait_for("began")
    kernel.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    assert "----> 3 print('began'); time.sleep(2)" in cell.traceback
    assert "next" not in cell.printed()


def test_cancel_after_giving_up(kernel: Kernel) -> None:
    """What goes on as a job, in a task that swallows cancellations, is ended by `%reactor`."""
    cell = kernel.submit("print('began')\nawait asyncio.gather(cleans(60))", stop_on_error=False)
    cell.wait_for("began")
    kernel.interrupt()
    kernel.pump(lambda: GOES_ON in cell.printed("stderr"), 5)
    kernel.interrupt()
    given_up = re.search(r"goes on as job (\d+)", cell.wait().traceback)
    assert given_up is not None
    kernel.ok(f"%reactor cancel {given_up[1]}")
    kernel.ok("from twisted_ipython._reactor.lifecycle import current")
    find = f"current().jobs.find('{given_up[1]}').state"
    kernel.pump(lambda: kernel.value(find) == "'cancelled'", 5)


def test_timeout(kernel: Kernel) -> None:
    """A time limit that is swallowed ends the cell as TimeoutError, at that line."""
    kernel.ok("%twisted_config timeout 0.1")
    cell = kernel.run("await stubborn()\nprint('next')", stop_on_error=False)
    kernel.ok("%twisted_config timeout INFINITY")
    assert cell.error == "TimeoutError"
    assert "> 1 await stubborn()" in cell.traceback
    assert cell.printed() == "swallowed\n"
    for code in ("asyncio.gather(main(), single())", "defer.gatherResults([retries()])"):
        kernel.ok("%twisted_config timeout 0.1")
        cell = kernel.run(f"await {code}", stop_on_error=False)
        kernel.ok("%twisted_config timeout INFINITY")
        assert cell.error == "TimeoutError"
        assert "does not let itself" not in cell.traceback


@pytest.mark.parametrize(
    "code",
    [
        "while True: await stubborn()",
        "await main()",
        "while True: yield fires()",
        "yield fires()\ndefer.returnValue(1)",
        "yield retries()",
        "yield defer.gatherResults([retries(), defer.ensureDeferred(retried())])",
        "await asyncio.gather(main(), single())",
        "reactor.run()\nprint('after')",
        "fires()",
    ],
)
def test_job(kernel: Kernel, code: str) -> None:
    """A job that is cancelled has the state "cancelled", whatever it awaits swallows."""
    for cancel in ("job.cancel()", "%reactor cancel job", "%%run_in_reactor job --replace\n1"):
        kernel.ok(f"%%run_in_reactor job\n{code}\n")
        kernel.ok("first = job\nawait asyncio.sleep(0)")
        printed = kernel.ok(cancel).printed()
        assert (printed == "") != ("%reactor" in cancel)
        assert printed == "" or re.fullmatch(r"cancelled job \d+ \(job\) of cell .*\n", printed)
        kernel.pump(lambda: kernel.value("first.state") == "'cancelled'", 5)


def test_job_with_own_try(kernel: Kernel) -> None:
    """A `try` of the job's own code is respected: the job comes to what that makes of it."""
    coroutine = "try: await asyncio.sleep(30)\nexcept asyncio.CancelledError: pass\n1"
    generator = "try: yield Deferred()\nexcept defer.CancelledError: pass\nreturn 1"
    for code in (coroutine, generator):
        kernel.ok(f"%%run_in_reactor job\n{code}\n")
        kernel.ok("await asyncio.sleep(0)\njob.cancel()")
        assert kernel.value("await job, job.state") == "(1, 'done')"
