"""What a kernel's messages share of the reactor: `_plain.sharing`, with stand-ins for kernels."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from session import Session

from twisted_ipython._base.loans import loans
from twisted_ipython._base.running_loop import is_switched
from twisted_ipython._plain.sharing import Statement, attach_to_kernel, detach, shares, switch
from twisted_ipython._reactor.lifecycle import current


def test_comms_of_a_kernel() -> None:
    """Its callbacks of comms are wrapped, and put back; what somebody else has set stays."""

    def opened(_: str) -> str:
        return "opened"

    def other() -> None: ...

    kernel = SimpleNamespace(shell_handlers={"comm_open": opened, "comm_msg": int, "kernel": int})
    undo = attach_to_kernel(kernel)
    assert kernel.shell_handlers["comm_open"] is not opened
    assert kernel.shell_handlers["comm_open"]("a stream") == "opened"
    assert kernel.shell_handlers["kernel"] is int
    kernel.shell_handlers["comm_msg"] = other
    undo()
    assert kernel.shell_handlers == {"comm_open": opened, "comm_msg": other, "kernel": int}


def test_no_kernel() -> None:
    """At a terminal there is nothing to wrap."""
    attach_to_kernel(None)()


def test_statement(session: Session) -> None:
    """Within, the reactor's loop is found; with sharing switched off, it is not."""
    loop: Any = session.ok("reactor")._asyncioEventloop
    seen: list[Any] = []
    look = shares(lambda: seen.append(is_switched() and asyncio.get_event_loop()))
    look()
    with Statement():
        look()
        assert is_switched()
    assert seen == [loop, loop]
    switch(on=False)
    look()
    switch(on=True)
    assert seen[2] is False
    assert not is_switched()


WAITS = {
    "reactor.run": "reactor.callLater(0.05, reactor.stop); reactor.run()",
    "run_until_complete": "loop.run_until_complete(asyncio.sleep(0.05))",
    "a result": "job.wait(9)",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_while_its_thread_waits(session: Session, wait: str) -> None:
    """The loop's methods are its own for the reactor thread, and borrow in what is called back."""
    session.ok("%autoawait twisted")
    session.ok(
        "import asyncio; from twisted_ipython import in_main_thread\n"
        "loop, seen = reactor._asyncioEventloop, {}\n"
        "def note(when): seen[when] = hasattr(loop.call_later, '__wrapped__')\n"
        "async def visit():\n"
        "    note('waits')\n"
        "    await in_main_thread(note, 'called back')\n"
    )
    session.ok(
        "job = get_ipython().run_cell_magic('run_in_reactor', '', 'await asyncio.sleep(.3)')"
    )
    session.ok(f"note('before'); visiting = asyncio.ensure_future(visit())\n{wait}; note('after')")
    seen = session.ok("await visiting; seen")
    called_back = seen.pop("called back")
    assert seen == {"before": True, "waits": False, "after": True}
    assert called_back or "job" in wait  # which is called back by the cell after it


def test_detached(session: Session) -> None:
    """Nothing is left on the loop, nor on asyncio's logger; attached again it is as before."""
    loop: Any = session.ok("reactor")._asyncioEventloop
    filters = logging.getLogger("asyncio").filters
    before = len(filters)
    detach(current())
    assert not loans.on
    assert len(filters) == before - 1
    assert "run_until_complete" not in vars(loop)
    with Statement():
        assert not is_switched()
    session.ok("%unload_ext twisted_ipython\n%load_ext twisted_ipython")
    assert loans.on
    assert len(filters) == before
