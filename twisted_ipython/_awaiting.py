"""
An awaiting cell: it runs in the reactor thread while its home waits for it.

A cell's context carries the cell's number, never the cell, its result or the
shell: what a cell leaves behind (a port, a timer) keeps its context alive.
"""

from __future__ import annotations

import itertools
import sys
import threading
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from time import monotonic
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError as TwistedCancelledError
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._eventual import EventualResult
from twisted_ipython._home import Home
from twisted_ipython._reactor import STOPPED, ReactorThread, start

__all__ = ["AwaitingCell", "in_main_thread", "run_at_home", "show_at_home"]

_T = TypeVar("_T")

TIMED_OUT: Final = (
    "The cell awaited for more than {seconds:g} seconds, and what it awaited was cancelled."
    " `%twisted_config timeout SECONDS` changes the limit, `%twisted_config timeout INFINITY`"
    " takes it away."
)
GIVEN_UP: Final = (
    "What the cell awaits does not let itself be cancelled: it goes on in the reactor thread,"
    " and the cell was given up."
)
NO_HOME: Final = (
    "The cell that this code belongs to has ended, and the main thread is not waiting for it"
)

_numbers = itertools.count(1)
_number: ContextVar[int] = ContextVar("twisted_ipython_cell")
_cells: dict[int, AwaitingCell] = {}
# Seconds that a cell gets to end after its time limit cancelled it.
_GRACE: Final = 1.0


class AwaitingCell:
    """
    One run of awaiting code in the reactor thread, seen from the thread that waits.

    Args:
        reactor: the reactor thread.
        home: the waiting thread.
        code: gives the coroutine to run.
        timeout: seconds after which it is cancelled, or None.
    """

    def __init__(
        self,
        reactor: ReactorThread,
        home: Home,
        code: Callable[[AwaitingCell], Coroutine[Any, Any, Any]],
        timeout: float | None = None,
    ) -> None:
        self.home = home
        self.number = next(_numbers)
        self.given_up = False
        self._reactor = reactor
        self._code = code
        self._context = copy_context()
        self._timeout = timeout
        self._deadline = None if timeout is None else monotonic() + timeout
        self._reason: BaseException | None = None
        self._outcome: tuple[Any, BaseException | None] = None, None
        self._cancel: Callable[[], object] | None = None
        self._abandoned: list[Callable[[], object]] = []
        self._eventual: EventualResult | None = None

    async def run(self) -> Any:
        """
        Run the code in the reactor thread and wait for it.  In the home's thread.

        Returns:
            what the code returns.

        Raises:
            KeyboardInterrupt: one Ctrl-C cancels what is awaited, a second one
                stops waiting for it.
            TimeoutError: the time limit was reached.
            RuntimeError: the reactor was stopped.
            BaseException: what the code raises.
        """
        _cells[self.number] = self
        try:
            self._eventual = self._reactor.run(self._begin)
            await self.home.wait(self)
        finally:
            del _cells[self.number]
        return self._result()

    def _result(self) -> Any:
        assert self._eventual is not None
        if not self.given_up:
            failure = self._eventual.original_failure()
            if failure is not None:  # crochet's ReactorStopped
                self._outcome = None, RuntimeError(STOPPED)
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    # ---- in the reactor thread

    def _begin(self) -> Deferred[None]:
        self._context.run(_number.set, self.number)
        ended, self._cancel = self._reactor.drive(self._body(), self._context)
        if self._reason is not None:
            self._cancel()
        return ended

    async def _body(self) -> None:
        """Run the code; nothing leaves this: a SystemExit would end the reactor's loop."""
        try:
            self._outcome = await self._code(self), None
        except (CancelledError, TwistedCancelledError) as error:
            self._outcome = None, self._because(error)
        except BaseException as error:
            self._outcome = None, error

    def check(self) -> None:
        """
        Called between the statements of a cell.

        Raises:
            asyncio.CancelledError: the cell was given up, so no statement follows.
        """
        if self.given_up:
            raise CancelledError(GIVEN_UP)

    def _because(self, cancelled: BaseException) -> BaseException:
        """What ended the code, with the traceback of the cancellation that it caused."""
        if self._reason is None:
            return cancelled
        return self._reason.with_traceback(cancelled.__traceback__)

    def _end_because(self, reason: BaseException) -> None:
        self._reason = reason
        if self._cancel is not None:
            self._cancel()

    # ---- what the home calls

    def when_done(self, call: Callable[[], object]) -> None:
        """See `_home.Waits`."""
        assert self._eventual is not None
        self._abandoned.append(call)
        self._eventual.when_done(call)

    @property
    def seconds_left(self) -> float | None:
        """See `_home.Waits`."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def interrupt(self) -> None:
        """Cancel what is awaited; the second time, stop waiting for it."""
        self._end(KeyboardInterrupt())

    def strike(self) -> None:
        """Cancel what is awaited: the time is up; a second later, stop waiting for it."""
        assert self._timeout is not None
        self._deadline = monotonic() + _GRACE
        self._end(TimeoutError(TIMED_OUT.format(seconds=self._timeout)))

    def _end(self, reason: BaseException) -> None:
        if self._reason is None:
            self._reason = reason
            self._reactor.call(self._end_because, reason)
        elif not self.given_up:
            self.given_up = True
            reason.add_note(GIVEN_UP)
            self._outcome = None, reason
            for call in self._abandoned:
                call()


# ---- what code in the reactor thread calls


def _current() -> AwaitingCell | None:
    """The awaiting cell whose context this is, while it is waited for.  Any thread."""
    return _cells.get(_number.get(0))


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


async def run_at_home(function: Callable[[], _T]) -> _T:
    """
    Run IPython's own language (``%magic``, ``!command``) where the cell was typed.

    Runs in the reactor thread, which turns meanwhile.
    """
    cell = _current()
    if cell is None:
        raise RuntimeError(NO_HOME)
    return await _send(cell.home.call, function)


async def show_at_home(value: object) -> None:
    """Display ``value`` as IPython displays an expression.  Runs in the reactor thread."""
    await run_at_home(lambda: sys.displayhook(value))


# Ways to have the main thread run something while no cell makes it wait, of the
# shells that have the extension; each says whether it took the call.
main_ways: list[Callable[[Callable[[], None]], bool]] = []
_later: deque[Callable[[], None]] = deque()


def in_main_thread(function: Callable[..., _T], /, *args: Any) -> Deferred[_T]:
    """
    Run ``function(*args)`` in the main thread: ``await in_main_thread(f, x)``.

    For what belongs to that thread: signals, sqlite objects that plain cells
    made, GUI toolkits.  Any thread; await the result in an awaiting cell or in
    a coroutine of the reactor thread, which turns meanwhile.  While the main
    thread runs a plain cell, the call waits for that cell's end.

    On Ctrl-C and on a timeout the await is cancelled, and a function that has
    begun goes on.

    Args:
        function: what to run, in a copy of the caller's context.
        args: its arguments.

    Returns:
        a Deferred of what it returns, or of the failure that it raises.
    """
    return _send(_call_in_main_thread, lambda: function(*args))


def _call_in_main_thread(function: Callable[[], None]) -> None:
    main = threading.main_thread().ident
    if threading.get_ident() == main:
        function()
        return
    for cell in reversed(list(_cells.values())):
        if cell.home.thread == main:
            cell.home.call(function)
            return
    if not any(way(function) for way in main_ways):
        _later.append(function)


def run_later_calls() -> None:
    """Run what waits for the main thread.  In the main thread."""
    while _later:
        _later.popleft()()
