"""
A script in a thread that is none of the reactor's: a plain cell, a file, a thread of the user's.

``reactor.run()`` blocks the thread until the script's own ``reactor.stop()``, and
Ctrl-C ends that.  Meanwhile the thread runs what the script sends it, as that of a
cell that awaits does.

What can still go wrong.  A thread that the user starts has an empty context:
what it opened before ``reactor.run()`` is not known to be its own, and stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import Final

from IPython.core.getipython import get_ipython

from twisted_ipython._base.tracebacks import users_frames_only
from twisted_ipython._base.work_id import NO_WORK, WorkId, current_work, new_work
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.interrupt import LEFT_STUCK, STOPPED
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.registry import Scripts
from twisted_ipython._scripts.script import Script, Stage
from twisted_ipython._waiting.cell_thread import BlockingThread
from twisted_ipython._waiting.sigint import taken
from twisted_ipython._waiting.work import CellInfo, ReactorWork

OF_CELL: Final = "cell {number}"
OF_THREAD: Final = "thread {name}"
# Seconds that a reactor gets to answer after Ctrl-C, and to end a script.
_GRACE: Final = 1.0
_PATIENCE: Final = 5.0
# Seconds that a reactor gets which has next to nothing to do for it.
_SOON: Final = 0.2


class ThreadScript(Script):
    """One run of a plain cell, of a file, or of a thread that runs the reactor; see `Script`."""

    def __init__(
        self, thread: ReactorThread, work_id: WorkId, ident: int, would_run: Callable[[], bool]
    ) -> None:
        name = OF_CELL.format(number=work_id.cell)
        if not work_id.cell:
            name = OF_THREAD.format(name=threading.current_thread().name)
        super().__init__(name, work_id, copy_context(), thread, would_run)
        self.ident = ident
        self._wait: _Wait | None = None

    def may_run(self) -> bool:
        """See `Script`: whether its thread asks."""
        return self.stage is Stage.CODE and threading.get_ident() == self.ident

    def starts_later(self) -> bool:
        """See `Script`: the reactor, which turns beside its code, may ask too."""
        return self.stage is Stage.CODE

    def keeps_stop(self) -> bool:
        """See `Script`: not between two runs, where its own code knows better."""
        return self.stage is Stage.CODE and not (self.ran and self.may_run())

    def cancel(self) -> None:
        """See `Script`; before it waits, it is stopped once it does."""
        if self.stage is Stage.CODE:
            self.stops = self.stop
        else:
            super().cancel()

    def wait(self) -> None:
        """
        See `Script`.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the shutdown triggers; a second one
                does not wait for these.
            RuntimeError: the reactor itself has stopped.

        Thread: the script's.
        """
        self.ran = True
        cell_thread = BlockingThread()
        wait = self._wait = _Wait(self._thread, cell_thread, self, self._begin_run)
        wait.wait_in_thread()
        if cell_thread.interrupted:
            raise taken(users_frames_only(KeyboardInterrupt()))

    def _resume(self) -> None:
        if self._wait is not None:
            self._wait.end()

    def end(self, *, closes: bool, gone: bool) -> None:
        """Its code has ended: see `Scripts.end`.  In its thread."""
        scripts = self._thread.of(Scripts)
        if not closes:
            # Before the next cell, where Scrapy replaces what is the session's, and nothing else.
            scripts.logs.give_up(self.work_id.work)

        def over() -> None:
            scripts.end(self, closes=closes, gone=gone)
            if not closes:
                self.hand_over()

        result = self._thread.run(lambda: self.run_in_context(over))
        if self._wait is None or not self._wait.given_up:
            with suppress(NotInTime):
                # What an ordinary cell leaves is taken over, by a stuck reactor some time later.
                result.wait(_PATIENCE if closes else _SOON)


class _Wait(ReactorWork):
    """The wait of a script, as what a cell thread waits for; ``begin`` begins its run."""

    def __init__(
        self,
        thread: ReactorThread,
        cell_thread: BlockingThread,
        script: ThreadScript,
        begin: Callable[[], None],
    ) -> None:
        super().__init__(thread, cell_thread, CellInfo(script.work_id.cell, label=thread.label))
        # What its callbacks ask is asked here.
        self.work_id = script.work_id
        self._script = script
        self._begin = begin
        self._error: BaseException | None = None
        self._interrupted: float | None = None

    def end(self) -> None:
        """The wait is over.  Thread: reactor."""
        self._end_wait()

    def result(self) -> None:
        """See `ReactorWork`."""
        if self._error is not None:
            raise users_frames_only(self._error)

    def stop(self) -> None:
        """See `ReactorWork`: the script is stopped by itself, as all scripts are."""

    # ---- what the cell thread calls

    def begin(self) -> None:
        """See `_waiting.cell_thread.Waitable`."""
        self._reactor.call(self.context.run, self._begin)

    def check(self) -> float:
        """See `_waiting.cell_thread.Waitable`: whether the reactor and the kernel go on."""
        seconds = self._heartbeat.check()
        if not self._reactor.reactor.running:
            self._error = RuntimeError(STOPPED)
            self._end_wait()
        elif self._interrupted is None:
            if _is_left():
                self.interrupt()
        elif monotonic() - self._interrupted > _GRACE:
            if _is_left():
                self.interrupt()
            self._give_up_if_stuck()
        return seconds

    def interrupt(self) -> None:
        """Stop the script; the second time, do not wait for its shutdown calls."""
        if self._interrupted is None:
            self._interrupted = monotonic()
            self._error = taken(KeyboardInterrupt())
        self._reactor.call(self.context.copy().run, self._reactor.crawls.close, self.work_id)
        # First: a shutdown call that takes a while is not what holds the reactor.
        self._heartbeat.free()
        self._script.cancel()

    def _give_up_if_stuck(self) -> None:
        place = self._heartbeat.stuck_at()
        if place is not None and self._error is not None:
            self._error.add_note(LEFT_STUCK.format(stuck=place))
            self.given_up = True
            self._end_wait()


def _is_left() -> bool:
    """Whether a kernel was asked to shut down: it says so on its shell, and waits for the cell."""
    return bool(getattr(get_ipython(), "exit_now", False))


def wait_in_thread() -> None:
    """Wait in ``reactor.run()`` as a script, in a thread whose code belongs to none."""
    work_id, thread = current_work(), current()
    scripts = thread.of(Scripts)
    if work_id == NO_WORK or scripts.lives(work_id.work):
        work_id = new_work(0)
    script = ThreadScript(thread, work_id, threading.get_ident(), lambda: True)
    scripts.enter(script)
    try:
        script.wait()
    finally:
        script.end(closes=True, gone=True)
