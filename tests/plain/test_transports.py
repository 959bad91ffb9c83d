"""The methods of ports, connections and timers for any thread: `_plain.transports`, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from threading import Thread, get_ident
from types import SimpleNamespace
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port, Server
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import classImplements, classImplementsOnly, implementedBy

from twisted_ipython._plain.transports import Given, declared


def in_thread(function: Callable[[], object]) -> None:
    """Call a function in another thread."""
    thread = Thread(target=function)
    thread.start()
    thread.join()


def noting(borrowed: list[str]) -> Callable[..., Any]:
    """What calls a method for another thread, and notes its name."""

    def elsewhere(own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        borrowed.append(own.__name__)
        return own(*args, **kwargs)

    return elsewhere


def test_declared() -> None:
    """The methods of an interface, and not its attributes."""
    assert declared([IDelayedCall]) == {"getTime", "cancel", "delay", "reset", "active"}


def test_another_thread_borrows() -> None:
    """What changes an object is called with the reactor borrowed; what only reads is not."""
    borrowed: list[str] = []

    given = Given(get_ident(), noting(borrowed))
    timer = DelayedCall(1, int, (), {}, lambda _: None, lambda _: None, lambda: 0)
    names = {**vars(timer)}
    assert given.give(timer) is given.give(timer) is timer
    assert vars(timer) == names  # a connection is to cost no more objects
    assert str(type(timer)) == str(DelayedCall)
    timer.delay(1)
    assert borrowed == []
    in_thread(lambda: timer.delay(1))
    in_thread(timer.active)
    assert borrowed == ["delay"]
    assert timer.getTime() == 3
    given.take_back()
    assert type(timer) is DelayedCall
    in_thread(timer.cancel)
    assert borrowed == ["delay"]
    assert timer.cancelled


def test_a_port_makes_its_own_kind() -> None:
    """What a port accepts has its methods from the start: a class set later costs each access."""
    borrowed: list[str] = []
    given = Given(get_ident(), noting(borrowed))
    port = given.give(Port(0, Factory(), interface="127.0.0.1"))
    made = port.transport
    assert made is not Server
    assert str(made) == str(Server)
    accepted = made.__new__(made)
    assert given.give(accepted) is accepted
    assert type(accepted) is made
    accepted.connected = accepted.disconnecting = False
    in_thread(accepted.loseConnection)
    assert borrowed == ["loseConnection"]
    given.take_back()
    assert [type(port), port.transport, type(accepted)] == [Port, Server, Server]


class Single(ProtocolWrapper):
    """A transport whose class wants no others below it."""

    def __init_subclass__(cls) -> None:
        raise TypeError


def test_a_class_that_wants_no_subclass() -> None:
    """Its objects stay as they are."""
    given = Given(get_ident(), lambda own, args, kwargs: own(*args, **kwargs))
    wrapper = Single(Factory(), Protocol())  # type: ignore[arg-type]
    assert given.give(wrapper) is wrapper
    assert type(wrapper) is Single


def test_a_class_in_c() -> None:
    """Objects whose class cannot be changed stay as they are."""
    given = Given(get_ident(), lambda own, args, kwargs: own(*args, **kwargs))
    before = implementedBy(BytesIO).declared
    classImplements(BytesIO, ITransport)
    try:
        made = BytesIO()
        for _ in range(2):
            assert given.give(made) is made
        assert type(made) is BytesIO
    finally:
        classImplementsOnly(BytesIO, *before)


class Strict(ProtocolWrapper):
    """A transport that takes its own attributes only."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in {"wrappedProtocol", "factory"}:
            raise AttributeError(name)
        super().__setattr__(name, value)


def test_attributes_of_its_own_only() -> None:
    """An object that refuses other attributes has its methods all the same."""
    borrowed: list[str] = []

    def elsewhere(own: Callable[..., Any], args: Any, kwargs: Any) -> None:
        borrowed.append(own.__name__)

    given, strict = Given(get_ident(), elsewhere), Strict(Factory(), Protocol())  # type: ignore[arg-type]
    given.give(strict)
    in_thread(strict.loseConnection)
    assert borrowed == ["loseConnection"]
    given.take_back()
    assert type(strict) is Strict


class Wrapper(ProtocolWrapper):
    """A transport with a method of its own on the instance."""

    def __init__(self) -> None:
        super().__init__(Factory(), Protocol())  # type: ignore[arg-type]
        self.made: list[Any] = []
        self.write = self.made.append  # type: ignore[method-assign, assignment]


def test_on_top_of_a_connection() -> None:
    """A transport on top has its methods, also those of the instance, which are put back."""
    borrowed: list[str] = []

    def elsewhere(own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        borrowed.append(threading.current_thread().name)
        return own(*args, **kwargs)

    given, wrapper = Given(get_ident(), elsewhere), Wrapper()
    connection, own = SimpleNamespace(protocol=wrapper), wrapper.write
    given.give_all(connection)
    wrapper.write(b"here")
    assert borrowed == []
    in_thread(lambda: wrapper.write(b"elsewhere"))
    assert wrapper.made == [b"here", b"elsewhere"]
    assert len(borrowed) == 1
    wrapper.writeSequence = later = [].extend  # type: ignore[method-assign, assignment]
    given.take_back()
    assert wrapper.write == own
    assert vars(wrapper).keys() & {"loseConnection", "write", "writeSequence"} == {
        "write",
        "writeSequence",
    }
    assert wrapper.writeSequence is later
