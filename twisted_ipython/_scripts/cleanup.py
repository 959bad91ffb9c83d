"""
What a script leaves on the reactor when its own has stopped: closed, cancelled, stopped.

A process that ends takes all of it along; here the reactor goes on, and the
script may be run again.  What belongs to a script is told by the context in
which it was asked for.  Timers of libraries are left: they look after
connections of a pool, and are cancelled by their owners.

Runs in the reactor thread.

Scrapy's processes set a resolver and the size of the thread pool, have
warnings logged, and may make ``sys.stdout`` a log.  Who sets the first two is noted,
and what the session had is put back when it was a script, which has ended.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import chain
from threading import get_ident
from typing import Any, TypeVar

from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.python.log import callWithLogger

from twisted_ipython._base import frames
from twisted_ipython._base.work_id import WorkId, current_work, work_in
from twisted_ipython._private.asyncio import context_of
from twisted_ipython._private.scrapy import LOG
from twisted_ipython._private.twisted import LOOP
from twisted_ipython._reactor.contexts import LoopingCalls, of_timer, opened_in

_T = TypeVar("_T")


def disconnect(reactor: Any, work_id: WorkId) -> None:
    """Close the ports and connections of a script, as `disconnectAll` of a reactor that stops."""
    for selectable in list(_selectables(reactor, work_id)):
        reactor.removeReader(selectable)
        reactor.removeWriter(selectable)
        callWithLogger(selectable, selectable.connectionLost, Failure(CONNECTION_LOST))


def _selectables(reactor: Any, work_id: WorkId) -> Iterator[Any]:
    """What the reactor watches for a script."""
    readers = reactor.getReaders()
    for one in (*readers, *(one for one in reactor.getWriters() if one not in readers)):
        if work_in(opened_in(one)) == work_id:
            yield one


def stop(reactor: Any, loops: LoopingCalls, work_id: WorkId) -> None:
    """Stop a script's LoopingCalls, cancel its tasks, and the timers of its own functions."""
    loops.stop(work_id)
    for call in _calls(reactor, work_id):
        function, _ = of_timer(call)
        if function in (reactor.stop, reactor.crash) or _is_users(function):
            call.cancel()
    for task in _tasks(reactor, work_id):
        task.cancel()


def close_reactors(reactor: Any) -> None:
    """Close what other reactors hold: each of Scrapy's processes makes one in vain."""
    for one in gc.get_objects():
        # Not by isinstance(), which asks proxies.
        if type(one) is not type(reactor) or one is reactor or one.running:
            continue
        # The pipe by which other threads would wake it (Twisted 24.10 to 26.10).
        waker, one.waker = one.waker, None
        if waker is not None:
            one.removeReader(waker)
            waker.connectionLost(Failure(CONNECTION_LOST))


def goes_on(reactor: Any, work_id: WorkId) -> bool:
    """Whether anything that a script has begun goes on."""
    found = chain(
        _selectables(reactor, work_id), _calls(reactor, work_id), _tasks(reactor, work_id)
    )
    return next(found, None) is not None


def _calls(reactor: Any, work_id: WorkId) -> Iterator[Any]:
    for call in reactor.getDelayedCalls():
        _, context = of_timer(call)
        if work_in(context) == work_id:
            yield call


def _tasks(reactor: Any, work_id: WorkId) -> Iterator[asyncio.Task[Any]]:
    loop = getattr(reactor, LOOP, None)
    for task in () if loop is None else asyncio.all_tasks(loop):
        if work_in(context_of(task)) == work_id:
            yield task


def _is_users(function: Any) -> bool:
    """Whether the user wrote a function."""
    function = getattr(function, "func", function)  # of a partial
    code = getattr(function, "__code__", None)
    return code is not None and frames.is_user_code(code)


class Kept:
    """
    A setting of the reactor, and what it was before a script set it.

    It stays as somebody else sets it, also while scripts live.

    Args:
        read: gives what is set now.
        write: sets it.
        lives: whether work with that number is a script, or may become one.
    """

    def __init__(
        self, read: Callable[[], _T], write: Callable[[_T], object], lives: Callable[[int], bool]
    ) -> None:
        self._read, self._write, self._lives = read, write, lives
        self._before: Any = None
        # The work that set it last; a thread without any, by its identifier.
        self._by = 0

    def setting(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """A method of the reactor that sets it, which notes who does."""

        @wraps(own)
        def method(*args: Any, **kwargs: Any) -> Any:
            by = current_work().work or get_ident()
            if by != self._by and not self._lives(self._by):
                self._before = self._read()
            self._by = by
            return own(*args, **kwargs)

        return method

    def put_back(self, *by: int | None) -> None:
        """Put it back if one of these has set it last."""
        if self._by in by:
            self._write(self._before)
            self._by = 0


def put_back_resolvers(reactor: Any, before: tuple[Any, Any]) -> None:
    """Install a name resolver and a resolver of host names, each of which makes another."""
    resolver, name_resolver = before
    reactor.installNameResolver(name_resolver)
    reactor.resolver = resolver


class Output:
    """Where warnings and standard output went before a script, which may have them logged."""

    def __init__(self) -> None:
        self._captured = _captures_warnings()
        self._stdout = sys.stdout

    def put_back(self) -> None:
        """Put back what Scrapy has changed."""
        if _captures_warnings() and not self._captured:
            logging.captureWarnings(False)
        if type(sys.stdout).__module__ == LOG:
            sys.stdout = self._stdout


def _captures_warnings() -> bool:
    """Whether Python's logging gets the warnings."""
    show: Callable[..., object] = warnings.showwarning
    return getattr(show, "__module__", None) == logging.__name__
