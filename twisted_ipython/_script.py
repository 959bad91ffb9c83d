"""
A plain cell in the reactor thread, which may wait there in ``reactor.run()``.

The goal.  A script ends in ``reactor.run()``, and the code below it runs when
the reactor has stopped.  Here the reactor runs already, for everybody, and the
script's code runs in its thread: it has to stop in the middle of a call, and go
on later, while the reactor turns.

What fails.  A thread of the script's own would call the reactor from outside of
the reactor's thread.  A second loop inside of the call would nest: the script
that began to wait first could only go on when all later ones have ended.

What we do.  The cell's code runs in a greenlet of the reactor thread, in the
context of its job.  ``reactor.run()`` makes the startup calls that the script
asked for and switches back to the greenlet that runs the loop.  ``stop`` lets
the shutdown calls run, in a turn of the loop of their own, and after them
switches into the cell again, from the loop and from nowhere deeper: then
nothing that was entered (a task, a context of Twisted's) is left on the stack
of the one greenlet while the other runs.

What can still go wrong.  A greenlet is no thread: code of the script that
blocks, before ``reactor.run()`` or after it, stops the reactor.

Runs in the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

from greenlet import getcurrent, greenlet
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from twisted_ipython._hints import names_of_cell
from twisted_ipython._numbers import Numbers
from twisted_ipython._phases import Event
from twisted_ipython._report import mark_shown

__all__ = ["Script", "Stage", "Surroundings"]


class Stage(Enum):
    """How far a script is."""

    CODE = "its own code runs"
    WAITS = "it waits in reactor.run()"
    STOPS = "it was stopped, and shuts down"
    ENDED = "it has ended"


class Surroundings(Protocol):
    """What a script needs of the session that it runs in."""

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in a later turn of the reactor.  Any thread."""

    def disconnect(self, script: Script) -> None:
        """Close what the script has opened, as a reactor that stops does."""

    def stopped(self, script: Script) -> None:
        """Its reactor has stopped: end what it has started."""

    def ended(self, script: Script, outcome: Any) -> Any:
        """Its code has ended; gives what is to come of the cell."""


class Script:
    """
    One run of a cell.

    Args:
        name: what messages call it.
        numbers: those that its context carries.
        context: to run it in.
        function: the cell's code.
        surroundings: the session.

    Attributes:
        names: those that its function keeps to itself.
        stage: how far it is.
        ran: whether it has called ``reactor.run()``.
        startup: what it asked to be called when its reactor runs.
        shutdown: what it asked to be called when its reactor stops.
        failure: what made `twisted.internet.task.react` exit, or None.
    """

    def __init__(
        self,
        name: str,
        numbers: Numbers,
        context: Context,
        function: Callable[[], Any],
        surroundings: Surroundings,
    ) -> None:
        self.name = name
        self.names = names_of_cell(function)
        self.numbers = numbers
        self.stage = Stage.CODE
        self.ran = False
        self.startup = Event()
        self.shutdown = Event()
        self.failure: Failure | None = None
        self._context = context
        self._function = function
        self._session = surroundings
        self._outcome: Any = None
        self._result: _Result | None = None
        self._value: Deferred[Any] | None = None
        # A second stop of the same run is told from one of the next run by this.
        self._runs = 0
        self._when_ended: list[Deferred[None]] = []

    def __str__(self) -> str:
        return self.name

    def begin(self) -> Any:
        """
        Run the cell until it ends or waits.

        Returns:
            its value, a Failure, or a Deferred of what it will come to.
        """
        self._greenlet = self._waiting = greenlet(self._body)
        self._greenlet.gr_context = self._context
        self._enter()
        if self.stage is Stage.ENDED:
            return self._take_outcome()
        self._result = _Result(self.cancel)
        return self._result

    @property
    def gr_frame(self) -> Any:
        """The innermost frame of its code while it waits, else None.  Any thread."""
        return self._waiting.gr_frame

    def is_running(self) -> bool:
        """Whether it is its code that asks, and no callback of the reactor's."""
        return self.stage is Stage.CODE and getcurrent() is not self._loops

    def run_in_context(self, function: Callable[[], object]) -> None:
        """Call ``function`` where what it prints belongs to the script's cell."""
        self._context.copy().run(function)

    def when_ended(self) -> Deferred[None]:
        """A Deferred that fires when its code has ended."""
        ended: Deferred[None] = Deferred()
        self._when_ended.append(ended)
        return ended

    # ---- reactor.run(), reactor.stop() and reactor.crash()

    def wait(self) -> None:
        """Wait until it is stopped.  In its own greenlet."""
        self.ran = True
        self.failure = None
        self.stage = Stage.WAITS
        self._runs += 1
        self._waiting = getcurrent()
        self.startup.fire()
        while self.stage is not Stage.CODE:
            self._loops.switch()

    def stop(self) -> None:
        """Have its shutdown calls run, and `wait` return.  Any thread, while it waits."""
        self.stage = Stage.STOPS
        self._session.soon(self._shut_down, self._runs)

    def fail(self, failure: Failure | None) -> None:
        """Note what `twisted.internet.task.react` is about to log, which the cell will show."""
        self.failure = failure
        if failure is not None and failure.value is not None:
            mark_shown(failure.value)

    def crash(self) -> None:
        """Have `wait` return.  Any thread, while it waits."""
        self.stage = Stage.STOPS
        self._session.soon(self._go_on, self._runs)

    def cancel(self) -> None:
        """Stop it; the second time, do not wait for its shutdown calls either."""
        if self.stage is Stage.WAITS:
            self.stop()
        elif self.stage is Stage.STOPS:
            self.crash()
        elif self._value is not None:
            self._value.cancel()

    def _shut_down(self, run: int) -> None:
        self.shutdown.add_first("during", partial(self._session.disconnect, self))
        stopped: list[Deferred[None]] = []
        self.run_in_context(lambda: stopped.append(self.shutdown.fire()))
        stopped[0].addBoth(lambda _: self._session.soon(self._stopped, run))

    def _stopped(self, run: int) -> None:
        if run == self._runs and self.stage is Stage.STOPS:
            self.run_in_context(partial(self._session.stopped, self))
            self._session.soon(self._go_on, run)

    def _go_on(self, run: int) -> None:
        if run != self._runs or self.stage is not Stage.STOPS:
            return
        self.stage = Stage.CODE
        self._enter()
        if self.stage is Stage.ENDED:
            assert self._result is not None
            self._value = maybeDeferred(self._take_outcome)
            self._value.chainDeferred(self._result)
            for ended in self._when_ended:
                ended.callback(None)

    # ---- the greenlet

    def _enter(self) -> None:
        """Switch to the cell's code until it waits or ends."""
        self._loops = getcurrent()
        self._greenlet.parent = self._loops
        self._waiting.switch()
        if self._greenlet.dead:
            self.stage = Stage.ENDED
            self.run_in_context(self._end)

    def _end(self) -> None:
        try:
            self._outcome = self._session.ended(self, self._outcome)
        except BaseException:  # or nobody would ever be told what came of the cell
            self._outcome = Failure()

    def _take_outcome(self) -> Any:
        # Or the script and the traceback of its failure would keep each other alive.
        outcome, self._outcome = self._outcome, None
        return outcome

    def _body(self) -> None:
        """The cell's code; nothing leaves this: it would be raised in the loop."""
        try:
            self._outcome = self._function()
        except BaseException:
            self._outcome = Failure()


class _Result(Deferred[Any]):
    """What will come of a script; cancelling it stops the script, whose value it still gives."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop: Final = stop

    def cancel(self) -> None:
        """Stop the script."""
        if self.called:
            super().cancel()
        else:
            self._stop()
