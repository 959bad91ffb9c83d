"""
What the session does for its scripts, and what is left of one that has ended.

Thread: reactor, unless a docstring says otherwise.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.tracebacks import explain
from twisted_ipython._base.work_id import WorkId
from twisted_ipython._failures.reports import mark_unseen
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.lifecycle import stay_installed
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts import cleanup
from twisted_ipython._scripts.notes import explain_names
from twisted_ipython._scripts.registry import Scripts
from twisted_ipython._scripts.script import Script

if TYPE_CHECKING:
    from twisted_ipython._scripts.greenlet_script import GreenletScript

# Seconds that scripts get to end when the extension is unloaded.
_PATIENCE: Final = 5.0

NEVER_RAN: Final = (
    "{script} ended without reactor.run(): what it left for it with callWhenRunning or a startup"
    " trigger was called now."
)
EXITED: Final = "The script exited with status {status}."


def new(
    thread: ReactorThread,
    name: str,
    work_id: WorkId,
    context: Context,
    function: Callable[[], Any],
    codes: tuple[CodeType, ...],
) -> GreenletScript:
    """
    A script of the background, to be begun.

    Args:
        thread: the reactor thread.
        name: what messages call the cell.
        work_id: that the context carries.
        context: to run it in.
        function: runs the cell's code.
        codes: the code.

    Returns:
        the script.

    Thread: reactor.
    """
    from twisted_ipython._scripts.greenlet_script import GreenletScript

    script = GreenletScript(name, work_id, context, Session(thread), function, codes)
    scripts = thread.of(Scripts)
    scripts.note()
    scripts.enter(script)
    return script


def end_scripts(thread: ReactorThread) -> None:
    """
    Stop the scripts that wait in ``reactor.run()``, and wait for their end, `_PATIENCE` s at most.

    Args:
        thread: the reactor thread, in which this does not wait.

    Thread: any.
    """
    scripts = thread.of(Scripts)
    if not scripts.waiting():
        return
    if thread.here():
        scripts.end_all()
        return
    with suppress(NotInTime):
        thread.run(scripts.end_all).wait(_PATIENCE)


class Session:
    """
    The session, for its scripts; see `_scripts.script.Surroundings`.

    Args:
        thread: the reactor thread.
    """

    def __init__(self, thread: ReactorThread) -> None:
        self._reactor = thread.reactor
        self._crawls, self._loops = thread.crawls, thread.loops
        self._scripts = thread.of(Scripts)

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """See `_scripts.script.Surroundings`."""
        self._reactor.callFromThread(function, *args)

    def crawls_closed(self, script: Script) -> Deferred[Any]:
        """See `_scripts.script.Surroundings`."""
        return self._crawls.when_closed(script.work_id)

    def disconnect(self, script: Script) -> None:
        """See `_scripts.script.Surroundings`."""
        cleanup.disconnect(self._reactor, script.work_id)

    def stopped(self, script: Script) -> None:
        """See `_scripts.script.Surroundings`."""
        self._crawls.drop(script.work_id)
        cleanup.stop(self._reactor, self._loops, script.work_id)
        if script.main is not None:
            script.main.cancel()

    def ended(self, script: Script, outcome: Any) -> Any:
        """See `_scripts.script.Surroundings`."""
        if isinstance(outcome, Failure) and outcome.value is not None:
            outcome = _settled(script, outcome, outcome.value)
        failed = isinstance(outcome, Failure)
        stay_installed()
        closes = script.ran or (failed and script.would_run())
        self.over(script, closes=closes, gone=True)
        if len(script.startup) and not failed:
            print(NEVER_RAN.format(script=script))
        if not (script.ran or failed):
            self.take_over(script)
        return outcome

    def over(self, script: Script, *, closes: bool, gone: bool) -> None:
        """
        End a script.

        Args:
            script: whose code has ended.
            closes: whether what it has begun ends with it.
            gone: whether its log ends with it if nothing else of it goes on.

        Thread: reactor, in its context.
        """
        work = script.work_id.work
        stays = not closes
        if self._scripts.logs.is_set_up(work):
            # What failed and nobody looked at is logged, as at the end of a process: Scrapy's
            # `start` returns at once if no crawl could begin.
            gc.collect()
            cleanup.close_reactors(self._reactor)
            stays = stays and not (gone and not cleanup.goes_on(self._reactor, script.work_id))
        self._scripts.logs.end(work, stays=stays)
        if closes:
            self.disconnect(script)
            self.stopped(script)
        self._scripts.leave(script, ran=closes)

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
    """What a SystemExit means that ends a script: a failure, or None for success.  Thread: any."""
    if not exits.code:
        return None
    failure = script.failure
    if failure is not None and failure.check(SystemExit) is None:
        assert failure.value is not None
        mark_unseen(failure.value)
        return failure.value.with_traceback(failure.getTracebackObject())
    error = RuntimeError(EXITED.format(status=exits.code))
    return error.with_traceback(exits.__traceback__)
