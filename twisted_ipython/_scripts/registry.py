"""
The scripts of the session, and whose a call of the reactor is: see `_scripts.reactor_run`.

Thread: any, unless a docstring says otherwise.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import WorkId, current_work
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts import cleanup
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
# Seconds that scripts get to end when the extension is unloaded.
_PATIENCE: Final = 5.0


class Scripts:
    """
    The scripts of a reactor, and what the session had before those that live.

    Args:
        thread: the reactor thread; `ReactorThread.of` makes this.

    Attributes:
        alive: by the number of their work, the scripts whose code has not ended.
        ran: the numbers of scripts that have run the reactor, and ended.
        logs: what they have added to the logs.
    """

    def __init__(self, thread: ReactorThread) -> None:
        self.alive: dict[int, Script] = {}
        # Plain cells and files that run, by their work: what makes scripts of them.
        self._cells: dict[int, Callable[[], Script]] = {}
        self.ran: set[int] = set()
        # The numbers of work that was refused to run the reactor, whose stops are no news.
        self._refused: set[int] = set()
        self._thread = thread
        reactor, pool = thread.reactor, thread.reactor.getThreadPool()
        self.resolvers = cleanup.Kept(
            lambda: (reactor.resolver, reactor.nameResolver),
            partial(cleanup.put_back_resolvers, reactor),
            self.lives,
        )
        self.pool_sizes = cleanup.Kept(
            lambda: (pool.min, pool.max), lambda sizes: pool.adjustPoolsize(*sizes), self.lives
        )
        self._output = cleanup.Output()
        self.logs = Logs(self.lives)

    def waiting(self) -> list[Script]:
        """The scripts that wait in ``reactor.run()``.  Thread: any."""
        return [script for script in list(self.alive.values()) if script.stage is Stage.WAITS]

    def begin_cell(self, work_id: WorkId, make: Callable[[], Script]) -> None:
        """A plain cell or a file begins, of which ``make`` makes a script.  Thread: the cell's."""
        self.note_output()
        self._cells[work_id.work] = make

    def enter(self, script: Script) -> None:
        """A script is there.  Thread: any."""
        self.alive[script.work_id.work] = script

    def is_cell(self, work: int) -> bool:
        """Whether a number is that of a plain cell or a file that runs now.  Thread: any."""
        return work in self._cells

    def lives(self, work: int) -> bool:
        """Whether work with that number is a script, or may become one.  Thread: any."""
        return work in self.alive or work in self._cells

    def end_cell(self, work_id: WorkId) -> Script | None:
        """A plain cell or a file has ended; gives the script that it was.  Thread: the cell's."""
        make = self._cells.pop(work_id.work)
        has_log = self.logs.is_noted(work_id.work)
        return make() if has_log else self.alive.get(work_id.work)

    def note_output(self) -> None:
        """Note where output goes, unless a script lives that may have changed it.  Thread: any."""
        if not self.alive and not self._cells:
            self._output = cleanup.Output()

    def _put_back(self, *by: int | None) -> None:
        """Put back what was set on the reactor by these, and where output went."""
        self.resolvers.put_back(*by)
        self.pool_sizes.put_back(*by)
        self._output.put_back()

    def explain_logged(self, event: LogEvent) -> None:
        """An observer of Twisted's log: a failure in a script that misses a name gets a line."""
        failure = event.get("log_failure", event.get("failure"))
        script = self.alive.get(current_work().work)
        if script is not None and isinstance(failure, Failure) and failure.value is not None:
            explain_names(failure.value, script.names)

    def end(self, script: Script, *, closes: bool, gone: bool) -> None:
        """
        A script's code has ended.

        Args:
            script: the script.
            closes: whether what it has begun ends with it.
            gone: whether its log ends with it if nothing else of it goes on.

        Thread: reactor, in its context.
        """
        work, stays = script.work_id.work, not closes
        if self.logs.is_set_up(work):
            # What failed and nobody looked at is logged, as at the end of a process: Scrapy's
            # `start` returns at once if no crawl could begin.
            gc.collect()
            reactor = self._thread.reactor
            stays = stays and not (gone and not cleanup.goes_on(reactor, script.work_id))
            if closes:  # else this may come late, when the next cell is making one
                cleanup.close_reactors(reactor)
        self.logs.end(work, stays=stays)
        if closes:
            script.disconnect()
            script.stop_work()
        del self.alive[work]
        if closes:
            self.ran.add(work)
            self._put_back(work, script.ident)

    def refuse(self, cancel: Callable[[], object] | None) -> None:
        """Undo what the work of this context has changed, which may not run the reactor."""
        work = current_work().work
        self._refused.add(work)
        if not self.lives(work):
            self.logs.end(work, stays=False)
        self._put_back(work)
        if cancel is not None:
            cancel()

    def end_all(self) -> Deferred[None]:
        """Stop the scripts that wait, as `Script.cancel`; the Deferred fires when none waits."""
        stages = (Stage.WAITS, Stage.STOPS)
        scripts = [one for one in list(self.alive.values()) if one.stage in stages]
        over = DeferredList([script.when_over() for script in scripts])
        for script in scripts:
            self._thread.crawls.close(script.work_id)
            script.cancel()
        return over.addCallback(lambda _: None)

    def end_and_wait(self) -> None:
        """Stop the scripts that wait; wait for their end, `_PATIENCE` s at most.  Thread: any."""
        if not self.waiting():
            return
        if self._thread.here():  # where waiting would be for itself
            self.end_all()
            return
        with suppress(NotInTime):
            self._thread.run(self.end_all).wait(_PATIENCE)

    def own(self) -> Script | None:
        """The script whose context this is, or that the cell becomes whose context this is."""
        work = current_work().work
        make = self._cells.get(work)
        return self.alive.get(work) if make is None else make()

    def own_or_only_one(self) -> Script | None:
        """The same; in a context that a script which ended has left, the only one that waits."""
        if current_work().work not in self.ran:
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
