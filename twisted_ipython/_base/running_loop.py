"""
The loop that asyncio finds in a plain cell is the reactor's.

The goal.  A task, a session or a lock that a plain cell makes lives on the
reactor's loop: it goes on while plain cells run, and any later cell can await it.

What fails.  In a kernel a plain cell runs inside of a callback of the kernel's
own loop, which stands still until the cell has ended.

What we do.  Around each statement of a plain cell, and around the callbacks of
comm messages, asyncio's note of this thread's running loop is switched to the
reactor's, and put back; so are the hooks for asynchronous generators, and on
Python 3.14 the note of the running task and what `asyncio.all_tasks` goes
through.  So it is where trio runs the cells.  At a terminal no loop runs in the
thread of the cells: there the reactor's is only the one that
`asyncio.get_event_loop` gives, so that ``asyncio.run`` works.

What can still go wrong.  A KeyboardInterrupt may come between two lines of the
switch: the kernel's loop is put back again where a cell and a message end.  On
Python 3.11 to 3.13 `asyncio.current_task` in a plain cell gives the task that the
reactor thread is in at that moment: Python keeps it by the loop.

Thread: that in which IPython runs cells, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from twisted_ipython._private import asyncio as private

# Whether Python notes by the thread which task runs, and who made one; before, by the loop.
_BY_THREAD: Final = sys.version_info >= (3, 14)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Shared:
    """What a statement of a plain cell sets on the reactor's loop: here, nothing."""

    def begin(self) -> None:
        """Set it."""

    def end(self) -> None:
        """Take it off."""


class _Here(threading.local):
    """This thread."""

    loop: AbstractEventLoop | None = None  # that runs in it, if one does; never the reactor's
    given: AbstractEventLoop | None = None  # the reactor's, once that was in its place
    driven = False  # whether that loop, or trio, runs the cells
    switched = False
    # While it is switched: the task of its loop that runs, and the hooks for generators.
    task: asyncio.Task[Any] | None = None
    hooks: tuple[Any, Any] = (None, None)
    # What `asyncio.get_event_loop` gave, where no loop runs.
    set_loop: AbstractEventLoop | None = None
    # What the statement that it runs has set.
    shared = Shared()


_here = _Here()


def loop_of_thread() -> AbstractEventLoop | None:
    """The loop that runs this thread, also while the reactor's is in its place.  Thread: any."""
    return _here.loop if _here.switched else private.running_loop()


def runs_trio() -> bool:
    """Whether trio runs the code that asks.  Thread: any."""
    # Whoever runs a loop inside of trio's, or trio inside of a loop, notes that there.
    sniffio = sys.modules.get("sniffio") if "trio" in sys.modules else None
    return sniffio is not None and sniffio.thread_local.name == "trio"


def soon() -> Callable[..., object] | None:
    """What has the loop that runs this thread call something, asyncio's or trio's, if one does."""
    loop = loop_of_thread()
    if loop is not None:
        return loop.call_soon
    if not runs_trio():
        return None
    token: Any = sys.modules["trio"].lowlevel.current_trio_token()
    call: Callable[..., object] = token.run_sync_soon
    return call


def switch(loop: AbstractEventLoop, hooks: tuple[Any, Any]) -> bool:
    """Have asyncio find a loop, and hooks, until `put_back`; whether that changes anything."""
    running = private.running_loop()
    if _here.switched or running is loop:
        return False
    _here.loop, _here.given = running, loop
    _here.driven = running is not None or runs_trio()
    if not _here.driven:
        _here.set_loop = private.loop_set()
        _here.switched = True
        asyncio.set_event_loop(loop)
        return True
    _here.hooks = sys.get_asyncgen_hooks()
    _here.task = asyncio.current_task(running) if _BY_THREAD and running is not None else None
    # Whatever comes between from here on, `put_back` sees to it.
    _here.switched = True
    if running is not None and _here.task is not None:
        private.leave_task(running, _here.task)
    private.set_running_loop(loop)
    sys.set_asyncgen_hooks(*hooks)
    return True


def put_back() -> None:
    """Have asyncio find the loop of this thread again; a second time changes nothing."""
    own = _here.loop
    # Whoever nests loops (nest_asyncio) sets the reactor's again when this has been called.
    if _here.driven and private.running_loop() is _here.given:
        private.set_running_loop(own)
    if not _here.switched:
        return
    if _here.driven:
        sys.set_asyncgen_hooks(*_here.hooks)
        runs = private.running_loop() is own  # none does in a fork
        if own and runs and _here.task and asyncio.current_task(own) is None:
            private.enter_task(own, _here.task)
    elif private.loop_set() in (None, _here.given):  # asyncio.run() leaves none; the user's stays
        private.set_loop(_here.set_loop)
    _here.task = None
    _here.switched = False


def is_switched() -> bool:
    """Whether this thread is inside of a statement of a plain cell's.  Thread: any."""
    return _here.switched


def outside(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that is called with the loop of this thread in its place.  Thread: any."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = private.running_loop()
        if not _here.switched or _here.loop is None or loop is None:
            return function(*args, **kwargs)
        private.set_running_loop(_here.loop)
        try:
            return function(*args, **kwargs)
        finally:
            private.set_running_loop(loop)

    return call


class _References(set[Any]):
    """asyncio's references to tasks of other kinds than its own."""

    def copy(self) -> set[Any]:
        """Those, and in a plain cell those to the tasks of all threads."""
        # Of asyncio's own `asyncio.all_tasks` gives what this thread has made.
        found = set(super().__iter__())
        loop = private.running_loop()
        if _here.switched and _here.loop is not None and loop is _here.given:
            found.update(map(weakref.ref, outside(asyncio.all_tasks)(loop)))
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.copy())


def list_all_tasks() -> Callable[[], None]:
    """Have `asyncio.all_tasks` be complete in plain cells; returns what undoes it."""
    known = private.task_sets()
    for one in known:
        one.data = _References(one.data)

    def undo() -> None:
        for one in known:
            one.data = set(one.data)

    return undo


# ---- while the thread waits: the reactor thread has no use for what lets others call the loop


def share(shared: Shared) -> Shared:
    """Note what this thread's statement has set; gives what the one around it has."""
    before, _here.shared = _here.shared, shared
    return before


@contextmanager
def shared_off() -> Iterator[None]:
    """Within, the thread waits, and what its statement has set is off."""
    shared = _here.shared
    shared.end()
    try:
        yield
    finally:
        shared.begin()


@contextmanager
def shared_on() -> Iterator[None]:
    """Within, the thread runs what it is sent while it waits."""
    shared = _here.shared
    shared.begin()
    try:
        yield
    finally:
        shared.end()
