"""Ctrl-C while the main thread waits: the handler that stands then, and what it puts back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import sleep
from typing import Any

import pytest

from twisted_ipython._waiting.sigint import Breakable, Interrupts, watch


@pytest.fixture(autouse=True)
def _same_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def _mine(_number: int, _frame: Any) -> None:
    """A handler of the user's."""


def _post_at_once(call: Callable[[], object]) -> None:
    call()


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN, _mine])
def test_stands_while_a_cell_waits(before: Any, blocks: bool) -> None:
    """A SIGINT within is the cell's, the inner wait's too; the handler before is put back."""
    signal.signal(signal.SIGINT, before)
    taken: list[str] = []
    with Interrupts(lambda: taken.append("outer"), _post_at_once, blocks=blocks):
        assert signal.getsignal(signal.SIGINT) is not before
        signal.raise_signal(signal.SIGINT)
        assert taken == ["outer"]
        with Interrupts(lambda: taken.append("inner"), _post_at_once, blocks=blocks):
            signal.raise_signal(signal.SIGINT)
        assert taken == ["outer", "outer", "inner"]
        signal.raise_signal(signal.SIGINT)
    assert taken == ["outer", "outer", "inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_set_meanwhile_stays() -> None:
    """A handler that is set while a cell waits is not taken off when the wait ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Interrupts(lambda: None, _post_at_once):
        signal.signal(signal.SIGINT, _mine)
    assert signal.getsignal(signal.SIGINT) is _mine


@pytest.mark.parametrize("blocks", [False, True])
def test_what_runs_for_a_cell_is_broken(blocks: bool) -> None:
    """A SIGINT breaks what the main thread runs for the cell, once; then it is the cell's."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    taken: list[str] = []
    ran: list[str] = []

    def magic() -> None:
        ran.append("begun")
        signal.raise_signal(signal.SIGINT)
        ran.append("not broken")

    with Interrupts(lambda: taken.append("cell"), _post_at_once, blocks=blocks) as interrupts:
        interrupts.run(magic)
        assert (ran, taken) == (["begun"], ["cell"])
        interrupts.run(lambda: ran.append("next"))
        signal.raise_signal(signal.SIGINT)
    assert (ran, taken) == (["begun", "next"], ["cell", "cell"])


def test_a_kernel_that_idles() -> None:
    """The SIGINT that an idle kernel ignores is the cells' of other threads, while any waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    taken: list[str] = []
    waits, ends = threading.Event(), threading.Event()

    def wait() -> None:
        with Interrupts(lambda: taken.append("cell"), _post_at_once):
            waits.set()
            ends.wait(5)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(5)
    watch()
    signal.raise_signal(signal.SIGINT)
    assert taken == ["cell"]
    ends.set()
    thread.join()
    watch()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_broken_off_in_any_thread() -> None:
    """A function is broken off once in the thread that calls it, and that thread goes on."""
    begun, ended = threading.Event(), threading.Event()
    raised: list[str] = []

    def work() -> None:
        begun.set()
        while True:
            sleep(0.001)

    one = Breakable(work)

    def call() -> None:
        try:
            one()
        except KeyboardInterrupt:
            raised.append("KeyboardInterrupt")
        one.break_off()  # nothing runs any more
        for _ in range(1000):
            pass
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    assert begun.wait(5)
    one.break_off()
    one.break_off()
    assert ended.wait(5)
    assert raised == ["KeyboardInterrupt"]


def test_too_late_to_break_off() -> None:
    """An exception that is set as the function ends is raised there, or taken back; never later."""
    one = Breakable(lambda: None)
    later: list[str] = []
    for _ in range(2000):
        breaks = threading.Thread(target=one.break_off)
        breaks.start()
        with suppress(KeyboardInterrupt):
            one()
        try:
            breaks.join()
        except KeyboardInterrupt:
            later.append("KeyboardInterrupt")
    assert later == []
