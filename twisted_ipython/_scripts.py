"""
The scripts of the session, and whose a call of the reactor is.

A call belongs to the script whose number the caller's context carries.
Connections of a pool keep the context of the cell that opened them, so a
``stop`` from a context without a script that waits stops the only script that
waits.

Any thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import CodeType
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from twisted_ipython import _leftovers, _numbers, _script_log
from twisted_ipython._greenlet_script import GreenletScript
from twisted_ipython._hints import explain_names
from twisted_ipython._installed import stay
from twisted_ipython._kept import Kept
from twisted_ipython._report import mark_unseen
from twisted_ipython._script import Script, Stage
from twisted_ipython._traceback import explain

__all__ = [
    "NOBODY_WAITS",
    "Session",
    "any_has_run",
    "begin_cell",
    "elsewhere",
    "end_all",
    "end_cell",
    "enter",
    "exit_of",
    "explain_logged",
    "is_free",
    "new",
    "note",
    "own",
    "own_or_only_one",
    "refuse",
    "to_stop",
    "waiting",
]

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
NEVER_RAN: Final = (
    "{script} ended without reactor.run(): what it left for it with callWhenRunning or a startup"
    " trigger was called now."
)
EXITED: Final = "The script exited with status {status}."

# By the number of their work: the scripts whose code has not ended.
_alive: Final[dict[int, Script]] = {}
# The same of plain cells and files that run, and what makes scripts of them.
_cells: Final[dict[int, Callable[[], Script]]] = {}
# What waits in ``reactor.run()`` for a thread whose code belongs to no script.
elsewhere: Final[list[Callable[[], None]]] = []
# The numbers of scripts that have run the reactor.
_ran: Final[set[int]] = set()
# The numbers of work that was refused to run the reactor, whose stops are no news.
_refused: Final[set[int]] = set()
# What the session had before the scripts that live.
_kept: Final[list[Kept]] = []


def waiting() -> list[Script]:
    """The scripts that wait in ``reactor.run()``."""
    return [script for script in list(_alive.values()) if script.stage is Stage.WAITS]


def new(
    reactor: Any,
    name: str,
    numbers: _numbers.Numbers,
    context: Context,
    function: Callable[[], Any],
    codes: tuple[CodeType, ...],
) -> GreenletScript:
    """
    A script of the background, to be begun.  In the reactor thread.

    Args:
        reactor: the reactor.
        name: what messages call the cell.
        numbers: those that the context carries.
        context: to run it in.
        function: runs the cell's code.
        codes: the code.
    """
    script = GreenletScript(name, numbers, context, Session(reactor), function, codes)
    note(reactor)
    _script_log.begin(numbers.work, context)
    enter(script)
    return script


def begin_cell(reactor: Any, numbers: _numbers.Numbers, make: Callable[[], Script]) -> None:
    """
    A plain cell or a file begins, which may turn out to be a script.  In its thread.

    Args:
        reactor: the reactor.
        numbers: those that its context carries.
        make: makes a script of it.
    """
    note(reactor)
    _script_log.begin_cell(numbers.work)
    _cells[numbers.work] = make


def enter(script: Script) -> None:
    """A script is there.  Any thread."""
    _alive[script.numbers.work] = script


def is_free(numbers: _numbers.Numbers) -> bool:
    """Whether a context that carries these belongs to no script that lives.  Any thread."""
    work = numbers.work
    return numbers != _numbers.NOBODY and work not in _alive and work not in _cells


def end_cell(numbers: _numbers.Numbers) -> Script | None:
    """It has ended; gives the script that it was, for `Session.over` to end.  In its thread."""
    make = _cells.pop(numbers.work)
    has_log = _script_log.end_cell(numbers.work)
    return make() if has_log else _alive.get(numbers.work)


def note(reactor: Any) -> None:
    """Note what the session has, unless a script lives that may have changed it."""
    if not _alive and not _cells:
        _kept[:] = [Kept(reactor)]


def explain_logged(event: LogEvent) -> None:
    """An observer of Twisted's log: a failure in a script that misses a name gets a line."""
    failure = event.get("log_failure", event.get("failure"))
    script = _alive.get(_numbers.current().work)
    if script is not None and isinstance(failure, Failure) and failure.value is not None:
        explain_names(failure.value, script.names)


def refuse(cancel: Callable[[], object] | None) -> None:
    """
    Put back what the work of this context has changed, which may not run the reactor.

    In the reactor thread.

    Args:
        cancel: cancels what it has begun.
    """
    _refused.add(_numbers.current().work)
    _script_log.undo_of_cell()
    for kept in _kept:
        kept.put_back()
    if cancel is not None:
        cancel()


def end_all() -> Deferred[Any]:
    """
    Stop the scripts that wait; the second time, without their shutdown triggers.

    In the reactor thread.

    Returns:
        a Deferred that fires when they wait no more.
    """
    scripts = [one for one in list(_alive.values()) if one.stage in (Stage.WAITS, Stage.STOPS)]
    over = DeferredList([script.when_over() for script in scripts])
    for script in scripts:
        script.cancel()
    return over


class Session:
    """The session, for its scripts."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """See `_script.Surroundings`."""
        self._reactor.callFromThread(function, *args)

    def disconnect(self, script: Script) -> None:
        """See `_script.Surroundings`."""
        _leftovers.disconnect(self._reactor, script.numbers)

    def stopped(self, script: Script) -> None:
        """See `_script.Surroundings`."""
        _leftovers.stop(self._reactor, script.numbers)
        if script.main is not None:
            script.main.cancel()

    def ended(self, script: Script, outcome: Any) -> Any:
        """See `_script.Surroundings`."""
        if isinstance(outcome, Failure) and outcome.value is not None:
            outcome = _settled(script, outcome, outcome.value)
        failed = isinstance(outcome, Failure)
        stay()
        closes = script.ran or (failed and script.would_run())
        self.over(script, closes=closes, gone=True)
        if len(script.startup) and not failed:
            print(NEVER_RAN.format(script=script))
        if not (script.ran or failed):
            self.take_over(script)
        return outcome

    def over(self, script: Script, *, closes: bool, gone: bool) -> None:
        """
        End a script.  In the reactor thread, in its context.

        Args:
            script: whose code has ended.
            closes: whether what it has begun ends with it.
            gone: whether its log ends with it if nothing else of it goes on.
        """
        work = script.numbers.work
        stays = not closes
        if _script_log.is_set_up(work):
            # What failed and nobody looked at is logged, as at the end of a process: Scrapy's
            # `start` returns at once if no crawl could begin.
            gc.collect()
            _leftovers.close_reactors(self._reactor)
            stays = stays and not (gone and not _leftovers.goes_on(self._reactor, script.numbers))
        _script_log.end(work, stays=stays)
        del _alive[work]
        if closes:
            _ran.add(work)
            self.disconnect(script)
            self.stopped(script)
            for kept in _kept:
                kept.put_back()

    def take_over(self, script: Script) -> None:
        """What a cell that never ran the reactor left is the session's, whose reactor runs."""
        script.startup.fire()
        reactor = self._reactor
        for trigger in script.shutdown.take():
            call = trigger.call
            handle = reactor.addSystemEventTrigger(
                trigger.phase, "shutdown", call.func, *call.args, **call.keywords
            )
            trigger.move(partial(reactor.removeSystemEventTrigger, handle))


def _settled(script: Script, outcome: Failure, error: BaseException) -> Any:
    """What a background cell that failed came to, seen through the SystemExit of a script."""
    if isinstance(error, SystemExit):
        instead = exit_of(script, error)
        return 0 if instead is None else Failure(instead, exc_tb=instead.__traceback__)
    explain(error)
    explain_names(error, script.names)
    return outcome


def exit_of(script: Script, exits: SystemExit) -> BaseException | None:
    """What a SystemExit means that ends a script: a failure, or None for success.  Any thread."""
    if not exits.code:
        return None
    failure = script.failure
    if failure is not None and failure.check(SystemExit) is None:
        assert failure.value is not None
        mark_unseen(failure.value)
        return failure.value.with_traceback(failure.getTracebackObject())
    error = RuntimeError(EXITED.format(status=exits.code))
    return error.with_traceback(exits.__traceback__)


def own() -> Script | None:
    """The script whose context this is, or that the cell becomes whose context this is."""
    work = _numbers.current().work
    make = _cells.get(work)
    return _alive.get(work) if make is None else make()


def own_or_only_one() -> Script | None:
    """The same; in a context that a script which ended has left, the only one that waits."""
    if _numbers.current().work not in _ran:
        return own()
    scripts = waiting()
    return scripts[0] if len(scripts) == 1 else None


def to_stop(*, crash: bool = False) -> Script | None:
    """
    The script that a stop in this context is meant for.

    Args:
        crash: whether it is one without shutdown triggers.

    Returns:
        None if it is kept for a script that has not run yet, or is nobody's, which is said.

    Raises:
        ReactorNotRunning: the script does not wait, or shuts down.
    """
    mine = own()
    if mine is not None and mine.stage is Stage.WAITS:
        return mine
    scripts = waiting()
    if mine is not None:
        if not mine.keeps_stop():
            raise ReactorNotRunning(NOT_YET)
        if len(scripts) == 1 and not mine.would_run():
            return scripts[0]
        mine.stops = mine.crash if crash else mine.stop
        return None
    if len(scripts) == 1:
        return scripts[0]
    stopping = [script for script in list(_alive.values()) if script.stage is Stage.STOPS]
    if stopping and not scripts:
        raise ReactorNotRunning(STOPPING.format(script=stopping[0]))
    if _numbers.current().work in _refused:
        return None
    print(SEVERAL_WAIT.format(scripts=", ".join(map(str, scripts))) if scripts else NOBODY_WAITS)
    return None


def any_has_run() -> bool:
    """Whether any script of the process has run the reactor to its end."""
    return bool(_ran)
