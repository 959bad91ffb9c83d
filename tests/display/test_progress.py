"""Many awaitables at once, with a bar: `progress`, in real kernels and a real terminal."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import nbformat.v4
import pytest
from kernels import SECONDS, Execution, Kernel
from nbclient import NotebookClient
from reactor_thread import Oops, forwards, in_reactor, later, logged
from shells import Shell
from terminals import Terminal
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed

from twisted_ipython import progress
from twisted_ipython._reactor.lifecycle import start

SETUP = """
import asyncio, threading
from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted_ipython import progress

async def after(seconds, value):
    await deferLater(reactor, seconds, lambda: None)
    return value
"""


def states(execution: Execution, name: str) -> list[Any]:
    """What the widgets that a cell made were told of one of their traits."""
    told = [
        m["content"]["data"].get("state", {}) for m in execution.outputs if "comm" in m["msg_type"]
    ]
    return [state[name] for state in told if name in state]


def test_results_in_order_and_a_bar(kernel: Kernel) -> None:
    """Of both worlds; the bar of the notebook has description, count, rate and time left."""
    cell = kernel.ok(
        "job = get_ipython().run_cell_magic('run_in_reactor', '', 'return await after(0.3, 1)')\n"
        "task = asyncio.create_task(after(0.2, 3))\n"
        "await progress([job, deferLater(reactor, 0.15, lambda: 2), task,\n"
        "                after(0.01, 4), asyncio.sleep(0.25, 5), defer.succeed(6)], 'fetching')"
    )
    assert cell.value == "[1, 2, 3, 4, 5, 6]"
    bars = cell.messages("display_data")
    assert "application/vnd.jupyter.widget-view+json" in bars[0]["content"]["data"]
    values = states(cell, "value")
    assert values[-3:-1] == [6.0, "fetching:\u2007100%"]
    assert re.search(r"6/6\u2007\[00:00&lt;00:00,[\u2007\d.]+it/s\]", values[-1])
    assert "success" in states(cell, "bar_style")
    assert len([value for value in values if isinstance(value, float)]) <= 6


def test_no_thread_looks_after_the_bar(kernel: Kernel) -> None:
    """tqdm's own thread is not started, and bars of the user's still have theirs."""
    names = "[n for n in map(lambda t: type(t).__name__, threading.enumerate()) if n == 'TMonitor']"
    kernel.ok("await progress([asyncio.sleep(0)])")
    assert kernel.value(names) == "[]"
    kernel.ok(
        "from tqdm import tqdm\nbar = tqdm(total=1, disable=False, file=open('/dev/null', 'w'))"
    )
    assert kernel.value(names) == "['TMonitor']"


def test_first_failure_cancels_the_rest(kernel: Kernel) -> None:
    """It is raised with the user's frames only, after what was cancelled has cleaned up."""
    kernel.ok(
        "async def cleans(n):\n"
        "    print('began', n)\n"
        "    try:\n"
        "        await Deferred(lambda _: print('cancelled', n))\n"
        "    finally:\n"
        "        await asyncio.sleep(0.01)\n"
        "        print('cleaned', n)\n"
        "async def fails():\n"
        "    await asyncio.sleep(0.05)\n"
        "    raise ValueError('first')"
    )
    cell = kernel.run("await progress([cleans(1), fails(), cleans(2)])")
    assert cell.error == "ValueError"
    ended = "cancelled 1\ncancelled 2\ncleaned 1\ncleaned 2\n"
    assert cell.printed() == f"began 1\nbegan 2\n{ended}"
    assert "twisted_ipython" not in cell.traceback
    assert "danger" in states(cell, "bar_style")


def test_ctrl_c_cancels_what_is_left(kernel: Kernel) -> None:
    """Deferreds, tasks and jobs; the next cell works."""
    waiting = kernel.submit(
        "job = get_ipython().run_cell_magic('run_in_reactor', '', 'await Deferred()')\n"
        "await progress([Deferred(lambda _: print('cancelled Deferred')), cleans(3), job,\n"
        "                defer.succeed(1)])"
    )
    waiting.wait_for("began 3")
    kernel.interrupt()
    waiting.wait()
    assert waiting.error == "KeyboardInterrupt"
    assert set(waiting.printed().split("\n")) >= {"cancelled Deferred", "cancelled 3", "cleaned 3"}
    assert "twisted_ipython" not in waiting.traceback
    assert kernel.value("job.state") == "'cancelled'"


def test_drawn_in_its_own_cell(kernel: Kernel) -> None:
    """The bar of a job goes on in the job's cell, whatever fires what it waits for."""
    job = kernel.ok(
        "%%run_in_reactor job\nglobal gates\ngates = [Deferred() for _ in range(4)]\n"
        "return await progress(gates);"
    )
    firing = kernel.ok("for gate in gates:\n    await asyncio.sleep(0.11)\n    gate.callback(1)")
    assert kernel.value("await job") == "[1, 1, 1, 1]"
    assert not [m for m in firing.outputs if m["msg_type"] in ("display_data", "stream")]
    assert len(job.messages("display_data")) == 1


def test_saved_as_it_was_in_the_end(kernel_name: str) -> None:
    """A notebook that nbclient runs keeps the last state of a bar, also of one that ends late."""
    codes = [
        "%load_ext twisted_ipython\n%autoawait twisted\nfrom twisted.internet.defer import succeed"
        + SETUP,
        "%%run_in_reactor job\nglobal go\nawait progress([succeed(1), go := Deferred()], 'job')",
        "await progress([after(0.01, n) for n in range(3)], 'own')",
        "go.callback(2)\nawait job",
    ]
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name=kernel_name, timeout=SECONDS).execute()
    shown = [one["data"]["text/plain"] for cell in cells for one in cell.outputs if "data" in one]
    assert [text[: text.index("[")] for text in shown if "%|" in text] == [
        "job: 100%|##########| 2/2 ",
        "own: 100%|##########| 3/3 ",
    ]


NO_TQDM = "import sys\nsys.modules['tqdm'] = None\n"


def test_lines_without_tqdm() -> None:
    """A few lines take its place, the last with the total, the time and the rate."""
    with Shell() as shell:
        shell.ok(NO_TQDM + SETUP)
        code = "await progress([after(n / 50, n) for n in range(30)], 'things') == list(range(30))"
        lines = shell.ok(code).splitlines()
        assert lines[-1].endswith("]: True")
        assert re.fullmatch(r"things: 30 of 30 in \d+ ms, [\d,]+/s", lines[-2])
        shown = [re.fullmatch(r"things: (\d+) of 30, \d+/s, \d+ ms left", s) for s in lines[:-2]]
        assert 2 <= len(shown) <= 9
        assert all(shown)


def test_terminal() -> None:
    """The terminal's bar in the cell that waits; of a job, lines above what is typed."""
    with Terminal(prompt_toolkit=True) as terminal:
        for line in ("import asyncio", "from twisted_ipython import progress"):
            terminal.run(line)
        shown = terminal.run("await progress([asyncio.sleep(n / 20, n) for n in range(6)], 'six')")
        assert re.search(r"six:  *\d+%\|", shown)
        assert re.search(r"six: 100%\|\S+\| 6/6 \[00:00<00:00, [ \d.]+it/s\]", shown)
        assert shown.endswith("[0, 1, 2, 3, 4, 5]")
        job = "return await progress([asyncio.sleep(0.2 + n / 20, n) for n in range(6)], 'job')"
        terminal.run(f"get_ipython().run_cell_magic('run_in_reactor', '', {job!r});")
        terminal.process.send("print('typed ' + 'before")
        terminal.expect("job: 6 of 6 in ")
        assert "%|" not in terminal.text
        assert terminal.run(" and after')").endswith("typed before and after")


# ---- in this process


@in_reactor
async def test_the_same_twice() -> None:
    """A future, a task or a Deferred that stands in several places gives its result in each."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(forwards(later("task")))
    deferred = later("Deferred")
    asyncio.get_running_loop().call_soon(future.set_result, "future")
    many = [future, task, deferred, future, task, deferred, future]
    assert await progress(many) == ["future", "task", "Deferred"] * 2 + ["future"]


@in_reactor
async def test_a_deferred_keeps_its_result() -> None:
    """It is passed on, failures too, which count as handled."""
    deferreds = [later("one", 0.01), succeed("two")]
    assert await progress(deferreds) == ["one", "two"]
    assert [await one for one in deferreds] == ["one", "two"]
    error = Oops()
    with logged() as errors:
        failed = [later(error, 0.01), fail(Oops()), succeed(3)]
        with pytest.raises(Oops) as caught:
            await progress(failed)
        assert caught.value is not error
        with pytest.raises(Oops):
            await failed[1]
        del failed, caught
    assert errors == []


@in_reactor
async def test_under_twisteds_driver() -> None:
    """A coroutine that Twisted drives awaits it, and cancelling that cancels what is left."""

    async def driven(part: Deferred[Any]) -> Any:
        return await progress([part, later(2, 0.01)])

    assert await ensureDeferred(driven(later(1, 0.02))) == [1, 2]
    part: Deferred[Any] = Deferred()
    driving = ensureDeferred(driven(part))
    driving.cancel()
    with pytest.raises(CancelledError):
        await driving
    assert part.called


@in_reactor
async def test_futures_of_threads() -> None:
    """Those of an executor are waited for as they are; the first failure cancels the rest."""
    with ThreadPoolExecutor(1) as pool:
        squares = [pool.submit(pow, number, 2) for number in range(3)]
        assert await progress([*squares, succeed(9)]) == [0, 1, 4, 9]
        never: Future[None] = Future()
        with pytest.raises(ZeroDivisionError):
            await progress([never, pool.submit(divmod, 1, 0)])
        assert never.cancelled()


@in_reactor
async def test_fired_in_other_threads() -> None:
    """Deferreds may be fired in any thread."""
    from twisted.internet.threads import deferToThread

    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(100)]
    firing = [deferToThread(one.callback, n) for n, one in enumerate(deferreds)]
    assert await progress(deferreds) == list(range(100))
    assert await progress(firing) == [None] * 100


@in_reactor
async def test_nothing_and_what_cannot_be_awaited() -> None:
    """An empty list needs no bar; what is no awaitable is named, and nothing is begun."""
    assert await progress([]) == []
    began: list[int] = []

    async def begins() -> None:
        began.append(1)

    coroutine = begins()
    with pytest.raises(TypeError, match=r"progress\(\) waits for awaitables, and item 1 is 5"):
        await progress([coroutine, 5])  # type: ignore[list-item]
    assert began == []
    await coroutine


def test_outside_of_the_reactor_thread() -> None:
    """It says where it can be awaited."""
    start()
    with pytest.raises(RuntimeError, match=r"outside of the reactor thread.*%autoawait twisted"):
        progress([succeed(1)]).send(None)
