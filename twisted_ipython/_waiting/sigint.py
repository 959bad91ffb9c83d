"""
Ctrl-C while a thread waits for a cell.

One handler of SIGINT stands while the main thread waits, and posts an
interrupt to every cell thread that waits, in whatever thread.  When only other threads
wait, `watch` has the same done where a kernel ignores SIGINT: between its cells.
A plain cell of the main thread gets Python's own KeyboardInterrupt; if that
ends it, `pass_on` has the others end too.  An idle prompt of a terminal keeps an
interrupt to itself.  A question that another thread puts (a subshell's) is broken
off there, by an exception that is set in that thread.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self, TypeVar

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._private.asyncio import getsignal, set_signal
from twisted_ipython._reactor.interrupt import set_exception, take_back

_E = TypeVar("_E", bound=BaseException)

_TAKEN: Final = "_twisted_ipython_taken"


class Breakable:
    """
    A function that a Ctrl-C can break off in whatever thread calls it, once.

    The exception is only set while the function runs, and taken back when it
    has ended before raising it.

    Args:
        function: it must come back to Python code now and then.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._thread: int | None = None

    def __call__(self) -> None:
        self._thread = ident = threading.get_ident()
        try:
            self._function()
        finally:
            with self._lock:
                was_broken, self._thread = self._thread is None, None
            if was_broken:
                take_back(ident)

    def break_off(self) -> None:
        """Have it raise KeyboardInterrupt.  Any other thread, also while it handles a signal."""
        if not self._lock.acquire(blocking=False):
            return  # it is just ending
        try:
            if self._thread is not None:
                set_exception(self._thread, KeyboardInterrupt)
                self._thread = None
        finally:
            self._lock.release()


class Interrupts:
    """
    Takes Ctrl-C for a cell while its cell thread waits.

    What the main thread runs for the cell meanwhile is broken by a
    KeyboardInterrupt instead, as it would be in a plain cell.

    Args:
        interrupt: gives the cell a Ctrl-C; called in the cell thread.
        post: has the cell thread call something.
        blocks: whether the cell thread blocks, whatever that was running before.
    """

    def __init__(
        self,
        interrupt: Callable[[], None],
        post: Callable[[Callable[[], object]], object],
        *,
        blocks: bool = False,
    ) -> None:
        self._interrupt_cell = interrupt
        self._post = post
        self._main = threading.current_thread() is threading.main_thread()
        self._blocks = self._main and blocks
        self._depth = 0
        # What another thread than the main one runs, for which a signal has no exception.
        self._runs: object = None
        # Whether there was a Ctrl-C that the cell has not got yet.
        self.pending = False

    def __enter__(self) -> Self:
        _sigint.waiting.append(self)
        if self._main:
            _sigint.enter(blocks=self._blocks)
        if self._blocks:
            self._depth = _sigint.begin(None)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._blocks:
                _sigint.end(self._depth)
            if self._main:
                _sigint.leave()
        finally:
            _sigint.waiting.remove(self)

    def run(self, function: Callable[[], object]) -> None:
        """Run what the cell sent; a Ctrl-C that comes as it ends is one for the cell."""
        if not self._main:
            self._runs = function
            function()
            self._runs = None
            return
        try:
            depth = _sigint.begin(self)
            try:
                function()
            finally:
                _sigint.end(depth)
        except KeyboardInterrupt:
            _sigint.forget(self)
            self._interrupt_cell()

    def interrupt(self) -> None:
        """Have the cell thread take a Ctrl-C where it waits, which this wakes.  Thread: any."""
        if isinstance(self._runs, Breakable):
            self._runs.break_off()
            return
        self.pending = True
        with suppress(RuntimeError):  # its loop is closed: nothing waits any more
            self._post(self._take)

    def _take(self) -> None:
        self.pending = False
        if self in _sigint.waiting:
            self._interrupt_cell()


class _Sigint:
    """What SIGINT does while cells wait: it interrupts all of them, whatever their threads."""

    def __init__(self) -> None:
        self.waiting: list[Interrupts] = []
        # What the main thread runs for a cell, the innermost last; None for a wait inside.
        self._running: list[Interrupts | None] = []
        self._waits = 0
        self._before: Any = None

    def enter(self, *, blocks: bool) -> None:
        """The main thread begins to wait for a cell."""
        self._waits += 1
        if self._waits == 1:
            # None: a handler that is not Python's, which could not be put back.
            self._before = getsignal(signal.SIGINT)
            if self._before is sigint.kernels and not blocks:
                self._before = None  # the kernel tells each cell that waits itself
            if self._before is not None:
                set_signal(signal.SIGINT, _interrupted)

    def leave(self) -> None:
        """The main thread waits no more for a cell."""
        self._waits -= 1
        if self._waits or self._before is None:
            return
        if getsignal(signal.SIGINT) is _interrupted:
            set_signal(signal.SIGINT, self._before)

    def begin(self, what: Interrupts | None) -> int:
        """The main thread runs something for a cell, or waits inside of that, until `end`."""
        self._running.append(what)
        return len(self._running) - 1

    def end(self, depth: int) -> None:
        """What `begin` gave that depth has ended, and what was begun inside."""
        del self._running[depth:]

    def forget(self, what: Interrupts) -> None:
        """A KeyboardInterrupt ended what ran; it may have come before `end` noted it."""
        if what in self._running:
            del self._running[self._running.index(what) :]

    def watch(self) -> None:
        """Take the SIGINT that a kernel ignores as it idles, while a cell waits.  Thread: main."""
        # A kernel calls this after each message.
        current = getsignal(signal.SIGINT)
        if self.waiting and current == signal.SIG_IGN:
            signal.signal(signal.SIGINT, _interrupted)
        elif not self.waiting and current is _interrupted:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def pass_on(self, error: KeyboardInterrupt) -> None:
        """A Ctrl-C has ended a plain cell of this thread: it is one for all who wait, too."""
        if (
            _TAKEN not in error.__dict__
            and threading.current_thread() is threading.main_thread()
            and not self._waits
        ):
            self._interrupt_all()

    def _interrupt_all(self, but: Interrupts | None = None) -> None:
        for one in self.waiting.copy():
            if one is not but:
                one.interrupt()

    def interrupted(self, frame: FrameType | None) -> None:
        """SIGINT came while the main thread waits, or a kernel idles.  Thread: main."""
        broken = self._running[-1] if self._running else None
        self._interrupt_all(but=broken)
        if broken is not None:
            sigint.take(frame)


# One in the process, as the handler of SIGINT is.
_sigint: Final = _Sigint()
watch: Final = _sigint.watch


def taken(error: _E) -> _E:
    """Mark what a Ctrl-C made a wait raise, which all who wait have got by then."""
    error.__dict__[_TAKEN] = True
    return error


pass_on: Final = _sigint.pass_on


def _interrupted(_: int, frame: FrameType | None) -> None:
    # A function: for a method, `signal.signal` takes 8 us more on Python 3.11.
    _sigint.interrupted(frame)
