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
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import NO_WORK, WorkId, current_work
from twisted_ipython._reactor.crawls import crawls
from twisted_ipython._scripts import script_log
from twisted_ipython._scripts.cleanup import Kept
from twisted_ipython._scripts.notes import explain_names
from twisted_ipython._scripts.script import Script, Stage

__all__ = [
    "NOBODY_WAITS",
    "any_has_run",
    "begin_cell",
    "end_all",
    "end_cell",
    "enter",
    "explain_logged",
    "is_cell",
    "is_free",
    "leave",
    "note",
    "note_refused",
    "own",
    "own_or_only_one",
    "put_back",
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
# By the number of their work: the scripts whose code has not ended.
_alive: Final[dict[int, Script]] = {}
# The same of plain cells and files that run, and what makes scripts of them.
_cells: Final[dict[int, Callable[[], Script]]] = {}
# The numbers of scripts that have run the reactor.
_ran: Final[set[int]] = set()
# The numbers of work that was refused to run the reactor, whose stops are no news.
_refused: Final[set[int]] = set()
# What the session had before the scripts that live.
_kept: Final[list[Kept]] = []


def waiting() -> list[Script]:
    """The scripts that wait in ``reactor.run()``."""
    return [script for script in list(_alive.values()) if script.stage is Stage.WAITS]


def begin_cell(reactor: Any, work_id: WorkId, make: Callable[[], Script]) -> None:
    """
    A plain cell or a file begins, which may turn out to be a script.  In its thread.

    Args:
        reactor: the reactor.
        numbers: those that its context carries.
        make: makes a script of it.
    """
    note(reactor)
    script_log.begin_cell(work_id.work)
    _cells[work_id.work] = make


def enter(script: Script) -> None:
    """A script is there.  Thread: any."""
    _alive[script.work_id.work] = script


def is_cell(work: int) -> bool:
    """Whether a number is that of a plain cell or a file that runs now.  Thread: any."""
    return work in _cells


def is_free(work_id: WorkId) -> bool:
    """Whether a context that carries these belongs to no script that lives.  Thread: any."""
    work = work_id.work
    return work_id != NO_WORK and work not in _alive and work not in _cells


def end_cell(work_id: WorkId) -> Script | None:
    """It has ended; gives the script that it was, for `Session.over` to end.  In its thread."""
    make = _cells.pop(work_id.work)
    has_log = script_log.end_cell(work_id.work)
    return make() if has_log else _alive.get(work_id.work)


def note(reactor: Any) -> None:
    """Note what the session has, unless a script lives that may have changed it."""
    if not _alive and not _cells:
        _kept[:] = [Kept(reactor)]


def explain_logged(event: LogEvent) -> None:
    """An observer of Twisted's log: a failure in a script that misses a name gets a line."""
    failure = event.get("log_failure", event.get("failure"))
    script = _alive.get(current_work().work)
    if script is not None and isinstance(failure, Failure) and failure.value is not None:
        explain_names(failure.value, script.names)


def leave(script: Script, *, ran: bool) -> None:
    """A script is no more; whether it ran the reactor.  Thread: reactor."""
    del _alive[script.work_id.work]
    if ran:
        _ran.add(script.work_id.work)
        put_back()


def put_back() -> None:
    """Put back what the session had before its scripts.  Thread: reactor."""
    for kept in _kept:
        kept.put_back()


def note_refused() -> None:
    """The work of this context may not run the reactor; its stops are no news."""
    _refused.add(current_work().work)


def end_all() -> Deferred[Any]:
    """
    Stop the scripts that wait; the second time, without their shutdown triggers.

    Returns:
        a Deferred that fires when they wait no more.

    Thread: reactor.
    """
    scripts = [one for one in list(_alive.values()) if one.stage in (Stage.WAITS, Stage.STOPS)]
    over = DeferredList([script.when_over() for script in scripts])
    for script in scripts:
        crawls.close(script.work_id)
        script.cancel()
    return over


def own() -> Script | None:
    """The script whose context this is, or that the cell becomes whose context this is."""
    work = current_work().work
    make = _cells.get(work)
    return _alive.get(work) if make is None else make()


def own_or_only_one() -> Script | None:
    """The same; in a context that a script which ended has left, the only one that waits."""
    if current_work().work not in _ran:
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
    if current_work().work in _refused:
        return None
    line = SEVERAL_WAIT.format(scripts=", ".join(map(str, scripts))) if scripts else NOBODY_WAITS
    print(line.replace("stop()", "crash()", 1) if crash else line)
    return None


def any_has_run() -> bool:
    """Whether any script of the process has run the reactor to its end."""
    return bool(_ran)
