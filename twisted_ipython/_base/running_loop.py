"""
The loop that asyncio finds in a plain cell is the reactor's.

The goal.  A task, a session or a lock that a plain cell makes lives on the
reactor's loop, as that of a cell that awaits does: it goes on while plain cells
run, and any later cell can await it.

What fails.  In a kernel a plain cell runs inside of a callback of the kernel's
own loop, which stands still until the cell has ended.

What we do.  Around each statement of a plain cell, and around the callbacks of
comm messages, asyncio's note of this thread's running loop is switched to the
reactor's loop, and put back.  What goes with it is switched too: the hooks for
asynchronous generators, and on Python 3.14 the note of the running task and
what `asyncio.all_tasks` goes through.  At a
terminal no loop runs in the thread of the cells: there the reactor's loop is
only the one that `asyncio.get_event_loop` gives, so that ``asyncio.run`` works.

What can still go wrong.  A KeyboardInterrupt may come between two lines of the
switch.  So the kernel's loop is noted once for each thread, and put back again
where a cell and a message end (`put_back`).  On Python 3.11 to 3.13
`asyncio.current_task` in a plain cell gives the task that the reactor thread is
in at that moment, if it is in one: Python keeps it by the loop.

The thread in which IPython runs cells, unless a docstring says otherwise.
"""

from __future__ import annotations

import _asyncio
import asyncio
import gc
import sys
import threading
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "is_switched",
    "list_all_tasks",
    "loop_of_thread",
    "outside",
    "put_back",
    "switch",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Here(threading.local):
    """
    This thread.

    Attributes:
        loop: the loop that runs in it, if one does; never the reactor's.
        given: the reactor's, once that was in its place.
        switched: whether it is.
        task: the task of its loop that runs, while that is switched.
        hooks: those for asynchronous generators, likewise.
        set_loop: the loop that `asyncio.get_event_loop` gave, where none runs.
    """

    loop: AbstractEventLoop | None = None
    given: AbstractEventLoop | None = None
    switched = False
    task: asyncio.Task[Any] | None = None
    hooks: tuple[Any, Any] = (None, None)
    set_loop: AbstractEventLoop | None = None


_here = _Here()


def loop_of_thread() -> AbstractEventLoop | None:
    """The loop that runs this thread, also while the reactor's is in its place.  Any thread."""
    return _here.loop if _here.switched else asyncio._get_running_loop()


def switch(loop: AbstractEventLoop, hooks: tuple[Any, Any]) -> bool:
    """
    Have asyncio find a loop until `put_back`.

    Args:
        loop: the reactor's.
        hooks: its hooks for asynchronous generators.

    Returns:
        whether that changed anything, so that it is to be put back.
    """
    running = asyncio._get_running_loop()
    if _here.switched or running is loop:
        return False
    _here.loop, _here.given = running, loop
    if running is None:
        _here.set_loop = _loop_set()
        _here.switched = True
        asyncio.set_event_loop(loop)
        return True
    _here.hooks, _here.task = sys.get_asyncgen_hooks(), _current_task(running)
    # Whatever comes between from here on, `put_back` sees to it.
    _here.switched = True
    _leave_task(running, _here.task)
    asyncio._set_running_loop(loop)
    sys.set_asyncgen_hooks(*hooks)
    return True


def put_back() -> None:
    """Have asyncio find the loop of this thread again; a second time changes nothing."""
    own = _here.loop
    # Whoever nests loops (nest_asyncio) sets the reactor's again when this has been called.
    if own is not None and asyncio._get_running_loop() is _here.given:
        asyncio._set_running_loop(own)
    if not _here.switched:
        return
    if own is not None:
        sys.set_asyncgen_hooks(*_here.hooks)
        _enter_task(own, _here.task)
    elif _loop_set() in (None, _here.given):  # asyncio.run() leaves none; the user's stays
        _set_loop(_here.set_loop)
    _here.task = None
    _here.switched = False


def is_switched() -> bool:
    """Whether this thread is inside of a statement of a plain cell's.  Any thread."""
    return _here.switched


def outside(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that is called with the loop of this thread in its place.  Any thread."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio._get_running_loop()
        if not _here.switched or _here.loop is None or loop is None:
            return function(*args, **kwargs)
        asyncio._set_running_loop(_here.loop)
        try:
            return function(*args, **kwargs)
        finally:
            asyncio._set_running_loop(loop)

    return call


# ---- what differs between the versions of Python

if sys.version_info >= (3, 14):
    _current_task = asyncio.current_task

    def _leave_task(loop: AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
        """Have no task run in this thread, where Python notes it."""
        if task is not None:
            asyncio.tasks._leave_task(loop, task)

    def _enter_task(loop: AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
        """Have the task run again that did."""
        if task is not None and asyncio.current_task(loop) is None:
            asyncio.tasks._enter_task(loop, task)

    def _loop_set() -> AbstractEventLoop | None:
        """The loop that `asyncio.get_event_loop` gives, if there is one."""
        with suppress(RuntimeError):
            return asyncio.get_event_loop()
        return None

    _set_loop = asyncio.set_event_loop

    class _References(set[Any]):
        """
        asyncio's references to tasks of other kinds than its own.

        For the reactor's loop in a plain cell `asyncio.all_tasks` gives those, and of
        asyncio's own tasks only what this thread has made, as if the loop ran here.
        """

        def copy(self) -> set[Any]:
            """Those, and in a plain cell those to the tasks of all threads."""
            found = set(super().__iter__())
            loop = asyncio._get_running_loop()
            if _here.switched and _here.loop is not None and loop is _here.given:
                found.update(map(weakref.ref, outside(asyncio.all_tasks)(loop)))
            return found

        def __iter__(self) -> Iterator[Any]:
            return iter(self.copy())

    def list_all_tasks() -> Callable[[], None]:
        """Have `asyncio.all_tasks` be complete in plain cells; returns what undoes it."""
        # asyncio's C code keeps it to itself.
        known: list[Any] = [
            one for one in gc.get_referents(_asyncio) if isinstance(one, weakref.WeakSet)
        ]
        for one in known:
            one.data = _References(one.data)

        def undo() -> None:
            for one in known:
                one.data = set(one.data)

        return undo

else:

    def list_all_tasks() -> Callable[[], None]:
        """Python lists the tasks of all threads."""
        return lambda: None

    def _current_task(_: AbstractEventLoop) -> asyncio.Task[Any] | None:
        """Python notes the task by the loop."""
        return None

    def _leave_task(_: AbstractEventLoop, __: asyncio.Task[Any] | None) -> None:
        """Python notes the task by the loop."""

    def _enter_task(_: AbstractEventLoop, __: asyncio.Task[Any] | None) -> None:
        """Python notes the task by the loop."""

    def _loop_set() -> AbstractEventLoop | None:
        """The loop that `asyncio.get_event_loop` would give, if there is one."""
        # That would make one on Python 3.11, and warn of it on 3.12 and 3.13.
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
        loop: AbstractEventLoop | None = getattr(local, "_loop", None)
        return loop

    def _set_loop(loop: AbstractEventLoop | None) -> None:
        """Have `asyncio.get_event_loop` give a loop, or make one as if none had been set."""
        asyncio.set_event_loop(loop)
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
        if loop is None and local is not None:
            local._set_called = False
