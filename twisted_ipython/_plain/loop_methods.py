"""
The methods of the reactor's loop, for plain cells and for whoever would end the loop.

The goal.  A plain cell finds the reactor's loop as the running one, and may call
it as code that runs on it may.  ``run_until_complete`` and ``run_forever`` wait.
``stop`` and ``close`` end such a wait, and never the reactor.

What fails.  A loop is not thread-safe.  ``call_soon`` of another thread is
noticed when something else wakes the loop.  ``call_soon_threadsafe`` in its
place wakes the loop in the middle of what the caller changes.

What we do.  While a statement of a plain cell runs, the methods that schedule
something are set on the loop's instance, behind a check of the thread: the cell
borrows the reactor.  At other times they are not there, and cost nothing.
Whose ``stop`` it is, the context of the caller says.

What can still go wrong.  What asyncio's own objects change before they call the
loop, they change beside it: ``Event.set`` walks through those who wait, and one
that comes at that moment is an error.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial, wraps
from threading import get_ident
from types import FrameType
from typing import Any, Final

from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.instance import override
from twisted_ipython._base.loans import loans
from twisted_ipython._base.running_loop import Shared, list_all_tasks
from twisted_ipython._base.work_id import current_work
from twisted_ipython._plain.borrow import Borrow
from twisted_ipython._private.asyncio import CHECK_THREAD, TRANSPORT_METHODS, silence
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.registry import Scripts
from twisted_ipython._waiting.awaiting_cell import AwaitingCell
from twisted_ipython._waiting.cell_thread import BlockingThread, run_blocking

NOBODY_RUNS: Final = (
    "loop.{name}() was ignored: no cell waits in loop.run_forever() or run_until_complete() now,"
    " and the loop itself is the reactor's, which goes on for the whole session."
)
STOPPED: Final = "Event loop stopped before Future completed."  # asyncio's words

# What schedules something.
_SCHEDULE: Final = (
    *("call_soon", "call_later", "call_at", "run_in_executor"),
    *("add_reader", "remove_reader", "add_writer", "remove_writer"),
    *TRANSPORT_METHODS,
)
# Whose `stop` is the reactor's own.
_REACTORS: Final = "twisted.internet.asyncioreactor"


class LoopMethods(Shared):
    """
    The methods of the reactor's loop.

    Args:
        thread: the reactor thread, which has a loop.
        borrow: how other threads call its methods.
    """

    def __init__(self, thread: ReactorThread, borrow: Borrow) -> None:
        assert thread.loop is not None
        self.thread = thread
        self._borrow = borrow
        self._loop: AbstractEventLoop = thread.loop
        self._lock = threading.Lock()
        self._uses = 0
        self._methods: dict[str, Callable[..., Any]] = {}
        self._set: dict[str, Callable[..., Any]] = {}
        # Who waits, by the number of its work; and whose stop came before it waited.
        self._waiting: list[tuple[int, Callable[[], object]]] = []
        self._early: set[int] = set()
        # What stood there before a cell set something for a signal, and the cell's number.
        self._signals: dict[int, tuple[Any, int]] = {}

    def attach(self) -> Callable[[], None]:
        """Set what holds in every cell; returns what takes it off.  Thread: any."""
        loop = self._loop
        self._methods = self._for_plain_cells()
        self._run_forever, self._stop = loop.run_forever, loop.stop
        methods = {
            "run_until_complete": self.run_until_complete,
            "run_forever": self.run_forever,
            "stop": self.stop,
            "close": partial(self._ignore, "close"),
            "shutdown_asyncgens": _nothing,
            "shutdown_default_executor": _nothing,
        }
        undo = ExitStack()
        undo.callback(override(loop, methods))
        undo.callback(list_all_tasks())
        return undo.close

    # ---- while a statement of a plain cell runs

    def begin(self) -> None:
        """Set what plain cells call, until `end`."""
        with self._lock:
            self._uses += 1
            if self._uses == 1:
                for name, method in self._methods.items():
                    setattr(self._loop, name, method)

    def end(self) -> None:
        """Take it off, unless another thread's statement runs."""
        with self._lock:
            self._uses -= 1
            if not self._uses:
                # Not by what `override` gives, which asks for the loop's `__dict__`.
                for name in self._methods.keys() - self._set.keys():
                    delattr(self._loop, name)
                for name, method in self._set.items():  # in place: the reactor thread calls them
                    setattr(self._loop, name, method)

    def _for_plain_cells(self) -> dict[str, Callable[..., Any]]:
        """What any thread may call."""
        loop = self._loop
        if not isinstance(loop, asyncio.BaseEventLoop):  # one written in C keeps its own
            return {}
        names = [name for name in _SCHEDULE if hasattr(loop, name)]
        methods = {name: self._borrowing(getattr(loop, name)) for name in names}
        self._set = {one: getattr(loop, one) for one in ("create_task", "call_soon")}  # bridge's
        methods["create_task"] = self._borrowing(self._creating(loop.create_task))
        methods["add_signal_handler"] = self._add_signal_handler
        methods["remove_signal_handler"] = self._remove_signal_handler
        methods[CHECK_THREAD] = self._check_thread
        return methods

    def _borrowing(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """A method that any thread may call."""
        ident, call = self.thread.ident, self._borrow.call

        @wraps(own)
        def method(*args: Any, **kwargs: Any) -> Any:
            me = get_ident()
            if me == ident or not loans.are_needed():
                return own(*args, **kwargs)
            return call(own, args, kwargs)

        return method

    def _creating(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """``create_task``; Python 3.14 lists a task with the thread that made it."""
        if sys.version_info >= (3, 14):
            ident = self.thread.ident

            def create_task(coro: Any, **options: Any) -> Any:
                if get_ident() == ident or loans.current is None:
                    return own(coro, **options)
                if options.get("context") is None:
                    options["context"] = copy_context()
                return loans.in_reactor(partial(own, coro, **options))

            return create_task
        else:
            return own

    def _check_thread(self) -> None:
        """What asyncio's debug mode asks in each call."""
        if get_ident() not in (self.thread.ident, loans.inside):
            raise RuntimeError(
                "Non-thread-safe operation invoked on an event loop other than the current one"
            )  # asyncio's words

    # ---- waiting

    def run_until_complete(self, future: Any) -> Any:
        """``loop.run_until_complete``: waits for it, in any thread but the reactor's."""
        if self.thread.here():
            # The class's own of now: nest_asyncio replaces it.
            return type(self._loop).run_until_complete(self._loop, future)
        new = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self._loop)
        if new:
            # As asyncio does: it is this caller who is told.
            silence(future)
        return self._wait(future)

    def run_forever(self) -> None:
        """``loop.run_forever``: waits for the cell's ``loop.stop()``."""
        if self.thread.here():
            self._run_forever()
        else:
            self._wait(None)

    def _wait(self, future: Future[Any] | None) -> Any:
        work = current_work().work
        cell = AwaitingCell(self.thread, BlockingThread(), lambda _: self._ended(work, future))
        give_back()
        return run_blocking(cell.run())

    async def _ended(self, work: int, future: Future[Any] | None) -> Any:
        """Wait for a future, or for the stop that is meant for a cell.  Thread: reactor."""
        stopped: Future[None] = self._loop.create_future()

        def end() -> None:
            if not stopped.done():
                stopped.set_result(None)

        entry = work, end
        self._waiting.append(entry)
        if work in self._early:
            self._early.discard(work)
            stopped.set_result(None)
        ends = [stopped] if future is None else [future, stopped]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            if future is not None and future.cancel():
                await asyncio.wait([future])
            raise
        finally:
            self._waiting.remove(entry)
        if future is None:
            return None
        if not future.done():
            raise RuntimeError(STOPPED)
        return future.result()

    # ---- ending

    def stop(self) -> None:
        """``loop.stop``: ends the wait that it is meant for.  Thread: any."""
        if sys._getframe(1).f_globals.get("__name__") == _REACTORS:
            self._stop()
            return
        work = current_work().work
        waiting = list(self._waiting)
        mine = [end for number, end in waiting if number == work] or (
            [end for _, end in waiting] if len(waiting) == 1 else []
        )
        if mine:
            self._loop.call_soon_threadsafe(mine[-1])
        elif self.thread.of(Scripts).is_cell(work):
            self._early.add(work)
        else:
            self._ignore("stop")

    def _ignore(self, name: str) -> None:
        print(NOBODY_RUNS.format(name=name))

    def end_cell(self, work: int) -> None:
        """A plain cell has ended: say that its stop ended nothing, and undo its signals."""
        if work in self._early:
            self._early.discard(work)
            self._ignore("stop")
        for number, (_, owner) in list(self._signals.items()):
            if owner == work:
                self._remove_signal_handler(number)

    # ---- signals

    def _add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """
        ``loop.add_signal_handler``, until the cell ends.

        Raises:
            RuntimeError: in another thread.

        Thread: main.
        """
        soon = partial(self._loop.call_soon_threadsafe, copy_context().run, callback, *args)
        self._borrow.hold()

        def take(number: int, frame: FrameType | None) -> None:
            soon()
            if number == signal.SIGINT:  # it ends the cell all the same
                stood = self._signals[number][0]
                handler = stood if callable(stood) else signal.default_int_handler
                handler(number, frame)

        try:
            before = signal.signal(sig, take)
        except ValueError as error:  # as asyncio says it
            raise RuntimeError(str(error)) from None
        self._signals.setdefault(sig, (before, current_work().work))

    def _remove_signal_handler(self, sig: int) -> bool:
        """``loop.remove_signal_handler``."""
        if sig not in self._signals:
            return False
        signal.signal(sig, self._signals.pop(sig)[0])
        return True


async def _nothing(*_: object) -> None:
    """Leave what all cells use as it is."""
