"""What plain cells call of the loop is set while a statement runs: `_plain.loop_methods`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile

from interrupts import interrupted_at

from twisted_ipython._plain import loop_methods, sharing
from twisted_ipython._reactor.lifecycle import start


def test_methods_interrupted() -> None:
    """A Ctrl-C at any line of the beginning or the end leaves none of the loop's methods set."""
    thread = start()
    loop = thread.loop
    assert loop is not None
    sharing.attach(thread, on=True)
    before = set(vars(loop))

    def cell(number: int) -> bool:
        raised = interrupted_at(number, sharing.Statement(), loop_methods.__name__)
        sharing.leave()
        assert set(vars(loop)) == before
        with sharing.Statement():
            within = set(vars(loop))
            with sharing.Statement():  # of a cell that the statement runs
                pass
            assert set(vars(loop)) == within > before
        assert set(vars(loop)) == before
        return raised

    with ThreadPoolExecutor(1) as pool:
        try:
            numbers = list(takewhile(lambda n: pool.submit(cell, n).result(10), count()))
        finally:
            sharing.detach()
    assert len(numbers) > 20
