"""
A cell thread that a loop drives, asyncio's or trio's, which goes on turning while it waits.

The thread that a cell was typed in, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from twisted_ipython._base.running_loop import loop_of_thread, runs_trio
from twisted_ipython._waiting.cell_thread import BlockingThread, CellThread, Waitable, is_blocking
from twisted_ipython._waiting.sigint import Interrupts

# Seconds that a loop may stand still for a cell.
_SOON: Final = 0.001

NO_LOOP: Final = (
    "IPython runs this cell with a runner that is neither asyncio's nor twisted_ipython's, so the"
    " cell cannot wait for the reactor thread. Run `%autoawait twisted` in a cell before it."
)


class _TurningThread(ABC):
    """
    A cell thread whose loop goes on turning while it waits.

    Most cells end before a loop could have turned: for those it blocks `_SOON` seconds,
    unless it is sent something.

    Args:
        post: has the loop call something; any thread.
    """

    def __init__(self, post: Callable[..., object]) -> None:
        self.thread = threading.get_ident()
        self._post = post
        self._interrupts: Interrupts | None = None
        # Whatever ends the blocking.
        self._stirs: SimpleQueue[None] = SimpleQueue()

    def call(self, function: Callable[[], object]) -> None:
        """See `CellThread`."""
        self._post(self._run, function)
        self._stirs.put(None)

    def _run(self, function: Callable[[], object]) -> None:
        if self._interrupts is None:  # the wait is over
            function()
        else:
            self._interrupts.run(function)

    async def wait(self, cell: Waitable) -> None:
        """See `CellThread`.  A cancellation of the waiting task counts as an interrupt."""
        done: list[bool] = []
        wakes: list[Callable[[], object]] = []

        def finish() -> None:
            done.append(True)
            self._stirs.put(None)
            for wake in wakes:  # none if it still blocks, and then sees that it is done
                self._post(wake)

        self._interrupts = Interrupts(cell.interrupt, self._post)
        try:
            with self._interrupts:
                cell.begin()
                cell.when_done(finish)
                with suppress(Empty):
                    self._stirs.get(timeout=_SOON)
                if not done:
                    await self._turn(cell, done, wakes)
        finally:
            self._interrupts = None

    @abstractmethod
    async def _turn(
        self, cell: Waitable, done: list[bool], wakes: list[Callable[[], object]]
    ) -> None:
        """Let the loop turn until the cell is done; what ends it is to call ``wakes``."""


class LoopThread(_TurningThread):
    """
    A cell thread that runs an asyncio loop.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop.call_soon_threadsafe)
        self._loop = loop

    async def _turn(
        self, cell: Waitable, done: list[bool], wakes: list[Callable[[], object]]
    ) -> None:
        ends = asyncio.Event()
        wakes.append(ends.set)
        with _Clock(self._loop, cell):
            while not done:
                try:
                    await ends.wait()
                except asyncio.CancelledError:
                    cell.interrupt()


class _Clock:
    """Has a cell look after its work, in a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cell: Waitable) -> None:
        self._loop = loop
        self._cell = cell
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._cell.look(), self.__enter__)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


class TrioThread(_TurningThread):
    """A cell thread that trio runs, as async-kernel's does with that backend."""

    def __init__(self) -> None:
        self._trio: Any = sys.modules["trio"]
        super().__init__(self._trio.lowlevel.current_trio_token().run_sync_soon)

    async def _turn(
        self, cell: Waitable, done: list[bool], wakes: list[Callable[[], object]]
    ) -> None:
        ends = self._trio.Event()
        wakes.append(ends.set)
        cancelled = False  # trio cancels again at every wait that is not shielded
        while not done:
            try:
                with self._trio.CancelScope(shield=cancelled) as scope:
                    scope.deadline = self._trio.current_time() + cell.look()
                    await ends.wait()
            except self._trio.Cancelled:
                cancelled = True
                cell.interrupt()


def current_thread() -> CellThread:
    """
    This thread, for a cell that IPython runs in it.

    Raises:
        RuntimeError: nothing that could wait runs the cell.

    Thread: cell.
    """
    if is_blocking():
        return BlockingThread()
    if runs_trio():
        return TrioThread()
    loop = loop_of_thread()
    if loop is None:
        raise RuntimeError(NO_LOOP)
    return LoopThread(loop)
