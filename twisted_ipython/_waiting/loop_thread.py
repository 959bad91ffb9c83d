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
from functools import partial
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
        self._done = False
        # Ends the wait in the loop; none while it blocks, and then sees that it is done.
        self._wake: Callable[[], object] | None = None

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
        self._interrupts = Interrupts(cell.interrupt, self._post)
        try:
            with self._interrupts:
                cell.begin()
                cell.when_done(self._finish)
                with suppress(Empty):
                    self._stirs.get(timeout=_SOON)
                if not self._done:
                    await self._turn(cell)
        finally:
            self._interrupts = None

    def _finish(self) -> None:
        self._done = True
        self._stirs.put(None)
        if self._wake is not None:
            self._post(self._wake)

    @abstractmethod
    async def _turn(self, cell: Waitable) -> None:
        """Let the loop turn until it is done."""


class LoopThread(_TurningThread):
    """A cell thread that runs an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop.call_soon_threadsafe)
        self._loop = loop

    async def _turn(self, cell: Waitable) -> None:
        ends = self._loop.create_future()
        self._wake = partial(ends.set_result, None)
        while not self._done:
            try:
                await asyncio.wait([ends], timeout=cell.check())
            except asyncio.CancelledError:
                cell.interrupt()


class TrioThread(_TurningThread):
    """A cell thread that trio runs, as async-kernel's does with that backend."""

    def __init__(self) -> None:
        self._trio: Any = sys.modules["trio"]
        super().__init__(self._trio.lowlevel.current_trio_token().run_sync_soon)

    async def _turn(self, cell: Waitable) -> None:
        ends = self._trio.Event()
        self._wake = ends.set
        cancelled = False  # trio cancels again at every wait that is not shielded
        while not self._done:
            try:
                with self._trio.CancelScope(shield=cancelled) as scope:
                    scope.deadline = self._trio.current_time() + cell.check()
                    await ends.wait()
            except self._trio.Cancelled:
                cancelled = True
                cell.interrupt()


def current_thread() -> CellThread:
    """This thread, for a cell that IPython runs in it and that can wait here.  Thread: cell."""
    if is_blocking():
        return BlockingThread()
    if runs_trio():
        return TrioThread()
    loop = loop_of_thread()
    if loop is None:
        raise RuntimeError(NO_LOOP)
    return LoopThread(loop)
