"""
The thread that a cell was typed in: how it waits, and runs what the cell sends back.

A `CellThread` is made where IPython runs the cell.  It waits in one of two ways: as an
asyncio task when a loop drives IPython's cell (ipykernel), which keeps that
loop turning; or blocking, when our own runner drives it (the terminal).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar, cast

from twisted_ipython._waiting.sigint import Interrupts

__all__ = [
    "BlockingThread",
    "CellThread",
    "Waitable",
    "current_thread",
    "is_blocking",
    "run_blocking",
]

_T = TypeVar("_T")

# Seconds that a loop may stand still for a cell.
_SOON: Final = 0.001

NO_LOOP: Final = (
    "IPython runs this cell with a runner that is neither asyncio's nor twisted_ipython's, so the"
    " cell cannot wait for the reactor thread. Run `%autoawait twisted` in a cell before it."
)
AWAITS_MORE: Final = (
    "This coroutine awaits something outside of the reactor thread, which the `twisted` runner"
    " does not drive"
)


class Waitable(Protocol):
    """What a cell thread waits for."""

    def begin(self) -> None:
        """Start it; the cell thread, in which a Ctrl-C is one for it from now on."""

    def when_done(self, call: Callable[[], object]) -> None:
        """Call ``call`` once it is done.  Thread: any."""

    def interrupt(self) -> None:
        """Take one Ctrl-C.  Thread: cell."""

    def look(self) -> float:
        """Look after the work; gives the seconds until the next look.  Thread: cell."""

    def put_off(self) -> None:
        """The cell thread, which blocks, runs what it was sent, until `go_on`."""

    def go_on(self) -> None:
        """See `put_off`."""


class CellThread(Protocol):
    """Where a cell was typed."""

    thread: int

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function``, which must not raise, in the cell thread.  Thread: any."""

    async def wait(self, cell: Waitable) -> None:
        """Wait for ``cell``, running what is sent.  Thread: cell."""


class LoopThread:
    """
    A cell thread that runs an asyncio loop, which goes on turning while it waits.

    Most cells end before a loop could have turned: for those it blocks `_SOON` seconds,
    unless it is sent something.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.thread = threading.get_ident()
        self._loop = loop
        self._interrupts: Interrupts | None = None
        # Whatever ends the blocking.
        self._stirs: SimpleQueue[None] = SimpleQueue()

    def call(self, function: Callable[[], object]) -> None:
        """See `CellThread`."""
        self._loop.call_soon_threadsafe(self._run, function)
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
                self._loop.call_soon_threadsafe(wake)

        self._interrupts = Interrupts(cell.interrupt, self._loop.call_soon_threadsafe)
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

    async def _turn(
        self, cell: Waitable, done: list[bool], wakes: list[Callable[[], object]]
    ) -> None:
        """Let the loop turn until the cell is done; what ends it is to call ``wakes``."""
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


class BlockingThread:
    """
    A cell thread that blocks while it waits; `run_blocking` drives its cell.

    Attributes:
        interrupted: whether a Ctrl-C came as the wait ended, too late for the cell.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.interrupted = False
        # None to have the wait look whether it is over.
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

    def call(self, function: Callable[[], object]) -> None:
        """See `CellThread`."""
        self._calls.put(function)

    async def wait(self, cell: Waitable) -> None:
        """See `CellThread`."""
        await _Block(lambda: self._serve(cell))

    def _serve(self, cell: Waitable) -> None:
        done: list[bool] = []

        def finish() -> None:
            done.append(True)
            self._calls.put(None)

        with Interrupts(cell.interrupt, self._calls.put, blocks=True) as interrupts:
            patience = cell.look()
            cell.begin()
            cell.when_done(finish)
            while not done:
                try:
                    function = self._calls.get(timeout=patience)
                except Empty:
                    patience = cell.look()
                    continue
                if function is not None:
                    cell.put_off()
                    try:
                        interrupts.run(function)
                    finally:
                        cell.go_on()
        self.interrupted = interrupts.pending


class _Block:
    """What a coroutine awaits to have `run_blocking` call a function that blocks."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def __await__(self) -> Generator[_Block, None, None]:
        yield self


class _Driving(threading.local):
    """What this thread is stepping a coroutine with: `run_blocking`, inside of which loop."""

    blocking = False
    loop: asyncio.AbstractEventLoop | None = None


_driving = _Driving()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def is_blocking() -> bool:
    """Whether `run_blocking` drives the code that asks, and no loop that was started inside."""
    return _driving.blocking and _driving.loop is _running_loop()


def current_thread() -> CellThread:
    """
    This thread, for a cell that IPython runs in it.

    Raises:
        RuntimeError: nothing that could wait runs the cell.
    """
    if is_blocking():
        return BlockingThread()
    loop = _running_loop()
    if loop is None:
        raise RuntimeError(NO_LOOP)
    return LoopThread(loop)


def run_blocking(coro: Coroutine[Any, Any, _T]) -> _T:
    """
    Drive a coroutine of IPython's to its end, blocking while it waits for the reactor thread.

    Raises:
        RuntimeError: in the coroutine, if it awaits anything else.

    Thread: any but the reactor's.
    """
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        before = _driving.blocking, _driving.loop
        _driving.blocking, _driving.loop = True, _running_loop()
        try:
            awaited = step(value)
        except StopIteration as stop:
            return cast(_T, stop.value)
        finally:
            _driving.blocking, _driving.loop = before
        try:
            if not isinstance(awaited, _Block):
                raise RuntimeError(AWAITS_MORE)
            awaited.function()
        except BaseException as error:
            step, value = coro.throw, error
        else:
            step, value = coro.send, None
