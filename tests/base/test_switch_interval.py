"""How long a thread keeps the interpreter: `_base.switch_interval`."""

from __future__ import annotations

import sys
import threading
from time import perf_counter, sleep

import pytest

from twisted_ipython._base.switch_interval import BRIEF, turns_of


def test_whiles_overlap() -> None:
    """The latest interval counts; what stood before comes back with the last, in any order."""
    before = sys.getswitchinterval()
    one, two = turns_of(0.5), turns_of(0.25)
    with one:
        assert sys.getswitchinterval() == 0.5
        two.__enter__()
        assert sys.getswitchinterval() == 0.25
    assert sys.getswitchinterval() == 0.25
    two.__exit__(None, None, None)
    assert sys.getswitchinterval() == before


def test_failure_within() -> None:
    """What stood before comes back after an exception too."""
    before = sys.getswitchinterval()
    with pytest.raises(KeyboardInterrupt), turns_of(0.5):
        raise KeyboardInterrupt
    assert sys.getswitchinterval() == before


def test_beside_a_loop() -> None:
    """Calls that let the interpreter go take a fifth of the time, at most, beside a loop."""
    ends = threading.Event()

    def loop() -> None:
        while not ends.is_set():
            pass

    def calls() -> float:
        begun = perf_counter()
        for _ in range(50):
            sleep(1e-5)
        return perf_counter() - begun

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        usual = calls()
        with turns_of(BRIEF):
            # The least: another process may have both processors for a while.
            assert min(calls() for _ in range(5)) < usual / 5
    finally:
        ends.set()
        thread.join()
