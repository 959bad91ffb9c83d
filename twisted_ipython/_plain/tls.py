"""
The methods of transports that a protocol is for another one, as TLS is, for any thread.

``transport.write(data)`` in a plain cell on a connection of `wrapClientTLS` or
of a ``ssl:`` endpoint works on the TLS connection, which the reactor thread
works on too.  Such a transport is a `ProtocolWrapper`: the protocol of the
connection below, and found when that first asks to be read from.  Some
(`BufferingTLSTransport`, Twisted 26.10) have methods of their own on the
instance, which are called then, and put back.

What `startTLS` and `connectSSL` give is the connection itself (`_plain.transports`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, Final
from weakref import WeakSet

from twisted.internet.interfaces import ISSLTransport, ITCPTransport
from twisted.protocols.policies import ProtocolWrapper

from twisted_ipython._plain.transports import Elsewhere, declared
from twisted_ipython._private.twisted import WRAPPED_PROTOCOL

_NAMES: Final = sorted(
    name
    for name in declared((*ITCPTransport.__iro__, *ISSLTransport.__iro__))
    if not name.startswith("get")
)


class _Method:
    """
    A method of one wrapper.

    Args:
        own: the method.
        ident: the reactor thread.
        elsewhere: calls it for another thread.
        set_before: whether it was the instance's own, and not its class's.
    """

    def __init__(
        self, own: Callable[..., Any], ident: int, elsewhere: Elsewhere, *, set_before: bool
    ) -> None:
        self.own = own
        self.set_before = set_before
        self._ident = ident
        self._elsewhere = elsewhere

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, with the reactor borrowed in any other thread than the reactor's."""
        if get_ident() == self._ident:
            return self.own(*args, **kwargs)
        return self._elsewhere(self.own, args, kwargs)


class Wrappers:
    """
    The wrappers whose methods any thread may call.

    Args:
        ident: the reactor thread.
        elsewhere: calls a method for another thread.
    """

    def __init__(self, ident: int, elsewhere: Elsewhere) -> None:
        self._ident = ident
        self._elsewhere = elsewhere
        self._wrappers: WeakSet[ProtocolWrapper] = WeakSet()

    def find(self, connection: Any) -> None:
        """Give the wrappers on a connection their methods.  Thread: reactor."""
        for wrapper in _wrappers_on(connection):
            if wrapper not in self._wrappers:
                self._wrappers.add(wrapper)
                self._give(wrapper)

    def _give(self, wrapper: ProtocolWrapper) -> None:
        names = wrapper.__dict__
        for name in _NAMES:
            if hasattr(type(wrapper), name):
                own = getattr(wrapper, name)
                set_before = name in names
                names[name] = _Method(own, self._ident, self._elsewhere, set_before=set_before)

    def take_back(self) -> None:
        """Take the methods off all wrappers.  Thread: any."""
        for wrapper in list(self._wrappers):
            names = wrapper.__dict__
            # One that the wrapper has set since then stays.
            ours = {name: one for name, one in names.items() if isinstance(one, _Method)}
            for name, method in ours.items():
                if method.set_before:
                    names[name] = method.own
                else:
                    del names[name]


def _wrappers_on(connection: Any) -> Iterator[ProtocolWrapper]:
    """The protocols of a connection that are transports of others."""
    protocol = getattr(connection, "protocol", None)
    while protocol is not None:
        if isinstance(protocol, ProtocolWrapper):
            yield protocol
            protocol = protocol.wrappedProtocol
        else:
            protocol = getattr(protocol, WRAPPED_PROTOCOL, None)  # of what an endpoint puts on top
