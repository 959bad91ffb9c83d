"""
What a script leaves on the reactor when its own has stopped: closed, cancelled, stopped.

A process that ends takes all of it along; here the reactor goes on, and the
script may be run again.  What belongs to a script is told by the context in
which it was asked for.  Timers of libraries are left: they look after
connections of a pool, and are cancelled by their owners.

Runs in the reactor thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.python.log import callWithLogger

from twisted_ipython import _loops, _stack
from twisted_ipython._contexts import opened_in
from twisted_ipython._numbers import Numbers, numbers_in

__all__ = ["disconnect", "stop"]


def disconnect(reactor: Any, numbers: Numbers) -> None:
    """Close the ports and connections of a script, as `disconnectAll` of a reactor that stops."""
    for selectable in list(_selectables(reactor, numbers)):
        reactor.removeReader(selectable)
        reactor.removeWriter(selectable)
        callWithLogger(selectable, selectable.connectionLost, Failure(CONNECTION_LOST))


def _selectables(reactor: Any, numbers: Numbers) -> Iterator[Any]:
    """What the reactor watches for a script."""
    readers = reactor.getReaders()
    for one in (*readers, *(one for one in reactor.getWriters() if one not in readers)):
        if numbers_in(opened_in(one)) == numbers:
            yield one


def stop(reactor: Any, numbers: Numbers) -> None:
    """Stop a script's LoopingCalls, cancel its tasks, and the timers of its own functions."""
    _loops.stop(numbers)
    for call in reactor.getDelayedCalls():
        of_script = numbers_in(getattr(call, "context", None)) == numbers
        if of_script and (call.func in (reactor.stop, reactor.crash) or _is_users(call.func)):
            call.cancel()
    loop = getattr(reactor, "_asyncioEventloop", None)
    for task in () if loop is None else asyncio.all_tasks(loop):
        if numbers_in(getattr(task.get_coro(), "_context", None)) == numbers:
            task.cancel()


def _is_users(function: Any) -> bool:
    """Whether the user wrote a function."""
    function = getattr(function, "func", function)  # of a partial
    code = getattr(function, "__code__", None)
    return code is not None and _stack.is_users_code(code)
