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
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from twisted_ipython import _leftovers, _numbers, _script_log
from twisted_ipython._hints import explain_names
from twisted_ipython._kept import Kept
from twisted_ipython._report import mark_unseen
from twisted_ipython._script import Script, Stage
from twisted_ipython._traceback import explain

__all__ = [
    "NOBODY_WAITS",
    "any_has_run",
    "end_all",
    "explain_logged",
    "new",
    "note",
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
    " several wait: {scripts}. `%reactor cancel JOB` ends one of them."
)
NEVER_RAN: Final = (
    "{script} ended without reactor.run(): what it left for it with callWhenRunning or a startup"
    " trigger was called now."
)
EXITED: Final = "The script exited with status {status}."

# By the number of their work: the scripts whose code has not ended.
_alive: Final[dict[int, Script]] = {}
# The numbers of scripts that have run the reactor.
_ran: Final[set[int]] = set()
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
) -> Script:
    """
    A plain cell, to be begun.  In the reactor thread.

    Args:
        reactor: the reactor.
        name: what messages call the cell.
        numbers: those that the context carries.
        context: to run it in.
        function: the cell.
    """
    script = Script(name, numbers, context, function, _Session(reactor))
    note(reactor)
    _script_log.begin(numbers.work, context)
    _alive[numbers.work] = script
    return script


def note(reactor: Any) -> None:
    """Note what the session has, unless a script lives that may have changed it."""
    if not _alive:
        _kept[:] = [Kept(reactor)]


def explain_logged(event: LogEvent) -> None:
    """An observer of Twisted's log: a failure in a script that misses a name gets a line."""
    failure = event.get("log_failure", event.get("failure"))
    script = own()
    if script is not None and isinstance(failure, Failure) and failure.value is not None:
        explain_names(failure.value, script.names)


def put_back() -> None:
    """
    Put back what Scrapy has changed in this cell for a crawl, which is refused.

    In the reactor thread.
    """
    _script_log.undo_of_cell()
    for kept in _kept:
        kept.put_back()


def end_all() -> Deferred[Any]:
    """
    Stop the scripts that wait; the second time, without their shutdown triggers.

    In the reactor thread.

    Returns:
        a Deferred that fires when they have ended.
    """
    scripts = list(_alive.values())
    ended = DeferredList([script.when_ended() for script in scripts])
    for script in scripts:
        script.cancel()
    return ended


class _Session:
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

    def ended(self, script: Script, outcome: Any) -> Any:
        """See `_script.Surroundings`."""
        outcome = _settled(script, outcome)
        self._end_log(script)
        del _alive[script.numbers.work]
        if script.ran:
            _ran.add(script.numbers.work)
            self.disconnect(script)
            self.stopped(script)
            for kept in _kept:
                kept.put_back()
        elif not isinstance(outcome, Failure):
            self._take_over(script)
        return outcome

    def _end_log(self, script: Script) -> None:
        work = script.numbers.work
        stays = not script.ran
        if _script_log.is_set_up(work):
            # What failed and nobody looked at is logged, as at the end of a process: Scrapy's
            # `start` returns at once if no crawl could begin.
            gc.collect()
            _leftovers.close_reactors(self._reactor)
            stays = stays and _leftovers.goes_on(self._reactor, script.numbers)
        _script_log.end(work, stays=stays)

    def _take_over(self, script: Script) -> None:
        """What a cell that never ran the reactor left is the session's, whose reactor runs."""
        if len(script.startup):
            print(NEVER_RAN.format(script=script))
            script.startup.fire()
        reactor = self._reactor
        for trigger in script.shutdown.take():
            call = trigger.call
            handle = reactor.addSystemEventTrigger(
                trigger.phase, "shutdown", call.func, *call.args, **call.keywords
            )
            trigger.move(partial(reactor.removeSystemEventTrigger, handle))


def _settled(script: Script, outcome: Any) -> Any:
    """What a cell came to, seen through the SystemExit that ends a script."""
    if not isinstance(outcome, Failure):
        return outcome
    assert outcome.value is not None
    if not isinstance(outcome.value, SystemExit):
        explain(outcome.value)
        explain_names(outcome.value, script.names)
        return outcome
    status = outcome.value.code
    if status is None or status == 0:
        return 0
    failure = script.failure
    if failure is not None and failure.check(SystemExit) is None:
        assert failure.value is not None
        mark_unseen(failure.value)
        return failure
    return Failure(RuntimeError(EXITED.format(status=status)), exc_tb=outcome.tb)


def own() -> Script | None:
    """The script whose context this is."""
    return _alive.get(_numbers.current().work)


def own_or_only_one() -> Script | None:
    """The same; in a context that a script which ended has left, the only one that waits."""
    work = _numbers.current().work
    if work not in _ran:
        return _alive.get(work)
    scripts = waiting()
    return scripts[0] if len(scripts) == 1 else None


def to_stop() -> Script | None:
    """
    The script that a stop in this context is meant for; None if there is none, which is said.

    Raises:
        ReactorNotRunning: it does not wait, or shuts down.
    """
    mine = own()
    if mine is not None:
        if mine.stage is not Stage.WAITS:
            raise ReactorNotRunning(NOT_YET)
        return mine
    scripts = waiting()
    if len(scripts) == 1:
        return scripts[0]
    stopping = [script for script in list(_alive.values()) if script.stage is Stage.STOPS]
    if stopping and not scripts:
        raise ReactorNotRunning(STOPPING.format(script=stopping[0]))
    print(SEVERAL_WAIT.format(scripts=", ".join(map(str, scripts))) if scripts else NOBODY_WAITS)
    return None


def any_has_run() -> bool:
    """Whether any script of the process has run the reactor to its end."""
    return bool(_ran)
