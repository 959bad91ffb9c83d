"""
A plain cell shares the reactor and its loop: what is set while its statements run.

`attach` sets up what all plain cells of the process use; `Statement` is what each
statement, and each callback of a comm message, runs within.

The thread in which IPython runs cells, unless a docstring says otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any, Final

from twisted_ipython._base.instance import override
from twisted_ipython._base.loans import loans
from twisted_ipython._base.running_loop import outside, put_back, share
from twisted_ipython._base.running_loop import switch as switch_loop
from twisted_ipython._plain.borrow import Borrow
from twisted_ipython._plain.loop_methods import LoopMethods
from twisted_ipython._plain.reactor_methods import ReactorMethods
from twisted_ipython._private.asyncio import arguments_of_callback
from twisted_ipython._private.ipykernel import UPDATE_EVENTLOOP
from twisted_ipython._reactor.lifecycle import started
from twisted_ipython._reactor.thread import ReactorThread

# What a kernel calls for messages of comms, by their types.
_COMMS: Final = ("comm_open", "comm_msg", "comm_close")


class _Plain:
    """What plain cells use of one reactor; the ``methods`` of its loop while that is set."""

    def __init__(self, thread: ReactorThread) -> None:
        self.methods: LoopMethods | None = None
        self._thread = thread
        self._undo: ExitStack | None = None

    def attach(self) -> None:
        """Set it, once."""
        if self._undo is not None:
            return
        thread, borrow = self._thread, Borrow(self._thread)
        undo = self._undo = ExitStack()
        undo.callback(ReactorMethods(thread, borrow).attach())
        undo.callback(_leave_out_loans(thread.loop))
        if thread.loop is not None:
            self.methods = LoopMethods(thread, borrow)
            undo.callback(self.methods.attach())

    def detach(self) -> None:
        """Take it off."""
        if self._undo is not None:
            self._undo.close()
        self._undo = self.methods = None


def _leave_out_loans(loop: Any) -> Callable[[], None]:
    """Have asyncio's debug mode report no loan as a slow callback; returns what undoes it."""
    logger = logging.getLogger("asyncio")

    def is_other(record: logging.LogRecord) -> bool:
        """Whether a record does not say that a callback, which is a loan, was slow."""
        is_slow = str(record.msg).startswith("Executing ")  # asyncio's words
        return not is_slow or loans.lend not in arguments_of_callback(loop)[:1]

    logger.addFilter(is_other)
    return partial(logger.removeFilter, is_other)


def _methods() -> LoopMethods | None:
    """Those of the reactor's loop, while plain cells share it."""
    thread = started()
    return None if thread is None else thread.of(_Plain).methods


def attach(thread: ReactorThread, *, on: bool = True) -> None:
    """Have plain cells share the reactor, from now on or from the first `switch` that says so."""
    thread.of(_Plain).attach()
    switch(on=on)


def detach(thread: ReactorThread) -> None:
    """Take all of it off.  Thread: any."""
    loans.on = False
    thread.of(_Plain).detach()


def switch(*, on: bool) -> None:
    """Share the reactor from now on, or do not.  Thread: any."""
    loans.on = on


class Statement:
    """Within ``with Statement():`` a statement of a plain cell shares the reactor's loop."""

    __slots__ = ("_before", "_methods", "_switched")

    def __enter__(self) -> None:
        self._methods = _methods() if loans.on else None
        if self._methods is not None:
            self._methods.begin()
            self._before = share(self._methods)
            thread = self._methods.thread
            assert thread.loop is not None
            self._switched = switch_loop(thread.loop, thread.hooks)

    def __exit__(self, *_: object) -> None:
        if self._methods is not None:
            if self._switched:
                put_back()
            share(self._before)
            self._methods.end()


def end_cell(work: int) -> None:
    """The plain cell with that number has ended."""
    methods = _methods()
    if methods is not None:
        methods.end_cell(work)


def attach_to_kernel(kernel: Any) -> Callable[[], None]:
    """Have the callbacks of a kernel's comms share the reactor; returns what undoes it."""
    undo = ExitStack()
    table: dict[str, Callable[..., Any]] = getattr(kernel, "shell_handlers", {})
    for name in _COMMS:
        if name in table:
            own = table[name]
            table[name] = ours = shares(own)
            undo.callback(_put_back, table, name, ours, own)
    # What a GUI's loop is entered from is to be the kernel's own loop.
    update = getattr(kernel, UPDATE_EVENTLOOP, None)
    if update is not None:
        undo.callback(override(kernel, {UPDATE_EVENTLOOP: outside(update)}))
    return undo.close


def shares(own: Callable[..., Any]) -> Callable[..., Any]:
    """A function that shares the reactor as a statement of a plain cell does."""

    @wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        with Statement():
            return own(*args, **kwargs)

    return call


def _put_back(table: dict[str, Any], name: str, ours: Any, own: Any) -> None:
    if table.get(name) is ours:
        table[name] = own
