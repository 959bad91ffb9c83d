"""
The reactor's methods, for any thread: another one borrows the reactor first.

The goal.  ``port = reactor.listenTCP(8080, site)`` in a cell that does not
await does what it says, and so does every method that an interface of the
reactor's declares, and every library that calls them.

What fails.  The reactor is not thread-safe.  Called in another thread, a timer
is only noticed when something else wakes the reactor, and what the two threads
do at once is lost or done twice, now and then.

What we do.  Each such method is set on the one instance, behind a check of the
thread: another thread borrows the reactor (`_plain.borrow`).  What changes something
before it calls the reactor borrows by itself: ports, connections, timers
and LoopingCalls (`_plain.transports`), the resolver of names and Twisted's one
Cooperator.  `LoopingCall.start` asks the
reactor for the time first.

What can still go wrong.  A Deferred that comes back is a Deferred: it may fire
in the reactor thread while this one adds a callback, which is safe.  What a
library changes before its first call of the reactor, and that no instance lets
us reach (a pool of HTTP connections, `Deferred.cancel`), it changes beside the
reactor thread.

It is the last layer of `_reactor.overrides`, over what other folders set.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from threading import get_ident
from typing import Any, Final

from twisted.internet import task
from twisted.internet.task import LoopingCall
from zope.interface import providedBy

from twisted_ipython._base.instance import override
from twisted_ipython._base.loans import loans
from twisted_ipython._plain.borrow import Borrow
from twisted_ipython._plain.transports import Given, declared
from twisted_ipython._private.twisted import COOPERATOR
from twisted_ipython._reactor.delayed_calls import Timers
from twisted_ipython._reactor.overrides import FOR_REACTOR_ONLY, Wrapper, is_asked_by_trial
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.reactor_run import FOR_SCRIPTS

# Safe from any thread.
_SAFE: Final = ("callFromThread", "callInThread", "getThreadPool", "seconds")
_INSTALLING: Final = ("installNameResolver", "installResolver")
# Of Twisted's Cooperator, and of a resolver.
_COOPERATE: Final = ("coiterate", "cooperate")
_RESOLVE: Final = "resolveHostName"

_Method = Callable[..., Any]


class ReactorMethods:
    """
    The reactor's methods, for any thread.

    Args:
        thread: its thread.
        borrow: how other threads call them.
    """

    def __init__(self, thread: ReactorThread, borrow: Borrow) -> None:
        self._thread = thread
        self._borrow = borrow
        self._given = Given(thread.ident, self._elsewhere)
        self._undo = ExitStack()

    def attach(self) -> Callable[[], None]:
        """Set them; gives what takes them off the reactor and all it gave back.  Thread: any."""
        cooperator: Any = getattr(task, COOPERATOR, None)
        held = {name: [self._holding] for name in _COOPERATE}
        reactor, undo = self._thread.reactor, self._undo
        tables = (reactor, self._of_reactor(reactor)), (cooperator, held)
        undo.callback(self._thread.overrides.add("_plain", *tables))
        undo.callback(self._given.take_back)
        self._carry_resolver()
        timers, on_start = self._thread.timers, self._thread.loops.on_start
        if timers is not None:
            timers.borrowing = self._call
            undo.callback(setattr, timers, "borrowing", None)
        on_start.append(self._start_loop)
        undo.callback(on_start.remove, self._start_loop)
        return undo.close

    def _of_reactor(self, reactor: Any) -> dict[str, list[Wrapper]]:
        """What is set on the reactor."""
        names = declared(providedBy(reactor).flattened())
        names -= {*_SAFE, *FOR_SCRIPTS, *FOR_REACTOR_ONLY}
        # Timers check the thread by themselves.
        bound = {name: getattr(getattr(reactor, name), "__self__", None) for name in names}
        names = {name for name, one in bound.items() if not isinstance(one, Timers)}
        return {
            **{name: [self._carrying] for name in names},
            **{name: [self._carrying, self._following] for name in _INSTALLING},
            "iterate": [self._iterating],
            "addReader": [partial(self._finding, self._given.give_all)],
            "addWriter": [partial(self._finding, self._given.give)],
        }

    # ---- a method

    def _carrying(self, own: _Method) -> _Method:
        """A method that any thread may call."""
        ident, elsewhere = self._thread.ident, self._elsewhere

        @wraps(own)
        def method(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == ident:
                return own(*args, **kwargs)
            return elsewhere(own, args, kwargs)

        return method

    def _holding(self, own: _Method) -> _Method:
        """A method after which the caller keeps the reactor, for what it does with the answer."""
        ident = self._thread.ident

        @wraps(own)
        def method(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == ident:
                return own(*args, **kwargs)
            self._borrow.hold()
            return self._elsewhere(own, args, kwargs)

        return method

    def _call(self, own: _Method, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a timer's, in any thread."""
        if get_ident() == self._thread.ident or not loans.are_needed():
            return own(*args, **kwargs)
        return self._borrow.call(own, args, kwargs)

    def _elsewhere(self, own: _Method, args: Any, kwargs: Any) -> Any:
        """Call a method with the reactor borrowed.  Any other thread."""
        if loans.are_needed():
            return self._given.give(self._borrow.call(own, args, kwargs))
        return own(*args, **kwargs)

    def _iterating(self, own: _Method) -> _Method:
        """``reactor.iterate``, which gives the reactor its turns where a cell has it."""

        @wraps(own)
        def iterate(delay: float = 0) -> Any:
            if self._thread.here() or not loans.are_needed() or is_asked_by_trial():
                return own(delay)
            turns = partial(task.deferLater, self._thread.reactor, delay, lambda: None)
            return self._thread.run(turns).wait()

        return iterate

    def _finding(self, give: Callable[[Any], Any], own: _Method) -> _Method:
        """A method that has the reactor watch what is given its methods for any thread first."""
        ident = self._thread.ident

        def watch(one: Any) -> Any:
            return own(give(one))

        @wraps(own)
        def method(one: Any) -> Any:
            if get_ident() == ident:
                return own(give(one))  # not by `watch`: each write comes here
            return self._elsewhere(watch, (one,), {})

        return method

    def _start_loop(self, loop: LoopingCall) -> None:
        """Have a LoopingCall that is being started run with the reactor borrowed."""
        self._given.give(loop)
        if get_ident() != self._thread.ident:
            self._borrow.hold()

    # ---- names

    def _carry_resolver(self) -> None:
        """Have any thread ask the resolver that is installed.  Thread: any."""
        resolver: Any = self._thread.reactor.nameResolver
        if _RESOLVE not in getattr(resolver, "__dict__", {}):
            ask = self._holding(getattr(resolver, _RESOLVE))
            self._undo.callback(override(resolver, {_RESOLVE: ask}))

    def _following(self, install: _Method) -> _Method:
        """A method that installs a resolver, which any thread may ask then."""

        @wraps(install)
        def method(*args: Any, **kwargs: Any) -> Any:
            before = install(*args, **kwargs)
            self._carry_resolver()
            return before

        return method
