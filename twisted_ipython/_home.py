"""
The thread that a cell was typed in: how it waits, and runs what the cell sends back.

A home is made where IPython runs the cell.  It waits in one of two ways: as an
asyncio task when a loop drives IPython's cell (ipykernel), which keeps that
loop turning; or blocking, when our own runner drives it (the terminal).

Ctrl-C.  One handler of SIGINT stands while the main thread waits, and posts an
interrupt to every home that waits, in whatever thread.  When only other threads
wait, `watch` has the same done where a kernel ignores SIGINT: between its cells.
A plain cell of the main thread gets Python's own KeyboardInterrupt; if that
ends it, `pass_on` has the others end too.  An idle prompt of a terminal keeps an
interrupt to itself.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, Protocol, Self, TypeVar, cast

__all__ = [
    "BlockingHome",
    "Home",
    "Waits",
    "home",
    "is_blocking",
    "pass_on",
    "run_blocking",
    "watch",
]

_T = TypeVar("_T")

NO_LOOP: Final = (
    "IPython runs this cell with a runner that is neither asyncio's nor twisted_ipython's, so the"
    " cell cannot wait for the reactor thread. Say `%autoawait twisted` in a cell before it."
)
AWAITS_MORE: Final = (
    "This coroutine awaits something outside of the reactor thread, which the `twisted` runner"
    " does not drive"
)


class Waits(Protocol):
    """What a home waits for."""

    def begin(self) -> None:
        """Start it; the home's thread, in which a Ctrl-C is one for it from now on."""

    def when_done(self, call: Callable[[], object]) -> None:
        """Call ``call`` once it is done; any thread."""

    def interrupt(self) -> None:
        """Take one Ctrl-C; the home's thread."""

    def look(self) -> float:
        """Look after the work; gives the seconds until the next look.  The home's thread."""


class Home(Protocol):
    """Where a cell was typed."""

    thread: int

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function``, which must not raise, in the home's thread.  Any thread."""

    async def wait(self, cell: Waits) -> None:
        """Wait for ``cell``, running what is sent.  The home's thread."""


class LoopHome:
    """A home whose thread runs an asyncio loop, which goes on turning while it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.thread = threading.get_ident()
        self._loop = loop
        self._interrupts: _Interrupts | None = None

    def call(self, function: Callable[[], object]) -> None:
        """See `Home`."""
        self._loop.call_soon_threadsafe(self._run, function)

    def _run(self, function: Callable[[], object]) -> None:
        if self._interrupts is None:  # the wait is over
            function()
        else:
            self._interrupts.run(function)

    async def wait(self, cell: Waits) -> None:
        """See `Home`.  A cancellation of the waiting task counts as an interrupt."""
        done: list[bool] = []
        wakes = asyncio.Event()

        def finish() -> None:
            done.append(True)  # seen at once, if the cell has ended by then
            self._loop.call_soon_threadsafe(wakes.set)

        self._interrupts = _Interrupts(cell, self._loop.call_soon_threadsafe)
        try:
            with self._interrupts, _Clock(self._loop, cell):
                cell.begin()
                cell.when_done(finish)
                while not done:
                    try:
                        await wakes.wait()
                    except asyncio.CancelledError:
                        cell.interrupt()
        finally:
            self._interrupts = None


class _Clock:
    """Has a cell look after its work, in a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cell: Waits) -> None:
        self._loop = loop
        self._cell = cell
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._cell.look(), self.__enter__)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


class BlockingHome:
    """
    A home that blocks its thread while it waits; `run_blocking` drives its cell.

    Attributes:
        interrupted: whether a Ctrl-C came as the wait ended, too late for the cell.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.interrupted = False
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def call(self, function: Callable[[], object]) -> None:
        """See `Home`."""
        self._calls.put(function)

    async def wait(self, cell: Waits) -> None:
        """See `Home`."""
        await _Block(lambda: self._serve(cell))

    def _serve(self, cell: Waits) -> None:
        done: list[bool] = []

        def finish() -> None:
            done.append(True)
            self._calls.put(lambda: None)

        with _Interrupts(cell, self._calls.put) as interrupts, interrupts.blocking():
            cell.begin()
            cell.when_done(finish)
            while not done:
                try:
                    function = self._calls.get(timeout=cell.look())
                except Empty:
                    continue
                interrupts.run(function)
        self.interrupted = interrupts.pending


class _Interrupts:
    """
    Takes Ctrl-C for a cell while its home waits.

    What the main thread runs for the cell meanwhile is broken by a
    KeyboardInterrupt instead, as it would be in a plain cell.

    Attributes:
        pending: whether there was a Ctrl-C that the cell has not got yet.
    """

    def __init__(self, cell: Waits, post: Callable[[Callable[[], object]], object]) -> None:
        self._cell = cell
        self._post = post
        self._main = threading.current_thread() is threading.main_thread()
        self.pending = False

    def __enter__(self) -> Self:
        _sigint.waiting.append(self)
        if self._main:
            _sigint.enter()
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            _sigint.leave()
        _sigint.waiting.remove(self)

    def run(self, function: Callable[[], object]) -> None:
        """Run what the cell sent; a Ctrl-C that comes as it ends is one for the cell."""
        if not self._main:
            function()
            return
        try:
            with _sigint.running(self):
                function()
        except KeyboardInterrupt:
            _sigint.forget(self)
            self._cell.interrupt()

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Within, this waits, whatever the thread was running before."""
        if not self._main:
            yield
            return
        with _sigint.running(None):
            yield

    def interrupt(self) -> None:
        """
        Have the home take a Ctrl-C.  Any thread.

        A handler runs between any two lines of the main thread's: the interrupt
        is taken where the home waits, which this also wakes.
        """
        self.pending = True
        with suppress(RuntimeError):  # its loop is closed: nothing waits any more
            self._post(self._take)

    def _take(self) -> None:
        self.pending = False
        if self in _sigint.waiting:
            self._cell.interrupt()


class _Sigint:
    """
    What SIGINT does while cells wait: it interrupts all of them, whatever their threads.

    Attributes:
        waiting: the cells that are waited for.
    """

    def __init__(self) -> None:
        self.waiting: list[_Interrupts] = []
        # What the main thread runs for a cell, the innermost last; None for a wait inside.
        self._running: list[_Interrupts | None] = []
        self._waits = 0
        self._before: Any = None

    def enter(self) -> None:
        """The main thread begins to wait for a cell."""
        self._waits += 1
        if self._waits == 1:
            # None: a handler that is not Python's, which could not be put back.
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is not None:
                signal.signal(signal.SIGINT, self._interrupted)

    def leave(self) -> None:
        """The main thread waits no more for a cell."""
        self._waits -= 1
        if self._waits or self._before is None:
            return
        if signal.getsignal(signal.SIGINT) == self._interrupted:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def running(self, what: _Interrupts | None) -> Iterator[None]:
        """Within, the main thread runs something for a cell, or waits inside of that."""
        depth = len(self._running)
        self._running.append(what)
        try:
            yield
        finally:
            del self._running[depth:]

    def forget(self, what: _Interrupts) -> None:
        """A KeyboardInterrupt ended what ran; it may have come before `running` noted the end."""
        if what in self._running:
            del self._running[self._running.index(what) :]

    def watch(self) -> None:
        """
        Take the SIGINT that a kernel ignores while it idles, as long as any cell waits.

        In the main thread.
        """
        current = signal.getsignal(signal.SIGINT)
        if self.waiting and current is signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupted_while_idle)
        elif not self.waiting and current == self._interrupted_while_idle:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def pass_on(self) -> None:
        """A Ctrl-C has ended a plain cell of this thread: it is one for all who wait, too."""
        if threading.current_thread() is threading.main_thread() and not self._waits:
            self._interrupt_all()

    def _interrupted_while_idle(self, _number: int, _frame: FrameType | None) -> None:
        self._interrupt_all()

    def _interrupt_all(self) -> None:
        for one in self.waiting.copy():
            one.interrupt()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        broken = self._running[-1] if self._running else None
        for one in self.waiting.copy():
            if one is not broken:
                one.interrupt()
        if broken is not None:
            signal.default_int_handler(number, frame)


_sigint: Final = _Sigint()
watch: Final = _sigint.watch
pass_on: Final = _sigint.pass_on


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


def home() -> Home:
    """
    The home for a cell that IPython runs here, in this thread.

    Raises:
        RuntimeError: nothing that could wait runs the cell.
    """
    if is_blocking():
        return BlockingHome()
    loop = _running_loop()
    if loop is None:
        raise RuntimeError(NO_LOOP)
    return LoopHome(loop)


def run_blocking(coro: Coroutine[Any, Any, _T]) -> _T:
    """
    Drive a coroutine of IPython's to its end, blocking while it waits for the reactor thread.

    Any thread but the reactor's.

    Raises:
        RuntimeError: in the coroutine, if it awaits anything else.
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
