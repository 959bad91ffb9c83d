"""What the user sets on the reactor or the log while a script lives stays when scripts end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel
from script_cells import SETUP, cancel, script

# What Scrapy's processes set.
SETS = """
import logging
from twisted.internet.base import BlockingResolver
reactor.installResolver(BlockingResolver())
reactor.getThreadPool().adjustPoolsize(maxthreads=7)
logging.getLogger().setLevel(7)
"""
RUNS = SETS + "reactor.callLater(0, reactor.stop)\nreactor.run()"
STATE = "(reactor.nameResolver, reactor.getThreadPool().max, logging.getLogger().level)"


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel in which a script waits, which has set all of it."""
    with Kernel() as one:
        one.ok(SETUP)
        one.ok(script(SETS + "reactor.run()", "waits"))
        yield one


@pytest.mark.parametrize("awaits", ["", "await deferLater(reactor, 0)\n"])
def test_set_while_a_script_waits(kernel: Kernel, awaits: str) -> None:
    """In a plain cell or an awaiting one: it is what the scripts that end later put back."""
    kernel.ok(awaits + SETS.replace("7", "23"))
    kernel.ok(f"before = {STATE}")
    assert kernel.value("before[1:]") == "(23, 23)"
    for code in (RUNS, script(RUNS)):
        kernel.ok(code)
        assert kernel.value(f"{STATE} == before") == "True", kernel.value(f"{STATE}, before")
    cancel(kernel, "waits")
    assert kernel.value(f"{STATE} == before") == "True", kernel.value(f"{STATE}, before")
