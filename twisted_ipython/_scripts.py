"""
The scripts of the session, and whose a call of the reactor is.

A call belongs to the script whose number the caller's context carries.
Connections of a pool keep the context of the cell that opened them, so a
``stop`` from a context without a script that waits stops the only script that
waits.

Any thread, unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from twisted_ipython import _leftovers, _numbers
from twisted_ipython._script import Script, Stage

__all__ = ["any_has_run", "end_all", "new", "own", "own_or_only_one", "to_stop", "waiting"]

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
    script = _alive[numbers.work] = Script(name, numbers, context, function, _Session(reactor))
    return script


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
        del _alive[script.numbers.work]
        outcome = _settled(script, outcome)
        if script.ran:
            _ran.add(script.numbers.work)
            self.disconnect(script)
            self.stopped(script)
        elif not isinstance(outcome, Failure):
            self._take_over(script)
        return outcome

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
    if not isinstance(outcome, Failure) or not isinstance(outcome.value, SystemExit):
        return outcome
    status = outcome.value.code
    if status is None or status == 0:
        return 0
    if script.failure is not None and script.failure.check(SystemExit) is None:
        return script.failure
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
