"""
The reactor's methods, called in any thread, run in the reactor's.

The goal.  ``port = reactor.listenTCP(8080, site)`` in a cell that does not
await does what it says, and so does every method that an interface of the
reactor's declares.

What fails.  The reactor is not thread-safe.  Called in another thread, a timer
is only noticed when something else wakes the reactor, and what the two threads
do at once is lost or done twice, now and then.

What we do.  Each such method is set on the one instance, behind a look at the
thread: another thread's call is made in the reactor thread (`_crossing`).
Ports, connections, timers and LoopingCalls have their own methods carried in
the same way (`_given`), and so has TLS on top of a connection (`_wrappers`).
`LoopingCall.start` asks the reactor for the time: that is where its first call
is sent over.  Name resolution begins at the resolver, whose one method is
carried too (`_resolving`).  Libraries that this would not make safe are refused
(`_refused`, `_crawls`).

What can still go wrong.  A Deferred that comes back is a Deferred: it may fire
in the reactor thread while this one adds a callback.  What has no such method
on its way (Twisted's Cooperator, what `Deferred.cancel` does) does part of its
work in the thread that calls it.

This attaches last, over what other modules set on the reactor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from threading import get_ident
from types import FrameType
from typing import Any, Final

from twisted.internet.task import LoopingCall
from zope.interface import providedBy

from twisted_ipython import _crawls, _loops, _timers, _trial
from twisted_ipython._crossing import cross
from twisted_ipython._given import Given, declared
from twisted_ipython._instance import override
from twisted_ipython._reactor_thread import ReactorThread
from twisted_ipython._refused import refuse
from twisted_ipython._resolving import Held, asking
from twisted_ipython._wrappers import Wrappers

__all__ = ["attach", "detach", "switch"]

# Safe from any thread.
_SAFE: Final = {"callFromThread", "callInThread", "getThreadPool", "seconds"}
# What a script's end and beginning hang on, which looks after threads itself.
_OF_SCRIPTS: Final = {
    "addSystemEventTrigger",
    "callWhenRunning",
    "crash",
    "removeSystemEventTrigger",
    "run",
    "stop",
}
_INSTALLING: Final = {"installNameResolver", "installResolver"}

_Method = Callable[..., Any]


class _Carried:
    """
    One reactor whose methods any thread may call.

    Args:
        thread: its thread.
    """

    def __init__(self, thread: ReactorThread) -> None:
        self._thread = thread
        self.on = False
        self._given = Given(thread.ident, self._elsewhere)
        self._wrappers = Wrappers(thread.ident, self._elsewhere)
        self._resolvers: list[Callable[[], None]] = []

    # ---- on, and off

    def attach(self) -> None:
        """Set the methods on the reactor.  Any thread."""
        reactor = self._thread.reactor
        names = declared(providedBy(reactor).flattened()) - _SAFE - _OF_SCRIPTS - {*_trial.METHODS}
        owns = {name: getattr(reactor, name) for name in names}
        methods = {name: self._carrying(own) for name, own in owns.items() if not _looks(own)}
        for name in _INSTALLING:
            methods[name] = self._following(methods[name])
        methods["addReader"] = self._carrying(self._finding_all(owns["addReader"]))
        methods["addWriter"] = self._carrying(self._finding(owns["addWriter"]))
        self._undo = override(reactor, methods)
        self._carry_resolver()

    def detach(self) -> None:
        """Take all of it off, also off what was given back.  Any thread."""
        self.switch(on=False)
        for undo in (*self._resolvers, self._undo):
            undo()
        self._given.take_back()
        self._wrappers.take_back()

    def switch(self, *, on: bool) -> None:
        """Carry calls from now on, or do not.  Any thread."""
        if on is self.on:
            return
        self.on = on
        if on:
            _timers.elsewhere.append(self.call)
            _loops.starts.append(self.start_loop)
            self._begin_crawls = _crawls.attach(self._thread.here)
        else:
            _timers.elsewhere.remove(self.call)
            _loops.starts.remove(self.start_loop)
            self._begin_crawls()

    # ---- a method

    def _carrying(self, own: _Method) -> _Method:
        """A method that any thread may call."""
        ident, elsewhere = self._thread.ident, self._elsewhere

        @wraps(own)
        def method(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == ident:
                return own(*args, **kwargs)
            return elsewhere(sys._getframe(1), own, args, kwargs)

        return method

    def call(self, own: _Method, *args: Any, **kwargs: Any) -> Any:
        """Call a method that has called this; any thread."""
        if self._thread.here():
            return own(*args, **kwargs)
        return self._elsewhere(sys._getframe(2), own, args, kwargs)

    def _elsewhere(self, caller: FrameType, own: _Method, args: Any, kwargs: Any) -> Any:
        """Have the reactor thread call a method, and give what it returns.  Any other thread."""
        if not self.on:
            return own(*args, **kwargs)
        refuse(caller)
        return cross(self._thread, lambda: self._given.give(own(*args, **kwargs)))

    def _finding(self, own: _Method) -> _Method:
        """A method that has the reactor watch an object, whose methods are carried from then on."""
        give = self._given.give

        @wraps(own)
        def method(one: Any) -> Any:
            return own(give(one))

        return method

    def _finding_all(self, own: _Method) -> _Method:
        """The same, with the transports on top of it, which are there when it is first read."""
        give, find = self._given.give, self._wrappers.find

        @wraps(own)
        def method(one: Any) -> Any:
            find(one)
            return own(give(one))

        return method

    # ---- a LoopingCall

    def start_loop(self, loop: LoopingCall) -> None:
        """Have a LoopingCall that is being started run in the reactor thread.  Any thread."""
        self._given.give(loop)
        if self._thread.here():
            return
        kind, call, schedule = type(loop), self.call, loop._scheduleFrom

        def begin(step: Callable[..., object], *args: Any) -> None:
            loop.__class__ = kind
            undo()
            call(step, *args)

        class Starting(kind):  # type: ignore[misc, valid-type]  # a class of the user's
            """One that goes to the reactor thread at its first step, which `start` makes."""

            def __call__(self) -> None:
                begin(loop)

        undo = override(loop, {"_scheduleFrom": lambda when: begin(schedule, when)})
        loop.__class__ = Starting

    # ---- names

    def _carry_resolver(self) -> None:
        """Have any thread ask the resolver that is installed.  Any thread."""
        resolver: Any = self._thread.reactor.nameResolver
        if "resolveHostName" not in getattr(resolver, "__dict__", {}):
            ask = self._asking(resolver.resolveHostName)
            self._resolvers.append(override(resolver, {"resolveHostName": ask}))

    def _following(self, install: _Method) -> _Method:
        """A method that installs a resolver, which any thread may ask then."""

        @wraps(install)
        def method(*args: Any, **kwargs: Any) -> Any:
            before = install(*args, **kwargs)
            self._carry_resolver()
            return before

        return method

    def _asking(self, own: _Method) -> _Method:
        """``resolveHostName`` for any thread."""
        thread = self._thread

        @wraps(own)
        def resolve(receiver: Any, *args: Any, **kwargs: Any) -> Any:
            if thread.here() or not self.on:
                return own(receiver, *args, **kwargs)
            caller = sys._getframe(1)
            held = Held(receiver, asking(caller), thread.reactor.callLater)
            return self._elsewhere(caller, own, (held, *args), kwargs)

        return resolve


def _looks(own: _Method) -> bool:
    """Whether a method looks at the thread by itself."""
    return isinstance(getattr(own, "__self__", None), _timers.Timers)


_attached: list[_Carried] = []


def attach(thread: ReactorThread, *, on: bool = True) -> None:
    """
    Have the reactor's methods carried; a second time this is `switch`.  Any thread.

    Args:
        thread: the reactor thread.
        on: whether to carry them from now on, or from the first `switch` that says so.
    """
    if not _attached:
        carried = _Carried(thread)
        carried.attach()
        _attached.append(carried)
    switch(on=on)


def switch(*, on: bool) -> None:
    """Carry calls from now on, or leave them where they are made.  Any thread."""
    for carried in _attached:
        carried.switch(on=on)


def detach() -> None:
    """Take it off the reactor, and off all that was given back.  Any thread."""
    while _attached:
        _attached.pop().detach()
