"""
The thread that a cell was typed in: how it waits, and runs what the cell sends back.

A `CellThread` is made where IPython runs the cell.  It waits in one of two ways: as a task
when a loop drives IPython's cell (a kernel's, see `_waiting.loop_thread`), which keeps that
loop turning; or blocking, when our own runner drives it (the terminal).
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar, cast

from twisted_ipython._base.running_loop import shared_off, shared_on
from twisted_ipython._private.asyncio import running_loop
from twisted_ipython._waiting.sigint import Interrupts

_T = TypeVar("_T")

AWAITS_MORE: Final = (
    "This coroutine awaits something outside of the reactor thread, which the `twisted` runner"
    " does not drive"
)


class Waitable(ABC):
    """What a cell thread waits for."""

    cell_thread: CellThread

    @property
    @abstractmethod
    def waits(self) -> bool:
        """Whether its cell thread waits for it.  Thread: any."""

    @abstractmethod
    def begin(self) -> None:
        """Start it; a Ctrl-C is one for it from now on.  Thread: cell."""

    @abstractmethod
    def when_done(self, call: Callable[[], object]) -> None:
        """Call ``call`` once it is done.  Thread: any."""

    @abstractmethod
    def check(self) -> float:
        """Look after the work; gives the seconds until the next check.  Thread: cell."""

    @abstractmethod
    def interrupt(self) -> None:
        """Take one Ctrl-C.  Thread: cell."""

    @abstractmethod
    def in_context(self, function: Callable[[], _T]) -> _T:
        """What ``function`` gives in its context.  Thread: any."""

    @abstractmethod
    def extend_deadline(self, seconds: float) -> None:
        """The reactor could not answer for so long.  Thread: cell."""

    def put_off(self) -> AbstractContextManager[object]:
        """Within, the cell thread, which blocks, runs what it was sent.  Thread: cell."""
        return nullcontext()


class CellThread(Protocol):
    """Where a cell was typed."""

    thread: int

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function``, which must not raise, in the cell thread.  Thread: any."""

    async def wait(self, cell: Waitable) -> None:
        """Wait for ``cell``, running what is sent.  Thread: cell."""


class BlockingThread:
    """
    A cell thread that blocks while it waits; `run_blocking` drives its cell.

    Attributes:
        interrupted: whether a Ctrl-C came as the wait ended, too late for the cell.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.interrupted = False
        # None to have the wait see that it is over.
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

        with Interrupts(cell.interrupt, self._calls.put, blocks=True) as interrupts, shared_off():
            patience = cell.check()
            cell.begin()
            cell.when_done(finish)
            while not done:
                try:
                    function = self._calls.get(timeout=patience)
                except Empty:
                    patience = cell.check()
                    continue
                if function is not None:
                    with cell.put_off(), shared_on():
                        interrupts.run(function)
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


def is_blocking() -> bool:
    """Whether `run_blocking` drives the code that asks, and no loop that was started inside."""
    return _driving.blocking and _driving.loop is running_loop()


def run_blocking(coro: Coroutine[Any, Any, _T]) -> _T:
    """Drive a coroutine to its end, blocking while it waits for the reactor, and nothing else."""
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        before = _driving.blocking, _driving.loop
        _driving.blocking, _driving.loop = True, running_loop()
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
