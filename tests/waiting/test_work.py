"""Work in the reactor thread, seen from the thread that waits: `_waiting.work`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from reactor_thread import in_reactor
from session import Session

from twisted_ipython._reactor.interrupt import STOPPED
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.cell_thread import BlockingThread
from twisted_ipython._waiting.work import WAITS_FOR_ITSELF, CellInfo, ReactorWork

SECONDS = 20


class Work(ReactorWork):
    """
    Calls a function in the reactor thread.

    Args:
        function: the function.
    """

    def __init__(self, function: Callable[[Work], object]) -> None:
        super().__init__(current(), BlockingThread(), CellInfo())
        self._function = function
        self._error: BaseException | None = None
        self._value: object = None
        self.stopped = 0

    def begin(self) -> None:
        """See `Waitable`."""
        self._reactor.call(self._call)

    def _call(self) -> None:
        self._value = self._function(self)
        self._end_wait()

    def end_again(self) -> None:
        """It is over, as it was."""
        self._end_wait()

    def check(self) -> float:
        """See `Waitable`."""
        return self._heartbeat.check()

    def interrupt(self) -> None:
        """See `Waitable`."""
        self._error = KeyboardInterrupt()
        self._end_wait()

    def stop(self) -> None:
        """See `ReactorWork`."""
        self.stopped += 1
        self._error = RuntimeError(STOPPED)
        self._end_wait()

    def result(self) -> object:
        """See `ReactorWork`."""
        if self._error is not None:
            raise self._error
        return self._value


def test_the_main_thread_waits_as_a_cell(session: Session) -> None:
    """What the main thread waits for is known meanwhile, and runs what it is sent there."""
    idents: list[int] = []
    ran = threading.Event()

    def here() -> None:
        idents.append(threading.get_ident())
        ran.set()

    def work(one: Work) -> bool:
        one.cell_thread.call(here)
        return ran.wait(SECONDS) and one.waits

    one = Work(work)
    assert one.wait_in_thread() is True
    assert not one.waits
    assert idents == [threading.get_ident()]
    assert one.stop not in current().on_stop


def test_another_thread_only_waits(session: Session) -> None:
    """A thread that runs no cells waits all the same, and is asked nothing."""
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(lambda: Work(lambda one: one.waits).wait_in_thread())
        assert waits.result(SECONDS) is False


def test_a_reactor_that_stops_ends_the_wait(session: Session) -> None:
    """Who waits when the reactor stops is told so, once."""

    def stop(one: Work) -> None:
        assert one.stop in current().on_stop
        one.stop()

    one = Work(stop)
    with pytest.raises(RuntimeError, match="The reactor was stopped"):
        one.wait_in_thread()
    assert one.stopped == 1


def test_done_is_told_once(session: Session) -> None:
    """Who asks is told once, however often it ends, and at once when it is over."""
    told: list[str] = []
    one = Work(lambda _: None)
    one.when_done(lambda: told.append("first"))
    one.interrupt()
    one.end_again()
    assert told == ["first"]
    one.when_done(lambda: told.append("second"))
    assert told == ["first", "second"]


@in_reactor
async def test_the_reactor_would_wait_for_itself() -> None:
    """In the reactor thread it says so, and does not wait for ever."""
    with pytest.raises(RuntimeError) as caught:
        Work(lambda _: None).wait_in_thread()
    assert str(caught.value) == WAITS_FOR_ITSELF
