"""
The scripts of the session, and whose a call of the reactor is.

A call belongs to the script whose number the caller's context carries.
Connections of a pool keep the context of the cell that opened them, so a
``stop`` from a context without a script that waits stops the only script that
waits.

Thread: any, unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import NO_WORK, WorkId, current_work
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.cleanup import Kept
from twisted_ipython._scripts.notes import explain_names
from twisted_ipython._scripts.script import Script, Stage
from twisted_ipython._scripts.script_log import Logs

NOT_YET: Final = (
    "Can't stop reactor that isn't running: this script does not wait in reactor.run() now."
)
STOPPING: Final = "Can't stop reactor that isn't running: {script} is shutting down already."
NOBODY_WAITS: Final = (
    "reactor.stop() was ignored: no script waits in reactor.run() now, and the reactor itself"
    " goes on for the whole session (it could not be started again)."
)
SEVERAL_WAIT: Final = (
    "reactor.stop() was ignored: it does not come from a script that waits in reactor.run(), and"
    " several wait: {scripts}. `%reactor cancel JOB` ends a job, the stop button a cell."
)


class Scripts:
    """
    The scripts of a reactor, and what the session had before those that live.

    Args:
        thread: the reactor thread; `ReactorThread.of` makes this.

    Attributes:
        alive: by the number of their work, the scripts whose code has not ended.
        logs: what they have added to the logs.
    """

    def __init__(self, thread: ReactorThread) -> None:
        self.alive: dict[int, Script] = {}
        # Plain cells and files that run, by their work: what makes scripts of them.
        self._cells: dict[int, Callable[[], Script]] = {}
        # The numbers of scripts that have run the reactor.
        self._ran: set[int] = set()
        # The numbers of work that was refused to run the reactor, whose stops are no news.
        self._refused: set[int] = set()
        self._thread = thread
        self._kept = Kept(thread.reactor)
        self.logs = Logs(lambda work: work in self.alive or work in self._cells)

    def waiting(self) -> list[Script]:
        """The scripts that wait in ``reactor.run()``.  Thread: any."""
        return [script for script in list(self.alive.values()) if script.stage is Stage.WAITS]

    def begin_cell(self, work_id: WorkId, make: Callable[[], Script]) -> None:
        """
        A plain cell or a file begins, which may turn out to be a script.

        Args:
            work_id: that its context carries.
            make: makes a script of it.

        Thread: the cell's.
        """
        self.note()
        self._cells[work_id.work] = make

    def enter(self, script: Script) -> None:
        """A script is there.  Thread: any."""
        self.alive[script.work_id.work] = script

    def is_cell(self, work: int) -> bool:
        """Whether a number is that of a plain cell or a file that runs now.  Thread: any."""
        return work in self._cells

    def is_free(self, work_id: WorkId) -> bool:
        """Whether a context that carries this belongs to no script that lives.  Thread: any."""
        work = work_id.work
        return work_id != NO_WORK and work not in self.alive and work not in self._cells

    def end_cell(self, work_id: WorkId) -> Script | None:
        """
        A plain cell or a file has ended.

        Args:
            work_id: that its context carries.

        Returns:
            the script that it was, for `Session.over` to end.

        Thread: the cell's.
        """
        make = self._cells.pop(work_id.work)
        has_log = self.logs.is_noted(work_id.work)
        return make() if has_log else self.alive.get(work_id.work)

    def note(self) -> None:
        """Note what the session has, unless a script lives that may have changed it."""
        if not self.alive and not self._cells:
            self._kept = Kept(self._thread.reactor)

    def explain_logged(self, event: LogEvent) -> None:
        """An observer of Twisted's log: a failure in a script that misses a name gets a line."""
        failure = event.get("log_failure", event.get("failure"))
        script = self.alive.get(current_work().work)
        if script is not None and isinstance(failure, Failure) and failure.value is not None:
            explain_names(failure.value, script.names)

    def leave(self, script: Script, *, ran: bool) -> None:
        """
        A script is no more.

        Args:
            script: the script.
            ran: whether it ran the reactor.

        Thread: reactor.
        """
        del self.alive[script.work_id.work]
        if ran:
            self._ran.add(script.work_id.work)
            self._kept.put_back()

    def refuse(self, cancel: Callable[[], object] | None) -> None:
        """
        Put back what the work of this context has changed, which may not run the reactor.

        Args:
            cancel: cancels what it has begun.

        Thread: reactor.
        """
        self._refused.add(current_work().work)
        self.logs.undo_of_cell()
        self._kept.put_back()
        if cancel is not None:
            cancel()

    def end_all(self) -> Deferred[None]:
        """
        Stop the scripts that wait; the second time, without their shutdown triggers.

        Returns:
            a Deferred that fires when they wait no more.

        Thread: reactor.
        """
        stages = (Stage.WAITS, Stage.STOPS)
        scripts = [one for one in list(self.alive.values()) if one.stage in stages]
        over = DeferredList([script.when_over() for script in scripts])
        for script in scripts:
            self._thread.crawls.close(script.work_id)
            script.cancel()
        return over.addCallback(lambda _: None)

    def own(self) -> Script | None:
        """The script whose context this is, or that the cell becomes whose context this is."""
        work = current_work().work
        make = self._cells.get(work)
        return self.alive.get(work) if make is None else make()

    def own_or_only_one(self) -> Script | None:
        """The same; in a context that a script which ended has left, the only one that waits."""
        if current_work().work not in self._ran:
            return self.own()
        scripts = self.waiting()
        return scripts[0] if len(scripts) == 1 else None

    def to_stop(self, *, crash: bool = False) -> Script | None:
        """
        The script that a stop in this context is meant for.

        Args:
            crash: whether it is one without shutdown triggers.

        Returns:
            None if it is kept for a script that has not run yet, or is nobody's, which is said.

        Raises:
            ReactorNotRunning: the script does not wait, or shuts down.

        Thread: any.
        """
        mine = self.own()
        if mine is not None and mine.stage is Stage.WAITS:
            return mine
        scripts = self.waiting()
        if mine is not None:
            if not mine.keeps_stop():
                raise ReactorNotRunning(NOT_YET)
            if len(scripts) == 1 and not mine.would_run():
                return scripts[0]
            mine.stops = mine.crash if crash else mine.stop
            return None
        if len(scripts) == 1:
            return scripts[0]
        self._say_ignored(scripts, "crash()" if crash else "stop()")
        return None

    def _say_ignored(self, scripts: list[Script], call: str) -> None:
        stopping = [one for one in list(self.alive.values()) if one.stage is Stage.STOPS]
        if stopping and not scripts:
            raise ReactorNotRunning(STOPPING.format(script=stopping[0]))
        if current_work().work not in self._refused:
            names = ", ".join(map(str, scripts))
            line = SEVERAL_WAIT.format(scripts=names) if scripts else NOBODY_WAITS
            print(line.replace("stop()", call, 1))

    def any_has_run(self) -> bool:
        """Whether any script of the process has run the reactor to its end.  Thread: any."""
        return bool(self._ran)
