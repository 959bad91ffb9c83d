"""
An awaiting cell: it runs in the reactor thread while its home waits for it.

A cell's context carries the cell's number, never the cell, its result or the
shell: what a cell leaves behind (a port, a timer) keeps its context alive.
"""

from __future__ import annotations

import sys
import threading
from asyncio import CancelledError
from bdb import BdbQuit
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError as TwistedCancelledError
from twisted.internet.defer import Deferred, FirstError
from twisted.python.failure import Failure

from twisted_ipython import _numbers, _works
from twisted_ipython._home import Home
from twisted_ipython._interrupt import Break, Pulse
from twisted_ipython._interruptible import Interruptible
from twisted_ipython._jobs import Job, first_line, jobs
from twisted_ipython._reactor import STOPPED, Ending, ReactorThread, start, when_stopped
from twisted_ipython._sigint import watch
from twisted_ipython._stack import Label, in_files
from twisted_ipython._traceback import STUB

__all__ = [
    "LOOK",
    "AwaitingCell",
    "Typed",
    "at_home",
    "call_in_main_thread",
    "in_main_thread",
    "pokes",
    "run_at_home",
    "run_later_calls",
    "show_at_home",
    "waiting_cell",
]

_T = TypeVar("_T")

TIMED_OUT: Final = (
    "The cell awaited for more than {seconds:g} seconds, and what it awaited was cancelled."
    " `%twisted_config timeout SECONDS` changes the limit, `%twisted_config timeout INFINITY`"
    " takes it away."
)
GIVEN_UP: Final = (
    "What the cell awaits does not let itself be cancelled. The cell was given up; its work goes"
    " on as job {number} (see %reactor jobs)."
)

# The cells that are waited for, by the numbers that their contexts carry.
_cells: dict[_numbers.Numbers, AwaitingCell] = {}
# Cells that the reactor stopped under: asyncio would complain of their tasks when
# they are collected.
_stranded: list[AwaitingCell] = []
# What ends the code because it was to end.
_ENDS: Final = (CancelledError, TwistedCancelledError, Break, KeyboardInterrupt, BdbQuit)
# Seconds that a cell gets to end after its time limit cancelled it.
_GRACE: Final = 1.0
# Seconds between two looks at the work.  A SIGINT that comes just as the main thread
# begins to block is only handled at the next one.
LOOK: Final = 0.25


class Typed(NamedTuple):
    """
    What is known of a cell.

    Attributes:
        number: IPython's.
        code: what was typed.
        label: how its shell writes a place in the code.
    """

    number: int = 0
    code: str = ""
    label: Label = in_files


class AwaitingCell:
    """
    One run of awaiting code in the reactor thread, seen from the thread that waits.

    Args:
        reactor: the reactor thread.
        home: the waiting thread.
        code: gives the coroutine to run.
        timeout: seconds after which it is cancelled, or None.
        cell: what is known of the cell, if it is one.
    """

    def __init__(
        self,
        reactor: ReactorThread,
        home: Home,
        code: Callable[[AwaitingCell], Coroutine[Any, Any, Any]],
        timeout: float | None = None,
        cell: Typed | None = None,
    ) -> None:
        self.home = home
        self.cell = cell or Typed()
        self.numbers = _numbers.new(self.cell.number)
        self.given_up = False
        # Whether another thread than the main one waits.
        self._aside = home.thread != threading.main_thread().ident
        self._reactor = reactor
        self._code = code
        self._context = copy_context()
        self._timeout = timeout
        self._deadline = None if timeout is None else monotonic() + timeout
        self._reason: BaseException | None = None
        self._pulse = Pulse(reactor, self.cell.label)
        self._door: Interruptible[Any] | None = None
        self._failed: BaseException | None = None
        self._outcome: tuple[Any, BaseException | None] = None, None
        self._cancel: Callable[[], object] | None = None
        self._begun = self._over = self._stopped = False
        self._tells: list[Callable[[], object]] = []
        # What becomes of the code after it was given up.
        self._rest: Ending | None = None

    async def run(self) -> Any:
        """`wait`, and then the `result`."""
        await self.wait()
        return self.result()

    async def wait_quietly(self) -> None:
        """`wait`, whose failure is left to `result`."""
        try:
            await self.wait()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail(error)

    async def wait(self) -> None:
        """
        Run the code in the reactor thread and wait for its end.  In the home's thread.

        Whatever else ends the wait also cancels the code.

        Raises:
            RuntimeError: the reactor was stopped before.
        """
        _cells[self.numbers] = self
        self._watch()
        try:
            await self.home.wait(self)
        except BaseException:
            self.interrupt()
            raise
        finally:
            del _cells[self.numbers]
            self._watch()

    def _watch(self) -> None:
        """Have the main thread take Ctrl-C for a cell that another thread waits for."""
        if self._aside and watch not in _later:
            call_in_main_thread(watch)

    def result(self) -> Any:
        """
        What the code returned.  In the home's thread, after `wait`.

        Raises:
            KeyboardInterrupt: one Ctrl-C cancels what is awaited, a second one
                stops waiting for it.
            TimeoutError: the time limit was reached.
            RuntimeError: the reactor was stopped meanwhile.
            BaseException: what the code raised.
        """
        if not self._begun:
            assert self._failed is not None
            raise self._failed
        if self.given_up:
            assert self._reason is not None
            raise self._reason
        if self._stopped:
            _stranded.append(self)
            raise RuntimeError(STOPPED)
        value, error = self._outcome
        error = error or self._failed
        if error is not None:
            raise error
        return value

    # ---- in the reactor thread

    def _begin(self) -> None:
        self._context.run(_numbers.carry, self.numbers)
        self._cancel = self._reactor.drive(self._body(), self._context)
        if self._reason is not None:
            self._cancel()

    async def _body(self) -> None:
        """Run the code; nothing leaves this: a SystemExit would end the reactor's loop."""
        try:
            try:
                self._door = Interruptible(self._code(self))
                self._outcome = await self._door, None
            except BaseException as error:
                self._reactor.explain(error)
                self._outcome = None, self._because(error) if _is_cancellation(error) else error
            if self._reason is not None:
                self._tell_of_threads(self._reason)
        finally:
            self._end_wait()
            if self._rest is not None:
                self._rest.callback(self._came_to())

    def _leave_rest(self) -> Deferred[Any]:
        """What becomes of a cell that was given up."""
        assert self._cancel is not None
        rest = Ending(self._cancel)
        if self._over:
            rest.callback(self._came_to())
        else:
            self._rest = rest
        return rest

    def _came_to(self) -> Failure | None:
        """The failure of a cell that was given up."""
        failed = self._outcome[1]
        return None if failed is None else Failure(failed)

    def stop(self) -> None:
        """The reactor stops, and the code with it."""
        self._stopped = not self._over
        self._end_wait()

    def _end_wait(self) -> None:
        """Have the home go on; it will find what came of it.  Any thread."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        while self._tells:
            try:
                tell = self._tells.pop()
            except IndexError:  # another thread took it
                return
            tell()

    def _tell_of_threads(self, reason: BaseException) -> None:
        """Say which threads of the pool go on though the cell was to end."""
        line = _works.left_by(self.numbers, self.cell.label)
        if line is not None and self._outcome[1] is reason:
            reason.add_note(line)
        elif line is not None:
            print(line, file=sys.stderr)

    def fail(self, error: BaseException) -> None:
        """Have `result` raise what would change if it left a coroutine.  In the reactor thread."""
        self._failed = error

    def check(self) -> None:
        """
        Called between the statements of a cell.

        Raises:
            asyncio.CancelledError: the cell was given up, so no statement follows.
        """
        if self.given_up:
            raise CancelledError

    def _because(self, cancelled: BaseException) -> BaseException:
        """What ended the code, with the traceback of the cancellation that it caused."""
        if self._reason is None or self.given_up:
            return cancelled
        return self._reason.with_traceback(cancelled.__traceback__)

    def _end_because(self, reason: BaseException) -> None:
        self._reason = reason
        if self._door is not None and isinstance(reason, KeyboardInterrupt):
            self._door.instead = reason
        if self._cancel is not None:
            self._cancel()

    # ---- what a question of the cell's needs

    @property
    def waits(self) -> bool:
        """Whether its home waits for it.  Any thread."""
        return _cells.get(self.numbers) is self and not self.given_up

    def in_context(self, function: Callable[[], _T]) -> _T:
        """What ``function`` gives in the cell's context.  Any thread."""
        return self._context.copy().run(function)

    def pardon(self, seconds: float) -> None:
        """The reactor could not answer, and the time limit not run, for so long.  In the home."""
        self._pulse.pardon()
        if self._deadline is not None:
            self._deadline += seconds

    # ---- what the home calls

    def begin(self) -> None:
        """See `_home.Waits`."""
        # By no EventualResult: crochet takes longer to make one than this takes in all.
        if self._reactor.stopped:
            raise RuntimeError(STOPPED)
        self._begun = True
        self._reactor.call(self._begin)

    def when_done(self, call: Callable[[], object]) -> None:
        """See `_home.Waits`."""
        self._tells.append(call)
        if self._over:
            self._tell()

    def look(self) -> float:
        """See `_home.Waits`: the time limit, and whether the reactor answers."""
        self._pulse.look()
        # A signal may reach another thread than the main one, which then sleeps on.
        self._watch()
        if self._deadline is None or self.given_up:
            return LOOK
        left = self._deadline - monotonic()
        if left <= 0:
            self._strike()
            left = _GRACE
        return min(left, LOOK)

    def interrupt(self) -> None:
        """Cancel what is awaited; the second time, stop waiting for it."""
        self._end(KeyboardInterrupt())

    def _strike(self) -> None:
        """Cancel what is awaited: the time is up; a second later, stop waiting for it."""
        assert self._timeout is not None
        self._deadline = monotonic() + _GRACE
        self._end(TimeoutError(TIMED_OUT.format(seconds=self._timeout)))

    def _end(self, reason: BaseException) -> None:
        if self._reason is None:
            self._reason = reason
            # What a canceller prints belongs to the cell.
            self._reactor.call(self._context.copy().run, self._end_because, reason)
            self._pulse.free()
        elif not (self.given_up or self._over):
            self._give_up(reason)

    def _give_up(self, reason: BaseException) -> None:
        """Stop waiting; the work goes on as a job."""
        job = Job(None, self.numbers.cell, first_line(self.cell.code))
        job.numbers = self.numbers
        jobs.add(job, self.in_context(lambda: self._reactor.run(self._leave_rest)))
        reason.add_note(self._pulse.stuck_at() or GIVEN_UP.format(number=job.number))
        self._reason = reason
        self.given_up = True
        self._tell()


def _stop_all() -> None:
    """The reactor stops.  In its thread."""
    for cell in list(_cells.values()):
        cell.stop()


when_stopped.append(_stop_all)


def _is_cancellation(error: BaseException) -> bool:
    """Whether something was cancelled, seen through what `gatherResults` makes of it."""
    if isinstance(error, FirstError):
        return error.subFailure.check(TwistedCancelledError) is not None
    if isinstance(error, BaseExceptionGroup):  # as anyio's task groups do with any exception
        return all(map(_is_cancellation, error.exceptions))
    return isinstance(error, _ENDS)


# ---- what code in the reactor thread calls


def _current() -> AwaitingCell | None:
    """The awaiting cell whose context this is, while it is waited for.  Any thread."""
    return _cells.get(_numbers.current())


def waiting_cell(*, any_cell: bool) -> AwaitingCell | None:
    """
    The cell that is waited for where the caller's work is to be asked about.  Any thread.

    Args:
        any_cell: whether the latest of all cells does, if none waits for the caller.
    """
    own, cells = _current(), list(_cells.values())
    if own is None:
        return cells[-1] if cells and any_cell else None
    # A cell that its thread runs inside of it waits now.
    return next((one for one in reversed(cells) if one.home.thread == own.home.thread), None)


def _send(call: Callable[[Callable[[], None]], object], function: Callable[[], _T]) -> Deferred[_T]:
    """Have ``call`` run ``function`` in another thread; the Deferred fires in the reactor's."""
    result: Deferred[_T] = Deferred()
    context = copy_context()
    reactor = start()

    def fire(value: Any) -> None:
        if not result.called:
            result.callback(value)

    def run() -> None:
        try:
            value: Any = context.run(function)
        except BaseException:
            value = Failure()
        reactor.call(fire, value)

    call(run)
    return result


def run_at_home(source: str) -> Deferred[Any]:
    """
    Evaluate IPython's own language (``%magic``, ``!command``) where the cell was typed.

    It is evaluated in the namespaces of the caller, as IPython does it: magics
    look at the frame that called them.  In the reactor thread, which turns
    meanwhile.

    Args:
        source: a Python expression.

    Raises:
        RuntimeError: nobody waits for the cell any more.
    """
    caller = sys._getframe(1)
    code = compile(source, STUB, "eval", dont_inherit=True)
    return at_home(lambda: eval(code, caller.f_globals, caller.f_locals))


def show_at_home(value: object) -> Deferred[None]:
    """Display ``value`` as IPython displays an expression.  In the reactor thread."""
    return at_home(lambda: sys.displayhook(value))


def at_home(function: Callable[[], _T]) -> Deferred[_T]:
    """
    Run ``function`` where the cell was typed, or in the main thread if nobody waits for the cell.

    In the reactor thread, which turns meanwhile.
    """
    cell = _current()
    return _send(call_in_main_thread if cell is None else cell.home.call, function)


# What waits for the main thread; and what has that thread look here soon, while
# it idles, in each shell that has the extension.
_later: deque[Callable[[], None]] = deque()
pokes: list[Callable[[], object]] = []


def in_main_thread(function: Callable[..., _T], /, *args: Any) -> Deferred[_T]:
    """
    Run ``function(*args)`` in the main thread: ``await in_main_thread(f, x)``.

    For what belongs to that thread: signals, sqlite objects that plain cells
    made, GUI toolkits.  Any thread; await the result in an awaiting cell or in
    a coroutine of the reactor thread, which turns meanwhile.  While the main
    thread runs a plain cell, the call waits for that cell's end; at a prompt
    without prompt_toolkit, for the next cell.

    On Ctrl-C and on a timeout the await is cancelled, and a function that has
    begun goes on.

    Args:
        function: what to run, in a copy of the caller's context.
        args: its arguments.

    Returns:
        a Deferred of what it returns, or of the failure that it raises.
    """
    return _send(call_in_main_thread, lambda: function(*args))


def call_in_main_thread(function: Callable[[], None]) -> None:
    """Run ``function`` in the main thread: at once if this is it.  See `in_main_thread`."""
    main = threading.main_thread().ident
    if threading.get_ident() == main:
        function()
        return
    _later.append(function)
    for cell in reversed(list(_cells.values())):
        if cell.home.thread == main:
            cell.home.call(run_later_calls)
            return
    for poke in pokes.copy():
        poke()


def run_later_calls(*_: object) -> None:
    """Run what waits for the main thread, if this is that thread.  Any thread."""
    while _later and threading.current_thread() is threading.main_thread():
        _later.popleft()()
