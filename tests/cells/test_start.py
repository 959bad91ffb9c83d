"""The reactor thread for a first cell that awaits."""

from __future__ import annotations

import pytest
from reactor_thread import in_reactor

from twisted_ipython._cells.start import reactor_thread
from twisted_ipython._reactor.lifecycle import start


def test_for_a_caller_in_another_thread() -> None:
    """It is the one of the process, which stays the same."""
    assert reactor_thread() is start()


@in_reactor
async def test_in_the_reactor_thread() -> None:
    """There code that awaits would wait for itself, which is said with what to do."""
    with pytest.raises(RuntimeError, match=r"for ever\. Say there: await in_main_thread"):
        reactor_thread()
