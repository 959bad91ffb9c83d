"""
Work in the reactor thread that a cell thread waits for, seen from the thread that waits.

What the work is, how it ends early and what came of it is for the kinds of it
to say: an awaiting cell, and a call that another thread makes.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, NamedTuple, TypeVar

from twisted_ipython._base.frames import Label, in_files
from twisted_ipython._base.work_id import new_work
from twisted_ipython._reactor.interrupt import Heartbeat, wait_for
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._waiting.calls import main_thread
from twisted_ipython._waiting.cell_thread import CellThread, Waitable, run_blocking
from twisted_ipython._waiting.entry import runs_cells
from twisted_ipython._waiting.sigint import watch

_T = TypeVar("_T")

WAITS_FOR_ITSELF: Final = (
    "The reactor called this code, for a cell that does not await, and stands still until it"
    " returns: what waits for the reactor here would wait for ever"
)


class CellInfo(NamedTuple):
    """What is known of a cell: IPython's number, what was typed, and how places are written."""

    number: int = 0
    code: str = ""
    label: Label = in_files


class ReactorWork(Waitable):
    """
    One run of work.

    Attributes:
        context: what the work runs in.
        before: the same as it was before the work.
    """

    def __init__(self, reactor: ReactorThread, cell_thread: CellThread, cell: CellInfo) -> None:
        self.cell_thread = cell_thread
        self.cell = cell
        self.work_id = new_work(cell.number)
        self.given_up = False
        # Whether another thread than the main one waits.
        self._aside = cell_thread.thread != threading.main_thread().ident
        self._reactor = reactor
        self.context = copy_context()
        self.before = self.context.copy()
        self._heartbeat = Heartbeat(reactor, cell.label)
        self._over = False
        self._tells: list[Callable[[], object]] = []

    async def run(self) -> Any:
        """`wait`, and then the `result`."""
        await self.wait()
        return self.result()

    async def wait(self) -> None:
        """Run the code in the reactor thread until its end; what else ends the wait cancels it."""
        self._heartbeat.begin(WAITS_FOR_ITSELF)
        main_thread.cells[self.work_id] = self
        self._reactor.on_stop.append(self.stop)
        self._watch()
        try:
            await self.cell_thread.wait(self)
        except BaseException:
            self.interrupt()
            raise
        finally:
            self._reactor.on_stop.remove(self.stop)
            del main_thread.cells[self.work_id]
            self._watch()

    def wait_in_thread(self) -> Any:
        """Wait, blocking, and give the `result`: in a thread that runs cells as a cell does."""
        if runs_cells():
            run_blocking(self.wait())
        else:
            self._heartbeat.begin(WAITS_FOR_ITSELF)
            done = threading.Event()
            self.begin()
            self.when_done(done.set)
            wait_for(done, self.check)
        return self.result()

    def _watch(self) -> None:
        """Have the main thread take Ctrl-C for a cell that another thread waits for."""
        if self._aside:
            main_thread.call_once(watch)

    @abstractmethod
    def result(self) -> Any:
        """What came of it, or raise that.  Thread: cell, after `wait`."""

    @abstractmethod
    def stop(self) -> None:
        """The reactor stops.  Thread: reactor."""

    # ---- its end

    def _end_wait(self) -> None:
        """Have the cell thread go on; it will find what came of it.  Thread: any."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        with suppress(IndexError):  # it was told, maybe by another thread
            self._tells.pop()()

    # ---- what others ask of it

    @property
    def waits(self) -> bool:
        """See `Waitable`."""
        return main_thread.cells.get(self.work_id) is self and not self.given_up

    def in_context(self, function: Callable[[], _T]) -> _T:
        """See `Waitable`."""
        return self.context.copy().run(function)

    def extend_deadline(self, seconds: float) -> None:  # noqa: ARG002  # for a time limit
        """See `Waitable`."""
        self._heartbeat.extend_deadline()

    def when_done(self, call: Callable[[], object]) -> None:
        """See `Waitable`."""
        self._tells.append(call)
        if self._over:
            self._tell()
