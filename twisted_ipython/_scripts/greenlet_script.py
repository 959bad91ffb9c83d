"""
A script in the reactor thread, which waits there in ``reactor.run()``: a `%%run_in_reactor` cell.

The goal.  The script's code runs in the reactor thread: it has to stop in the
middle of a call, and go on later, while the reactor turns.

What fails.  A thread of the script's own would call the reactor from outside of
the reactor's thread.  A second loop inside of the call would nest: the script
that began to wait first could only go on when all later ones have ended.

What we do.  The cell's code runs in a greenlet of the reactor thread, in the
context of its job.  ``reactor.run()`` switches back to the greenlet that runs
the loop.  When the script was stopped, the loop switches into the cell again,
from the loop and from nowhere deeper: then nothing that was entered (a task, a
context of Twisted's) is left on the stack of the one greenlet while the other
runs.

What can still go wrong.  A greenlet is no thread: code of the script that
blocks, before ``reactor.run()`` or after it, stops the reactor.

Runs in the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from threading import get_ident
from types import CodeType
from typing import Any, Final

from greenlet import getcurrent, greenlet
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from twisted_ipython._base.tracebacks import explain
from twisted_ipython._base.work_id import WorkId
from twisted_ipython._bridge.ending import Ending
from twisted_ipython._reactor.lifecycle import stay_installed
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.callers import would_run
from twisted_ipython._scripts.notes import explain_names, local_names
from twisted_ipython._scripts.registry import Scripts
from twisted_ipython._scripts.script import Script, Stage

NEVER_RAN: Final = (
    "{script} ended without reactor.run(): what it left for it with callWhenRunning or a startup"
    " trigger was called now."
)


class GreenletScript(Script):
    """One run of a background cell: ``function`` runs its code, which was compiled to ``codes``."""

    def __init__(
        self,
        name: str,
        work_id: WorkId,
        context: Context,
        thread: ReactorThread,
        function: Callable[[], Any],
        codes: tuple[CodeType, ...],
    ) -> None:
        super().__init__(name, work_id, context, thread, partial(would_run, *codes))
        self.names = local_names(codes)
        self._function = function
        self._outcome: Any = None
        self._result = Ending(self.cancel)
        self._value: Deferred[Any] | None = None
        scripts = thread.of(Scripts)
        scripts.note_output()
        scripts.enter(self)

    def begin(self) -> Any:
        """Run the cell until it ends or waits; gives a Deferred of what it will come to."""
        self._ident = get_ident()
        self._greenlet = self._waiting = greenlet(self._body)
        self._greenlet.gr_context = self._context
        self._resume()
        return self._result

    @property
    def gr_frame(self) -> Any:
        """The innermost frame of its code while it waits, else None.  Thread: any."""
        return self._waiting.gr_frame

    def may_run(self) -> bool:
        """See `Script`: whether its code asks, and no callback of the reactor's."""
        here = get_ident() == self._ident
        return here and self.stage is Stage.CODE and getcurrent() is not self._loops

    starts_later = may_run

    def keeps_stop(self) -> bool:
        """See `Script`: no callback comes before ``reactor.run()``, as in a process of its own."""
        return False

    def wait(self) -> None:
        """See `Script`."""
        self._waiting = getcurrent()
        self._begin_run()
        while self.stage is not Stage.CODE:
            self._loops.switch()

    def cancel(self) -> None:
        """See `Script`; once it has ended, cancel what its value waits for."""
        super().cancel()
        if self._value is not None:
            self._value.cancel()

    # ---- the greenlet

    def _resume(self) -> None:
        """Switch to the cell's code until it waits or ends."""
        self._loops = getcurrent()
        self._greenlet.parent = self._loops
        self._waiting.switch()
        if self._greenlet.dead:
            self.stage = Stage.ENDED
            self._value = maybeDeferred(self._context.copy().run, self._settle)
            self._value.addBoth(self._result.end)

    def _settle(self) -> Any:
        """End the script; gives what is to come of the cell."""
        # Not kept: the script and the traceback of its failure would keep each other alive.
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Failure) and outcome.value is not None:
            outcome = self._explained(outcome, outcome.value)
        failed = isinstance(outcome, Failure)
        stay_installed()
        closes = self.ran or (failed and self.would_run())
        self._thread.of(Scripts).end(self, closes=closes, gone=True)
        if len(self.startup) and not failed:
            print(NEVER_RAN.format(script=self))
        if not (self.ran or failed):
            self.hand_over()
        return outcome

    def _explained(self, outcome: Failure, error: BaseException) -> Any:
        """What a cell that failed came to, seen through the SystemExit of a script."""
        if isinstance(error, SystemExit):
            instead = self.exit_of(error)
            return 0 if instead is None else Failure(instead, exc_tb=instead.__traceback__)
        explain(error)
        explain_names(error, self.names)
        return outcome

    def _body(self) -> None:
        """The cell's code; nothing leaves this: it would be raised in the loop."""
        try:
            self._outcome = self._function()
        except BaseException:
            self._outcome = Failure()
