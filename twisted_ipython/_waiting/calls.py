"""
What is sent to the thread that waits for a cell, and to the main thread.

Code in the reactor thread has magics, display and what is bound to the main
thread done there, and awaits a Deferred of it; the reactor turns meanwhile.
What is sent to the main thread while it runs a plain cell, or idles, is done
when it is free.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.tracebacks import STUB
from twisted_ipython._base.work_id import WorkId, current_work
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.cell_thread import Waitable

_T = TypeVar("_T")


def _current() -> Waitable | None:
    """The awaiting cell whose context this is, while it is waited for.  Thread: any."""
    return main_thread.cells.get(current_work())


def waiting_cell(*, any_cell: bool) -> Waitable | None:
    """
    The cell that is waited for where the caller's work is to be asked about.

    Args:
        any_cell: whether the latest of all cells does, if none waits for the caller.

    Thread: any.
    """
    own, known = _current(), list(main_thread.cells.values())
    if own is None:
        return known[-1] if known and any_cell else None
    # A cell that its thread runs inside of it waits now.
    return next(
        (one for one in reversed(known) if one.cell_thread.thread == own.cell_thread.thread), None
    )


def _send(call: Callable[[Callable[[], None]], object], function: Callable[[], _T]) -> Deferred[_T]:
    """Have ``call`` run ``function`` in another thread; the Deferred fires in the reactor's."""
    result: Deferred[_T] = Deferred()
    context = copy_context()
    reactor = current()

    def fire(value: Any) -> None:
        if not result.called:
            result.callback(value)

    def run() -> None:
        try:
            try:
                value: Any = context.run(function)
            finally:
                give_back()
        except BaseException:
            value = Failure()
        reactor.call(fire, value)

    call(run)
    return result


def run_in_cell_thread(source: str) -> Deferred[Any]:
    """
    Evaluate IPython's own language (``%magic``, ``!command``) where the cell was typed.

    Args:
        source: a Python expression, for the caller's namespaces: magics look at the frame that
            called them.

    Thread: reactor, which turns meanwhile.
    """
    caller = sys._getframe(1)
    code = compile(source, STUB, "eval", dont_inherit=True)
    return in_cell_thread(lambda: eval(code, caller.f_globals, caller.f_locals))


def show_in_cell_thread(value: object) -> Deferred[None]:
    """Display ``value`` as IPython displays an expression.  Thread: reactor."""
    return in_cell_thread(lambda: sys.displayhook(value))


def in_cell_thread(function: Callable[[], _T]) -> Deferred[_T]:
    """Run ``function`` where the cell was typed; in the main thread if nobody waits for that."""
    cell = _current()
    return _send(main_thread.call if cell is None else cell.cell_thread.call, function)


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

    Thread: any.
    """
    return _send(main_thread.call, lambda: function(*args))


class MainThread:
    """
    What waits for the main thread, and how that is had look while it idles.

    Attributes:
        cells: what cell threads wait for: cells, mostly, by their work ids.
    """

    def __init__(self) -> None:
        self.cells: dict[WorkId, Waitable] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._wakers: list[Callable[[], object]] = []

    def woken_by(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Have ``wake`` have the main thread call `run` if it idles; gives what undoes it."""
        self._wakers.append(wake)
        return lambda: self._wakers.remove(wake)

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` there: at once if this is it.  See `in_main_thread`.  Thread: any."""
        main = threading.main_thread().ident
        if threading.get_ident() == main:
            function()
            return
        self._calls.append(function)
        for cell in reversed(list(self.cells.values())):
            if cell.cell_thread.thread == main:
                cell.cell_thread.call(self.run)
                return
        for wake in self._wakers.copy():
            wake()

    def call_once(self, function: Callable[[], None]) -> None:
        """`call`, unless it waits already.  Thread: any."""
        if function not in self._calls:
            self.call(function)

    def run(self, *_: object) -> None:
        """Run what waits, if this is that thread.  Thread: any."""
        while self._calls and threading.current_thread() is threading.main_thread():
            self._calls.popleft()()


# One in a process, as the thread is.
main_thread: Final = MainThread()
