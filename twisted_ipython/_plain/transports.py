"""
The methods of ports, connections, processes, timers and LoopingCalls, for any thread.

What a port or a connection does belongs to the reactor thread, as what the
reactor does.  In another thread ``transport.loseConnection()`` would find the
reactor half-way through it: it asks for a turn of the reactor, and only then
notes what that turn is to do.  So the methods that the interfaces of such
objects declare are set on each of them, behind a check of the thread.

An object is found when a method of the reactor's returns it in another thread,
when it first asks the reactor to watch its file descriptor, or when it asks
for the time to start from.  A transport on top of another, as that of
`wrapClientTLS` or of a ``ssl:`` endpoint is, is the protocol of the one below
(a `ProtocolWrapper`), and found when that first asks to be read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from threading import get_ident
from types import MethodType
from typing import Any, Final
from weakref import WeakSet, ref

from twisted.internet.abstract import FileDescriptor
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

# The attribute of an object that has its methods: what gives it to them, and what the
# instance itself had in their place.
_GIVEN: Final = "_twisted_ipython_given"

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
        self._objects: WeakSet[Any] = WeakSet()
        # What to set on the objects of a class.
        self._methods: dict[type, Mapping[str, Callable[..., Any]]] = {}

    def give(self, one: Any) -> Any:
        """Return an object, with its methods for any thread.  Thread: any."""
        methods = self._methods.get(type(one))
        if methods is None:
            methods = self._methods[type(one)] = self._methods_of(type(one))
        # A table would have to be asked for each write of each connection.
        if methods and _GIVEN not in one.__dict__:
            self._objects.add(one)
            # What the reactor works for it holds; to what nobody holds nothing happens
            # any more.
            weak = isinstance(one, (FileDescriptor, LoopingCall))
            reference = ref(one) if weak else lambda: one
            names = one.__dict__
            before = {name: names[name] for name in methods if name in names}
            names[_GIVEN] = reference, before
            for name, method in methods.items():
                if name in before:  # TLS of Twisted 26.10 sets a `write`
                    method = self._method(_of_instance(before[name]))
                names[name] = MethodType(method, reference)
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
        for one in list(self._objects):
            names = one.__dict__
            reference, before = names.pop(_GIVEN)
            for name in self._methods[type(one)]:
                # One that the object has set since then stays.
                if getattr(names.get(name), "__self__", None) is reference:
                    del names[name]
                    if name in before:
                        names[name] = before[name]

    def _methods_of(self, kind: type) -> dict[str, Callable[..., Any]]:
        interfaces = [
            one
            for one in implementedBy(kind).flattened()
            if any(one.isOrExtends(meant) for meant in _INTERFACES)
        ]
        open_to_us = kind.__dictoffset__ and kind.__weakrefoffset__  # no slots
        if issubclass(kind, LoopCall) or not open_to_us:  # it checks the thread by itself
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

    def _method(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What stands for a method; its first argument gives the object."""
        ident, elsewhere = self._ident, self._elsewhere

        @wraps(function)
        def method(reference: Callable[[], Any], /, *args: Any, **kwargs: Any) -> Any:
            one = reference()
            if one is None:
                return None
            if get_ident() == ident:
                return function(one, *args, **kwargs)
            return elsewhere(partial(function, one), args, kwargs)

        return method


def _of_instance(own: Callable[..., Any]) -> Callable[..., Any]:
    """What an instance has in the place of a method, as a method."""
    return lambda _, *args, **kwargs: own(*args, **kwargs)


def _wrappers_on(connection: Any) -> Iterator[ProtocolWrapper]:
    """The protocols of a connection that are transports of others."""
    protocol = getattr(connection, "protocol", None)
    while protocol is not None:
        if isinstance(protocol, ProtocolWrapper):
            yield protocol
            protocol = protocol.wrappedProtocol
        else:
            protocol = getattr(protocol, WRAPPED_PROTOCOL, None)  # of what an endpoint puts on top
