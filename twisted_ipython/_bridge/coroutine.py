"""
One coroutine awaits Deferreds and asyncio objects alike.

The goal.  A coroutine that a cell starts, and every task that it starts in
turn, may await a Deferred, a future, a task, or a mixture, at any depth, and
gets exact values, failures and cancellations from both worlds.  A task that
awaits no Deferred costs what asyncio's own costs.

What fails.  An asyncio Task refuses what ``Deferred.__await__`` yields ("Task
got bad yield").  Turning each Deferred into a future costs one and a half to
two and a half times the bare price, and ``Deferred.asFuture`` eats the result:
``Deferred.__await__`` reads the Deferred's own result when it is resumed.
A coroutine around the user's, which looks at what that yields, makes each task
a fifth slower, and Python collects garbage a seventh more often.  Twisted's
driver, on the other side, sends a future straight back to the coroutine ("await
wasn't used with future"), and has no Task for `asyncio.timeout` and
`asyncio.TaskGroup` to cancel.

What we do.  Each task of our loop is a real `asyncio.Task` of the user's
coroutine, which asyncio steps.  When it refuses something, the loop's
`call_soon` learns of it (`_bridge.call_soon`), and from then on a `Bridge`
steps the coroutine, straight from the Deferred's callback, with the Task
entered and left around each step as the page "Extending asyncio" of Python's
documentation describes.  The Task itself stays as it is, and gets its result
in the end; what cancels it cancels what the Bridge waits for.  For a Task of
the user's own task factory, which has no such methods, and on a loop that takes
no ``call_soon``, the coroutine is behind a `Front`, and the Task waits for one
future until the Bridge has come to the end.  Futures and tasks of our loop
yield themselves; where that is sent straight back, Twisted drives, and they
yield a Deferred.

What can still go wrong.  A Deferred that fires in another thread, or deep
inside a chain of Deferreds that fire each other, resumes its coroutine a loop
iteration later; a callback added meanwhile has then changed the value that
``Deferred.__await__`` reads.  A future made by hand (``asyncio.Future()``) or
by `asyncio.gather` cannot tell who drives the coroutine that awaits it, and
fails under Twisted's driver.  There `asyncio.current_task` may also name the
task whose step started the coroutine: `asyncio.timeout` and tasks of a
TaskGroup are refused, but a cancel scope of anyio's is not.  A task made with
``asyncio.Task(...)`` rather than ``create_task`` has no bridge.

All of this runs in the reactor thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from twisted_ipython._bridge.interruptible import Interruptible
from twisted_ipython._bridge.stepping import Steps
from twisted_ipython._private.asyncio import context_of

_T = TypeVar("_T")


class Bridge(Steps):
    """What steps the coroutine of a task of ours from now on, in place of asyncio."""

    def interrupt(self) -> None:
        """Have the coroutine end, whatever swallows the cancellation that follows."""
        if self.interruptible is None:
            self.interruptible = Interruptible(self.coro, is_task=True)
            self.send = self.interruptible.send
        self.interruptible.interrupt(KeyboardInterrupt())

    def end(self, error: BaseException) -> None:
        """Give the Task what came of its coroutine."""
        task, self.task = self.task, None
        task.bridge = None
        kind = Future if isinstance(task, Future) else asyncio.Future  # nest_asyncio sets another
        try:
            if self.must_cancel is not None and isinstance(error, StopIteration):
                kind.cancel(task, *self.must_cancel)
            elif isinstance(error, StopIteration):
                kind.set_result(task, error.value)
            elif isinstance(error, asyncio.CancelledError):
                kind.cancel(task, *error.args[:1])
            else:
                kind.set_exception(task, error)
        finally:
            del error, task  # or they and a failure's traceback keep each other alive


class _Waiter(asyncio.Future[None]):
    """What a Task waits for in place of all that its coroutine waits for."""

    def __init__(self, cancel: Callable[[Any], None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._cancel_awaited = cancel

    def cancel(self, msg: Any = None) -> bool:
        """Cancel what the coroutine waits for; called by `asyncio.Task.cancel`."""
        if self.done():
            return False
        self._cancel_awaited(msg)
        return True


class _Behind(Steps):
    """What steps the coroutine behind a `Front`, which gets what came of it."""

    def __init__(self, task: asyncio.Task[Any], coro: Any) -> None:
        context = context_of(task)
        assert context is not None
        super().__init__(task, coro, context)
        self.waiter = _Waiter(self.cancel_awaited, self.loop)
        self.outcome: BaseException | None = None

    def end(self, error: BaseException) -> None:
        """Have the Task raise what came of the coroutine."""
        must = self.must_cancel if isinstance(error, StopIteration) else None
        self.outcome = error if must is None else asyncio.CancelledError(*must)
        self.waiter.set_result(None)


class Front(Generator[Any, Any, _T], Coroutine[Any, Any, _T]):
    """
    A coroutine that may await Deferreds, for a Task that is none of ours; looks like the user's.

    Args:
        coro: the user's coroutine.
        loop: the loop of the Task that will drive it.
    """

    def __init__(self, coro: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> None:
        self.coro = coro
        self._loop = loop
        self._behind: _Behind | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.coro, name)

    def __await__(self) -> Generator[Any, Any, _T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, _value: Any) -> Any:
        """Step the coroutine; give the Task what it has to wait for."""
        if self._behind is None:
            return self._for_task(self.coro.send(None))
        assert self._behind.outcome is not None
        try:
            raise self._behind.outcome
        finally:
            self._behind.outcome = None  # or it and its traceback keep each other alive

    def throw(self, error: Any, value: Any = None, _traceback: Any = None, /) -> Any:
        """Throw into the coroutine; give the Task what it has to wait for."""
        return self._for_task(self.coro.throw(error if value is None else value))

    def close(self) -> None:
        """Close the user's coroutine."""
        self.coro.close()

    def _for_task(self, awaited: Any) -> Any:
        if not isinstance(awaited, Deferred) and (
            getattr(awaited, "_asyncio_future_blocking", None) is None
            or awaited.get_loop() is self._loop
        ):
            return awaited
        task = asyncio.current_task(self._loop)
        assert task is not None
        behind = self._behind = _Behind(task, self.coro)
        try:
            behind.wait(awaited)
        except BaseException as error:
            behind.end(error)
        behind.waiter._asyncio_future_blocking = True
        return behind.waiter
