"""
The methods of ports, connections, processes, timers and LoopingCalls, for any thread.

What a port or a connection does belongs to the reactor thread, as what the
reactor does.  In another thread ``transport.loseConnection()`` would find the
reactor half-way through it: it asks for a turn of the reactor, and only then
notes what that turn is to do.  So each of them gets a class for itself, with
the methods that its interfaces declare behind a check of the thread.

A port makes its connections of such a class.  Any other object is found when a
method of the reactor's returns it in another thread, when it first asks the
reactor to watch its file descriptor, or when it asks for the time to start
from.  A transport on top of another, as that of
`wrapClientTLS` or of a ``ssl:`` endpoint is, is the protocol of the one below
(a `ProtocolWrapper`), and found when that first asks to be read from.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import wraps
from threading import get_ident
from typing import Any, Final

from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IListeningPort,
    IMulticastTransport,
    ISSLTransport,
    ITCPTransport,
    ITransport,
    IUDPTransport,
    IUNIXDatagramTransport,
)
from twisted.internet.task import LoopingCall
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass, Method

from twisted_ipython._base.instance import subclass
from twisted_ipython._private.twisted import WRAPPED_PROTOCOL
from twisted_ipython._reactor.delayed_calls import LoopCall

# Whose methods are meant.
_INTERFACES: Final = (
    IConnector,
    IDelayedCall,
    IListeningPort,
    IMulticastTransport,
    ITransport,
    IUDPTransport,
    IUNIXDatagramTransport,
)

# What stands for those of the connection below, whatever interfaces the wrapper itself has.
_OF_WRAPPERS: Final = (*ITCPTransport.__iro__, *ISSLTransport.__iro__)

# Of an object that has methods of its own, not its class's: what it had and what stands there.
_BEFORE: Final = "_twisted_ipython_before"

# Calls a method with the reactor borrowed.
Elsewhere = Callable[[Callable[..., Any], Any, Any], Any]


def declared(interfaces: Iterable[InterfaceClass]) -> set[str]:
    """The names of the methods that the interfaces declare."""
    return {
        name
        for interface in interfaces
        for name, what in interface.namesAndDescriptions()
        if isinstance(what, Method)
    }


class Given:
    """
    The objects whose methods any thread may call.

    Args:
        ident: the reactor thread.
        elsewhere: calls a method for another thread.
    """

    def __init__(self, ident: int, elsewhere: Elsewhere) -> None:
        self._ident = ident
        self._elsewhere = elsewhere
        # By a class: the one that its objects get, which stands for itself.
        self._kinds: dict[type, type] = {}

    def give(self, one: Any) -> Any:
        """Return an object, with its methods for any thread.  Thread: any."""
        own = type(one)
        kind = self._kinds.get(own) or self._kind_of(own)
        if kind is own:
            return one
        try:
            _set_class(one, kind)
        except TypeError:  # its class is written in C
            self._kinds[own] = own
            return one
        if issubclass(kind, ProtocolWrapper):
            self._give_own(one, kind)
        if IConnector.providedBy(one):
            self.give(one.transport)
        return one

    def give_all(self, one: Any) -> Any:
        """The same, for the transports on top of it too.  Thread: reactor."""
        for wrapper in _wrappers_on(one):
            self.give(wrapper)
        return self.give(one)

    def take_back(self) -> None:
        """Take the methods off all objects.  Thread: any."""
        kinds = {kind: own for own, kind in self._kinds.items() if kind is not own}
        # To note each connection would cost each; this is asked once.
        for one in gc.get_objects():
            own = kinds.get(type(one))
            if own is not None:
                _set_class(one, own)
                names = one.__dict__
                for name, (before, ours) in names.pop(_BEFORE, {}).items():
                    if names.get(name) is ours:  # one that the object has set since then stays
                        names[name] = before

    def _give_own(self, one: Any, kind: type) -> None:
        """The same for what stands on the instance: TLS of Twisted 26.10 sets a `write`."""
        names = one.__dict__
        before = {name: names[name] for name in names.keys() & vars(kind).keys()}
        ours = {name: self._method(own) for name, own in before.items()}
        names |= ours | {_BEFORE: {name: (own, ours[name]) for name, own in before.items()}}

    def _kind_of(self, own: type) -> type:
        """The class that objects of a class get: itself, if there is nothing to give them."""
        kind = own
        if methods := self._methods_of(own):
            made = getattr(own, "transport", None)  # a port's class of what it accepts
            if isinstance(made, type):
                methods["transport"] = self._kinds.get(made) or self._kind_of(made)
            with suppress(Exception):  # it wants no subclass
                kind = subclass(own, methods)
        return self._kinds.setdefault(own, self._kinds.setdefault(kind, kind))

    def _methods_of(self, kind: type) -> dict[str, Any]:
        interfaces = [
            one
            for one in implementedBy(kind).flattened()
            if any(one.isOrExtends(meant) for meant in _INTERFACES)
        ]
        if issubclass(kind, LoopCall) or not kind.__dictoffset__:  # it checks the thread by itself
            return {}
        if issubclass(kind, ProtocolWrapper):
            interfaces.extend(_OF_WRAPPERS)
        names = declared(interfaces) - {"active"}
        if issubclass(kind, LoopingCall):
            names |= {"reset", "stop"}
        return {
            name: self._method(getattr(kind, name))
            for name in names
            if hasattr(kind, name) and not name.startswith("get")  # which only reads
        }

    def _method(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """What stands for a method, of a class or of an instance."""
        ident, elsewhere = self._ident, self._elsewhere

        @wraps(own)
        def method(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == ident:
                return own(*args, **kwargs)
            return elsewhere(own, args, kwargs)

        return method


def _set_class(one: Any, kind: type) -> None:
    object.__setattr__(one, "__class__", kind)  # not by a `__setattr__` of its own


def _wrappers_on(connection: Any) -> Iterator[ProtocolWrapper]:
    """The protocols of a connection that are transports of others."""
    protocol = getattr(connection, "protocol", None)
    while protocol is not None:
        if isinstance(protocol, ProtocolWrapper):
            yield protocol
            protocol = protocol.wrappedProtocol
        else:
            protocol = getattr(protocol, WRAPPED_PROTOCOL, None)  # of what an endpoint puts on top
