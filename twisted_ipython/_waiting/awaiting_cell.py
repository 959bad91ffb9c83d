"""
An awaiting cell: it runs in the reactor thread while its cell thread waits for it.

A cell's context carries the cell's number, never the cell, its result or the
shell: what a cell leaves behind (a port, a timer) keeps its context alive.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.formatting import say
from twisted_ipython._base.frames import Place, users_place
from twisted_ipython._base.work_id import set_work
from twisted_ipython._bridge.ending import Ending, end, is_cancellation
from twisted_ipython._bridge.interruptible import Interruptible
from twisted_ipython._reactor.interrupt import LEFT_STUCK, STOPPED
from twisted_ipython._reactor.jobs import first_line
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._waiting.cell_thread import CellThread
from twisted_ipython._waiting.time_limit import TimeLimit
from twisted_ipython._waiting.work import CellInfo, ReactorWork

TIMED_OUT: Final = (
    "The cell awaited for more than {seconds:g} seconds, and what it awaited was cancelled."
    " `%twisted_config timeout SECONDS` changes the limit, `%twisted_config timeout INFINITY`"
    " takes it away."
)
GIVEN_UP: Final = (
    "What the cell awaits does not let itself be cancelled. The cell was given up; its work goes"
    " on as job {number} (see %reactor jobs)."
)
GOES_ON: Final = (
    "What the cell awaits has not ended yet. A second Ctrl-C gives up on it: it then goes on as a"
    " job (see %reactor jobs)."
)
IS_STUCK: Final = "{stuck} A second Ctrl-C gives up on the cell."

# Seconds that a cell gets to end after its time limit cancelled it.
_GRACE: Final = 1.0


class AwaitingCell(ReactorWork):
    """
    One run of awaiting code in the reactor thread, seen from the thread that waits.

    Args:
        code: gives the coroutine to run.
        timeout: gives the seconds after which it is cancelled, or None; from a change on anew.
    """

    def __init__(
        self,
        reactor: ReactorThread,
        cell_thread: CellThread,
        code: Callable[[AwaitingCell], Coroutine[Any, Any, Any]],
        timeout: Callable[[], float | None] = lambda: None,
        cell: CellInfo | None = None,
    ) -> None:
        super().__init__(reactor, cell_thread, cell or CellInfo())
        self._code = code
        self._limit = TimeLimit(timeout)
        self._reason: BaseException | None = None
        # Where the user's code was then, if the reactor thread ran any.
        self._place: Place | None = None
        # When a first Ctrl-C came, until it was said that nothing has ended.
        self._ends_since: float | None = None
        self._interruptible: Interruptible[Any] | None = None
        self._failed: BaseException | None = None
        self._outcome: tuple[Any, BaseException | None] = None, None
        self._cancel: Callable[[], object] | None = None
        # `_only_crawls`: nothing is left to wait for but crawls that are being closed.
        self._stopped = self._only_crawls = False
        self._rest: Ending | None = None  # what becomes of the code after it was given up

    async def wait_quietly(self) -> None:
        """`wait`, whose failure is left to `result`."""
        try:
            await self.wait()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail(error)

    def result(self) -> Any:
        """
        What the code returned.

        Raises:
            KeyboardInterrupt: one Ctrl-C cancels what is awaited, a second one
                stops waiting for it.
            TimeoutError: the time limit was reached.
            RuntimeError: the reactor was stopped meanwhile.
            BaseException: what the code raised.

        Thread: cell, after `wait`.
        """
        value, error = self._outcome
        error = self._reason if self.given_up else error or self._failed
        if self._stopped and not self.given_up:
            raise RuntimeError(STOPPED)
        if error is not None:
            raise error
        return value

    # ---- in the reactor thread

    def _begin(self) -> None:
        self.context.run(set_work, self.work_id)
        self._cancel = self._reactor.drive(self._body(), self.context)
        if self._reason is not None:
            self._cancel()

    async def _body(self) -> None:
        """Run the code; nothing leaves this: a SystemExit would end the reactor's loop."""
        try:
            try:
                self._interruptible = Interruptible(self._code(self))
                value = await self._interruptible
                self._raise_swallowed()
                self._outcome = value, None
            except BaseException as error:
                self._reactor.explain(error)
                self._outcome = None, self._because(error) if is_cancellation(error) else error
            if self._reason is not None:
                self._only_crawls = True
                await self._reactor.crawls.when_closed(self.work_id)
                self._tell_of_threads(self._reason)
        finally:
            self._end_wait()
            if self._rest is not None:
                self._rest.callback(self._came_to())

    def _leave_rest(self) -> Deferred[Any]:
        """What becomes of a cell that was given up."""
        rest = Ending(lambda: self._end_because(KeyboardInterrupt()))
        if self._over:
            rest.callback(self._came_to())
        else:
            self._rest = rest
        return rest

    def _came_to(self) -> Failure | None:
        """The failure of a cell that was given up."""
        if (failed := self._outcome[1]) is None:
            return None
        ended = CancelledError() if is_cancellation(failed) else failed
        return Failure(ended, exc_tb=failed.__traceback__)

    def stop(self) -> None:
        """The reactor stops, and the code with it."""
        self._stopped = not self._over
        self._end_wait()

    def _tell_of_threads(self, reason: BaseException) -> None:
        """Say which threads of the pool go on though the cell was to end."""
        line = self._reactor.pool_work.left_by(self.work_id, self.cell.label)
        if line is not None and self._outcome[1] is reason:
            reason.add_note(line)
        elif line is not None:
            say(line)

    def fail(self, error: BaseException) -> None:
        """Have `result` raise what would change if it left a coroutine.  Thread: reactor."""
        self._failed = error

    def raise_if_ending(self) -> None:
        """Between statements: raise why the cell was to end, if it goes on.  Thread: reactor."""
        if self.given_up:
            raise CancelledError
        self._raise_swallowed()

    def _raise_swallowed(self) -> None:
        """Raise why the cell was to end, if it has gone on."""
        if (code := self._interruptible) is None:
            return
        if not self.given_up and self._reason not in (None, code.told):  # the reactor was stuck
            assert self._reason is not None
            code.interrupt(self._reason, at=self._place)
        code.raise_swallowed()

    def run_statement(self, coro: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Note the coroutine of a statement, whose frame is the cell's own, and return it."""
        if self._interruptible is not None:
            self._interruptible.own = coro
        return coro

    def _because(self, cancelled: BaseException) -> BaseException:
        """What ended the code, with the traceback of the cancellation that it caused."""
        if self._reason is None or self.given_up:
            return cancelled
        return self._reason.with_traceback(cancelled.__traceback__)

    def _end_because(self, reason: BaseException) -> None:
        self._reason = reason
        self._reactor.crawls.close(self.work_id)
        if self._interruptible is not None and self._cancel is not None:
            pressed = isinstance(reason, KeyboardInterrupt)
            end(self._interruptible, self._cancel, reason, replaces=pressed)

    # ---- what the cell thread calls

    def begin(self) -> None:
        """See `Waitable`."""
        # By no EventualResult: crochet takes longer to make one than this takes in all.
        self._reactor.call(self._begin)

    def check(self) -> float:
        """See `Waitable`: the time limit, and whether the reactor answers."""
        seconds = self._heartbeat.check()
        self._say_that_it_goes_on()
        # A signal may reach another thread than the main one, which then sleeps on.
        self._watch()
        left = self._limit.left()
        if left is None or self.given_up:
            return seconds
        if left <= 0:  # a second later the cell is given up
            left = self._limit.allow(_GRACE)
            self._end(TimeoutError(TIMED_OUT.format(seconds=self._limit.seconds or 0)))
        return min(left, seconds)

    def _say_that_it_goes_on(self) -> None:
        """Say once, a while after a first Ctrl-C, what a second one does."""
        if self._ends_since is None or self._over or self._is_handled:
            self._ends_since = None
            return
        seconds, stuck = monotonic() - self._ends_since, self._heartbeat.stuck_at()
        if seconds >= (_GRACE if stuck is None else _GRACE / 2):
            self._ends_since = None
            say(GOES_ON if stuck is None else IS_STUCK.format(stuck=stuck))

    def extend_deadline(self, seconds: float) -> None:
        """The reactor could not answer for so long: extend the time limit.  Thread: cell."""
        super().extend_deadline(seconds)
        self._limit.extend(seconds)

    def interrupt(self) -> None:
        """Cancel what is awaited; the second time, stop waiting for it."""
        self._end(KeyboardInterrupt())

    @property
    def _is_handled(self) -> bool:
        """Whether the cell's own code has handled why it was to end."""
        code = self._interruptible
        return code is not None and code.handled and code.told is self._reason

    def _end(self, reason: BaseException) -> None:
        pressed = isinstance(reason, KeyboardInterrupt)
        if self._reason is None or (pressed and self._is_handled):
            self._reason = reason
            self._ends_since = monotonic() if pressed else None
            self._place = users_place(self._reactor.ident)
            # What a canceller prints belongs to the cell.
            self._reactor.call(self.context.copy().run, self._end_because, reason)
            self._heartbeat.free()
        elif not (self.given_up or self._over):
            self._reactor.call(self.context.copy().run, self._reactor.crawls.close, self.work_id)
            if not self._only_crawls:
                self._give_up(reason)
            self._only_crawls = False

    def _give_up(self, reason: BaseException) -> None:
        """Stop waiting; the work goes on as a job."""
        code, cell = first_line(self.cell.code), self.work_id.cell
        job = self.in_context(lambda: self._reactor.jobs.new(None, cell, code))
        job.work_id = self.work_id
        self._reactor.jobs.add(job, self.in_context(lambda: self._reactor.run(self._leave_rest)))
        stuck = self._heartbeat.stuck_at()
        reason.add_note((LEFT_STUCK if stuck else GIVEN_UP).format(number=job.number, stuck=stuck))
        self._reason = reason
        self.given_up = True
        self._tell()
