"""Engines of ipyparallel's, each with a reactor of its own: run by `nox -s parallel`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

import pytest
from kernels import Execution, Kernel, fail

from twisted_ipython._base.tracebacks import WRAP_IT
from twisted_ipython._private.ipyparallel import OUTPUT_THREAD

START = """
import asyncio
import ipyparallel as ipp
cluster = ipp.Cluster(n=2, log_level=40)
cluster.start_cluster_sync()
client = cluster.connect_client_sync()
client.wait_for_engines(2, interactive=False, timeout=60)
view = client[:]
"""
SETUP = """%%px
%load_ext twisted_ipython
%autoawait twisted
from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A kernel with a client of two engines, which have loaded the extension."""
    with Kernel() as one:
        one.ok(START, seconds=90)
        try:
            one.ok(SETUP)
            yield one
        finally:
            one.run("client.close(); cluster.stop_cluster_sync()")


def plain(text: str) -> str:
    """A text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def shown(kernel: Kernel, ran: Execution) -> list[str]:
    """What a cell showed of the engines, sorted; text grows in place."""
    texts = []
    for message in ran.messages("display_data"):
        number = message["content"]["transient"].get("display_id")
        last = kernel.displays[number][-1] if number else message
        texts.append(plain(last["content"]["data"]["text/plain"]).strip())
    return sorted(texts)


def test_cells_that_await(kernel: Kernel) -> None:
    """They are answered, with text and value; `--noblock` gives an AsyncResult."""
    ran = kernel.ok("%%px\nprint(await deferLater(reactor, 0.01, lambda: 'printed'))\n6 * 7")
    assert shown(kernel, ran)[2:] == ["[stdout:0] printed", "[stdout:1] printed"]
    assert all(text.endswith(": 42") for text in shown(kernel, ran)[:2])
    ran = kernel.ok(
        "%%px --noblock -o later\nprint(await deferLater(reactor, 0.3, lambda: 'later'))"
    )
    assert ran.value == "<AsyncResult(%px): pending>"
    assert kernel.value(
        "_ = await asyncio.wrap_future(later); later.wait_for_output(10); later.stdout"
    ) == (r"['later\n', 'later\n']")


def test_failures_and_interrupts(kernel: Kernel) -> None:
    """A failure has the engine's line; Ctrl-C cancels what the engines await."""
    ran = fail(kernel, "%%px\nawait deferLater(reactor, 0.01)\nawait defer.fail(OSError('no'))")
    assert ran.error == "AlreadyDisplayedError"
    assert plain(ran.printed("stderr")).count("----> 2 await defer.fail(OSError('no'))") == 2
    kernel.ok("%px cancelled = []")
    ran = kernel.submit("%%px\nprint('began')\nawait defer.Deferred(cancelled.append)")
    kernel.pump(lambda: str(shown(kernel, ran)).count("began") == 2)
    kernel.interrupt()
    ran.wait(10)
    assert kernel.value("view.apply_sync(len, ipp.Reference('cancelled'))") == "[1, 1]"
    assert kernel.value("view['1 + 1'], 3") == "([2, 2], 3)"


def test_results_in_the_client(kernel: Kernel) -> None:
    """`await` of an AsyncResult says the way; `progress` takes it as it is, beside a coroutine."""
    kernel.ok("results = [view.apply_async(pow, 2, n) for n in range(3)]")
    ran = fail(kernel, "await results[0]")
    assert ran.error == "TypeError"
    assert ran.traceback.endswith(WRAP_IT)
    assert kernel.value("await asyncio.wrap_future(results[2])") == "[4, 4]"
    both = kernel.run(
        "from twisted_ipython import progress\n"
        "await progress([*results, client[0].apply_async(abs, -1), asyncio.sleep(0, 'slept')])"
    )
    assert both.value == "[[1, 1], [2, 2], [4, 4], 1, 'slept']"


def test_jobs(kernel: Kernel) -> None:
    """`%%px %%run_in_reactor` goes on; what it prints late is labelled in the next cell."""
    ran = kernel.ok(
        "%%px\n%%run_in_reactor job\nawait deferLater(reactor, 0.2, print, 'from job')\n'value'"
    )
    assert str(shown(kernel, ran)).count("<EventualResult job of cell") == 2
    ran = kernel.ok("%%px\nprint(await job)")
    texts = sorted(line for text in shown(kernel, ran) for line in text.splitlines())
    assert sum("] from job" in line and "from cell" in line for line in texts) == 2
    assert sum(line.endswith("value") for line in texts) == 2


def test_the_name_of_the_thread() -> None:
    """The client prints in threads of the class that is known to `_display.threads`."""
    found = hasattr(import_module("ipyparallel.util"), OUTPUT_THREAD)
    assert found, f"ipyparallel has no {OUTPUT_THREAD}, which 9.2 has: look for its new name"
