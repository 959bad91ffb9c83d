"""The runner, outside of any cell and in a shell without the extension."""

from __future__ import annotations

import asyncio
import threading

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from twisted_ipython._magics.runner import Runner, runner
from twisted_ipython._reactor.lifecycle import start


async def thread_of(seconds: float = 0) -> int:
    """Where it runs."""
    await asyncio.sleep(seconds)
    return threading.get_ident()


def test_a_coroutine_of_its_own() -> None:
    """It runs in the reactor thread; its name is the one that IPython shows."""
    assert runner(thread_of()) == start().ident
    assert (str(runner), repr(runner)) == ("twisted", "twisted_ipython.runner")


def test_time_limit() -> None:
    """What takes longer is cancelled."""
    with pytest.raises(TimeoutError):
        Runner(lambda: 0.05)(thread_of(60))


def test_in_the_reactor_thread() -> None:
    """There it would wait for itself, which it says; the coroutine is closed."""

    async def nested() -> int:
        return runner(thread_of())

    with pytest.raises(RuntimeError, match="was run in the reactor thread"):
        runner(nested())


def test_a_shell_without_the_extension() -> None:
    """Its cell is cut for as long as it runs: statements that await run in the reactor thread."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.loop_runner, shell.autoawait = runner, True
    shell.user_ns.update(thread_of=thread_of, ident=threading.get_ident)
    result = shell.run_cell("here = ident()\nplace = await thread_of()")
    result.raise_error()
    assert shell.user_ns["place"] == start().ident
    assert "run_ast_nodes" not in vars(shell)
