"""
A script: code that may wait in ``reactor.run()``, for its own ``reactor.stop()``.

The goal.  A script ends in ``reactor.run()``, and the code below it runs when
the reactor has stopped.  Here the reactor runs already, for everybody.

What we do.  ``reactor.run()`` makes the startup calls that the script asked
for, and waits.  ``stop`` lets the shutdown calls run, in a turn of the loop of
their own, and after them the wait ends.  A stop that comes before ``run()`` is
kept for it where the reactor turns beside the script's code, which then cannot
say when its first timer will fire.

There are two ways to wait.  The code of a cell of ``%%run_in_reactor`` is on the
reactor thread's stack, which it must leave: `_scripts.greenlet_script`.  A plain
cell or a file has a thread, which takes Ctrl-C and questions while it blocks:
`_scripts.thread_script`.

Runs in the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context
from enum import Enum
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import WorkId
from twisted_ipython._failures.reports import mark_shown, mark_unseen
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts import cleanup
from twisted_ipython._scripts.system_events import Event

EXITED: Final = "The script exited with status {status}."


class Stage(Enum):
    """How far a script is."""

    CODE = "its own code runs"
    WAITS = "it waits in reactor.run()"
    STOPS = "it was stopped, and shuts down"
    ENDED = "it has ended"


class Script(ABC):
    """
    One run of a cell or a file.

    Args:
        name: what messages call it.
        work_id: that its context carries.
        context: of its cell.
        thread: the reactor thread.
        would_run: whether its code names what runs the reactor; see `_scripts.callers`.

    Attributes:
        names: those that its function keeps to itself.
        ident: the thread that runs its code; None if that is the reactor's.
        stage: how far it is.
        ran: whether it has called ``reactor.run()``.
        stops: how a stop that came before ``reactor.run()`` will end it, or None.
        startup: what it asked to be called when its reactor runs.
        shutdown: what it asked to be called when its reactor stops.
        failure: what made `twisted.internet.task.react` exit, or None.
        main: what `twisted.internet.task.react` waits for, or None.
    """

    names: frozenset[str] = frozenset()
    ident: int | None = None

    def __init__(
        self,
        name: str,
        work_id: WorkId,
        context: Context,
        thread: ReactorThread,
        would_run: Callable[[], bool],
    ) -> None:
        self.name = name
        self.work_id = work_id
        self.stage = Stage.CODE
        self.ran = False
        self.stops: Callable[[], None] | None = None
        self.startup = Event()
        self.shutdown = Event()
        self.failure: Failure | None = None
        self.main: Deferred[Any] | None = None
        self._context = context
        self._thread = thread
        self.would_run = would_run
        # A second stop of the same run is told from one of the next run by this.
        self._runs = 0
        self._when_over: list[Deferred[None]] = []

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def may_run(self) -> bool:
        """Whether the caller is the script's own code, which may call ``run()``.  Thread: any."""

    @abstractmethod
    def starts_later(self) -> bool:
        """Whether what the caller does is done before ``reactor.run()``.  Thread: any."""

    @abstractmethod
    def keeps_stop(self) -> bool:
        """Whether a stop that is asked for before ``reactor.run()`` is kept.  Thread: any."""

    def run_in_context(self, function: Callable[[], object]) -> None:
        """Call ``function`` where what it prints belongs to the script's cell."""
        self._context.copy().run(function)

    def when_over(self) -> Deferred[None]:
        """A Deferred that fires when it waits no more."""
        over: Deferred[None] = Deferred()
        self._when_over.append(over)
        return over

    # ---- reactor.run(), reactor.stop() and reactor.crash()

    @abstractmethod
    def wait(self) -> None:
        """Wait until it is stopped.  In its own greenlet or thread."""

    @abstractmethod
    def _resume(self) -> None:
        """Have `wait` return."""

    def _begin_run(self) -> None:
        """Its reactor runs, as far as it is concerned."""
        self.ran = True
        self.failure = None
        self.stage = Stage.WAITS
        self._runs += 1
        self.startup.fire()
        stops, self.stops = self.stops, None
        if stops is not None and self.stage is Stage.WAITS:
            stops()

    def stop(self) -> None:
        """Have its shutdown calls run, and `wait` return.  Thread: any, while it waits."""
        self.stage = Stage.STOPS
        self._thread.call(self._shut_down, self._runs)

    def fail(self, failure: Failure | None) -> None:
        """Note what `twisted.internet.task.react` is about to log, which the cell will show."""
        self.failure = failure
        if failure is not None and failure.value is not None:
            mark_shown(failure.value)

    def crash(self) -> None:
        """Have `wait` return.  Thread: any, while it waits."""
        self.stage = Stage.STOPS
        self._thread.call(self._go_on, self._runs)

    def cancel(self) -> None:
        """Stop it; the second time, do not wait for its shutdown calls either.  Thread: any."""
        if self.stage is Stage.WAITS:
            self.stop()
        elif self.stage is Stage.STOPS:
            self._thread.call(self._crash_later)

    def _crash_later(self) -> None:
        """Crash once its crawls have ended, which may stop the reactor."""
        run = self._runs
        self._crawls_closed().addBoth(lambda _: self._thread.call(self._go_on, run))

    def _shut_down(self, run: int) -> None:
        if run != self._runs or self.stage is not Stage.STOPS:
            return
        self.shutdown.add("before", self._crawls_closed, first=True)
        self.shutdown.add("during", self.disconnect, first=True)
        stopped: list[Deferred[None]] = []
        self.run_in_context(lambda: stopped.append(self.shutdown.fire()))
        stopped[0].addBoth(lambda _: self._thread.call(self._stopped, run))

    def _stopped(self, run: int) -> None:
        if run == self._runs and self.stage is Stage.STOPS:
            self.run_in_context(self.stop_work)
            self._thread.call(self._go_on, run)

    def _go_on(self, run: int) -> None:
        if run != self._runs or self.stage is not Stage.STOPS:
            return
        self.stage = Stage.CODE
        self._resume()
        over, self._when_over = self._when_over, []
        for one in over:
            one.callback(None)

    def _crawls_closed(self) -> Deferred[Any]:
        """A Deferred that fires when crawls of it that are being closed have ended."""
        return self._thread.crawls.when_closed(self.work_id)

    # ---- its end

    def disconnect(self) -> None:
        """Close what it has opened, as a reactor that stops does."""
        cleanup.disconnect(self._thread.reactor, self.work_id)

    def stop_work(self) -> None:
        """End what it has started: its reactor has stopped."""
        self._thread.crawls.drop(self.work_id)
        cleanup.stop(self._thread.reactor, self._thread.loops, self.work_id)
        if self.main is not None:
            self.main.cancel()

    def hand_over(self) -> None:
        """It never ran the reactor: what it left for that is the session's, whose reactor runs."""
        self.startup.fire()
        reactor = self._thread.reactor
        for trigger in self.shutdown.take():
            handle = reactor.addSystemEventTrigger(trigger.phase, "shutdown", trigger.call)
            trigger.remove = partial(reactor.removeSystemEventTrigger, handle)

    def exit_of(self, exits: SystemExit) -> BaseException | None:
        """What a SystemExit that ends it means: a failure, or None for success.  Thread: any."""
        if not exits.code:
            return None
        failure = self.failure
        if failure is not None and failure.check(SystemExit) is None:
            assert failure.value is not None
            mark_unseen(failure.value)
            return failure.value.with_traceback(failure.getTracebackObject())
        error = RuntimeError(EXITED.format(status=exits.code))
        return error.with_traceback(exits.__traceback__)
