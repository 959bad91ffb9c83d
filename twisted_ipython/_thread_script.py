"""
A script in a thread that is none of the reactor's: a plain cell, a file, a thread of the user's.

The goal.  A script runs in a plain cell as pasted: ``reactor.run()`` blocks the
thread until the script's own ``reactor.stop()``, and Ctrl-C ends that.

What fails.  Whether a cell is a script is known when it calls
``reactor.run()``; but what it did before (a timer that stops the reactor, a
shutdown trigger, a log) was already that of a script.

What we do.  Each plain cell, and each file that IPython runs, has a number of
its own in its context, and becomes a script with the first call that makes a
difference.  One that ends without ``reactor.run()`` was none: what it opened
stays, its triggers are the session's, a stop that was kept is nobody's.  If it
failed before it got so far, and its code names what would run the reactor, it
was a script all the same (`_callers.would_run`), and leaves nothing.

What can still go wrong.  A thread that the user starts has an empty context:
what it opened before ``reactor.run()`` is not known to be its own, and stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from types import CodeType
from typing import Final, Self

from twisted_ipython import _numbers, _script_log, _scripts
from twisted_ipython._borrow import runs_cells
from twisted_ipython._borrowed_sigint import give_back
from twisted_ipython._callers import would_run
from twisted_ipython._crochet import STOPPED
from twisted_ipython._eventual import NotInTime
from twisted_ipython._home import BlockingHome, run_blocking
from twisted_ipython._reactor import start, started
from twisted_ipython._reactor_thread import ReactorThread
from twisted_ipython._script import Script, Stage
from twisted_ipython._sigint import taken
from twisted_ipython._traceback import in_one_line, users_frames_only
from twisted_ipython._waited import LOOK, Typed, Waited

__all__ = ["Exited", "PlainCell", "current_cell", "note_failure"]

OF_CELL: Final = "cell {number}"
OF_THREAD: Final = "thread {name}"
# Seconds that a reactor gets to answer after Ctrl-C, and to end a script.
_GRACE: Final = 1.0
_PATIENCE: Final = 5.0


class ThreadScript(Script):
    """
    One run of a plain cell, of a file, or of a thread that runs the reactor.

    Args:
        thread: the reactor thread.
        numbers: those that its context carries.
        ident: the thread that runs its code.
        would_run: whether its code names what runs the reactor.
    """

    def __init__(
        self,
        thread: ReactorThread,
        numbers: _numbers.Numbers,
        ident: int,
        would_run: Callable[[], bool],
    ) -> None:
        name = OF_CELL.format(number=numbers.cell)
        if not numbers.cell:
            name = OF_THREAD.format(name=threading.current_thread().name)
        self.session = _scripts.Session(thread.reactor)
        super().__init__(name, numbers, copy_context(), self.session)
        self._thread = thread
        self._ident = ident
        self._would_run = would_run
        self._wait: _Wait | None = None

    def may_run(self) -> bool:
        """See `Script`: whether its thread asks."""
        return self.stage is Stage.CODE and threading.get_ident() == self._ident

    def starts_later(self) -> bool:
        """See `Script`: the reactor, which turns beside its code, may ask too."""
        return self.stage is Stage.CODE

    def keeps_stop(self) -> bool:
        """See `Script`: not between two runs, where its own code knows better."""
        return self.stage is Stage.CODE and not (self.ran and self.may_run())

    def would_run(self) -> bool:
        """See `Script`."""
        return self._would_run()

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
        """
        self.ran = True
        home = BlockingHome()
        wait = self._wait = _Wait(self._thread, home, self, self._begin_run)
        give_back()
        if runs_cells():
            run_blocking(wait.wait())
        else:
            wait.wait_plainly()
        wait.result()
        if home.interrupted:
            raise taken(users_frames_only(KeyboardInterrupt()))

    def _resume(self) -> None:
        if self._wait is not None:
            self._wait.end()

    def end(self, *, closes: bool, gone: bool) -> None:
        """Its code has ended: see `_scripts.Session.over`.  In its thread."""

        def over() -> None:
            if not closes:
                _script_log.give_up(self.numbers.work)
            self.session.over(self, closes=closes, gone=gone)
            if not closes:
                self.session.take_over(self)

        result = self._thread.run(lambda: self.run_in_context(over))
        if self._wait is None or not self._wait.given_up:
            with suppress(NotInTime):
                result.wait(_PATIENCE)


class _Wait(Waited):
    """
    The wait of a script, as what a home waits for.

    Args:
        thread: the reactor thread.
        home: the waiting thread.
        script: who waits.
        begin: what begins its run, in the reactor thread.
    """

    def __init__(
        self,
        thread: ReactorThread,
        home: BlockingHome,
        script: ThreadScript,
        begin: Callable[[], None],
    ) -> None:
        super().__init__(thread, home, Typed(script.numbers.cell, label=thread.label))
        # What its callbacks ask is asked here.
        self.numbers = script.numbers
        self._script = script
        self._begin = begin
        self._error: BaseException | None = None
        self._interrupted: float | None = None

    def wait_plainly(self) -> None:
        """Wait in a thread that runs no cells."""
        done = threading.Event()
        self.begin()
        self.when_done(done.set)
        while not done.wait(self.look()):
            pass

    def end(self) -> None:
        """The wait is over.  In the reactor thread."""
        self._end_wait()

    def result(self) -> None:
        """See `Waited`."""
        if self._error is not None:
            raise users_frames_only(self._error)

    def stop(self) -> None:
        """See `Waited`: the script is stopped by itself, as all scripts are."""

    # ---- what the home calls

    def begin(self) -> None:
        """See `_home.Waits`."""
        self._reactor.call(self.context.run, self._begin)

    def look(self) -> float:
        """See `_home.Waits`: whether the reactor answers, and goes on."""
        self._pulse.look()
        if not self._reactor.reactor.running:
            self._error = RuntimeError(STOPPED)
            self._end_wait()
        elif self._interrupted is not None and monotonic() - self._interrupted > _GRACE:
            self._give_up_if_stuck()
        return LOOK

    def interrupt(self) -> None:
        """Stop the script; the second time, do not wait for its shutdown calls."""
        if self._interrupted is None:
            self._interrupted = monotonic()
            self._error = taken(KeyboardInterrupt())
        # First: a shutdown call that takes a while is not what holds the reactor.
        self._pulse.free()
        self._script.cancel()

    def _give_up_if_stuck(self) -> None:
        place = self._pulse.stuck_at()
        if place is not None and self._error is not None:
            self._error.add_note(place)
            self.given_up = True
            self._end_wait()


class Exited(BaseException):
    """
    Takes IPython past its own handling of the SystemExit of a script.

    Attributes:
        error: what the SystemExit means, which has been shown; None for success.
    """

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(error)
        self.error = error


class PlainCell:
    """
    A plain cell, or a file, for as long as it runs: within ``with``, in its thread.

    Where the reactor has not been started, it changes nothing.

    Args:
        code: gives what is run, if it compiles.

    Attributes:
        raised: whether it has failed.
        exited: whether it has ended by a SystemExit that means success.
    """

    def __init__(self, code: Callable[[], CodeType]) -> None:
        self.raised = self.exited = False
        self._thread = started()
        self._code = code
        self._ident = threading.get_ident()
        self._before = _numbers.current()
        self._numbers = _numbers.new(self._before.cell)
        self._lock = threading.Lock()
        self._script: ThreadScript | None = None
        self._names_it: bool | None = None

    def __enter__(self) -> Self:
        if self._thread is None:
            return self
        _numbers.carry(self._numbers)
        _cells[self._numbers.work] = self
        _scripts.begin_cell(self._thread.reactor, self._numbers, self._make)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._thread is None:
            return
        try:
            script = _scripts.end_cell(self._numbers)
            self._end(script is not None, failed=self.raised or error is not None)
        finally:
            _cells.pop(self._numbers.work, None)
            _numbers.carry(self._before)

    def _make(self) -> ThreadScript:
        """It is a script, or may be one.  Any thread."""
        with self._lock:
            if self._script is None:
                assert self._thread is not None
                self._script = ThreadScript(
                    self._thread, self._numbers, self._ident, self._would_run
                )
                _scripts.enter(self._script)
        return self._script

    def _end(self, is_made: bool, *, failed: bool) -> None:
        ran = self._script is not None and self._script.ran
        closes = ran or (failed and self._would_run())
        if not (is_made or closes):
            return
        script = self._make()
        script.end(closes=closes, gone=not ran and self._would_run())
        if script.stops is not None and not closes:
            script.run_in_context(_stop_other)

    def _would_run(self) -> bool:
        """Whether its code names what runs the reactor.  Any thread."""
        if self._names_it is None:
            try:
                self._names_it = would_run(self._code())
            except (OSError, SyntaxError, ValueError):
                self._names_it = False
        return self._names_it

    def exit(self, error: SystemExit) -> Exited | None:
        """What a SystemExit of its code means; None if it is no script."""
        ran = self._script is not None and self._script.ran
        if not (ran or self._would_run()):
            return None
        instead = _scripts.exit_of(self._make(), error)
        self.exited = instead is None
        if instead is not None and instead.__traceback__ is error.__traceback__:
            in_one_line(instead)
        return Exited(instead)


# Those that run, by the numbers of their work.
_cells: Final[dict[int, PlainCell]] = {}


def current_cell() -> PlainCell | None:
    """The plain cell or file whose context this is, while it runs."""
    return _cells.get(_numbers.current().work)


def note_failure() -> None:
    """The code of this context has failed, as is shown now."""
    cell = current_cell()
    if cell is not None:
        cell.raised = True


def _stop_other() -> None:
    """Do what a stop does that came from a cell which turned out to be no script."""
    script = _scripts.to_stop()
    if script is not None:
        script.stop()


def _wait_in_thread() -> None:
    """Wait in ``reactor.run()`` in a thread whose code belongs to no script."""
    numbers = _numbers.current()
    if not _scripts.is_free(numbers):
        numbers = _numbers.new(0)
    script = ThreadScript(start(), numbers, threading.get_ident(), lambda: True)
    _scripts.enter(script)
    try:
        script.wait()
    finally:
        script.end(closes=True, gone=True)


_scripts.elsewhere.append(_wait_in_thread)
