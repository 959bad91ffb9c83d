"""The thread that waits, with our runner and others."""

from __future__ import annotations

from shells import Shell, run_python

RUNNING = """
import threading
from twisted_ipython import runner

async def work():
    import asyncio
    from twisted.internet import reactor, task
    await asyncio.sleep(0.01)
    return await task.deferLater(reactor, 0.01, threading.current_thread)

async def fail():
    raise KeyError("failed")

async def nest():
    return runner(work())

assert str(runner) == "twisted"
assert runner(work()).name == "CrochetReactor"
try:
    runner(fail())
except KeyError as error:
    assert error.args == ("failed",)
else:
    raise AssertionError
try:
    runner(nest())
except RuntimeError as error:
    assert "was run in the reactor thread" in str(error)
else:
    raise AssertionError
"""


def test_runner_runs_any_coroutine() -> None:
    """`twisted_ipython.runner` runs any coroutine in the reactor thread, or fails as it fails."""
    run = run_python("-W", "error", "-c", RUNNING)
    assert (run.returncode, run.stderr) == (0, "")


def test_old_runner_has_time_limit() -> None:
    """`twisted_ipython.async_runner.twisted_runner` runs a cell, with the limit of `config`."""
    with Shell(load=False) as shell:
        shell.ok("from twisted_ipython.async_runner import twisted_runner\nimport asyncio")
        shell.ok("from twisted_ipython.config import config\nimport threading")
        shell.ok("%autoawait twisted_runner")
        shell.ok("async def here(): return threading.current_thread().name")
        assert shell.value("await here()") == "'CrochetReactor'"
        assert shell.ok("config.set('timeout', 0.2)") == "timeout=0.2\n"
        assert shell.run("await asyncio.sleep(60)", seconds=10).error == "TimeoutError"


def test_runner_that_cannot_wait() -> None:
    """A cell that loads and awaits under a runner that is no loop's says what to do."""
    with Shell(load=False) as shell:
        shell.ok("get_ipython().loop_runner = 'sync'\nget_ipython().autoawait = True")
        cell = shell.run("%load_ext twisted_ipython\n%autoawait twisted\nawait f()")
        assert "Run `%autoawait twisted` in a cell before it" in cell.out
        shell.ok("async def f(): return 5")
        assert shell.value("await f()") == "5"
