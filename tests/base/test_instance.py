"""Methods that are set on one instance, and taken off: `_base.instance`, in memory."""

from __future__ import annotations

import asyncio

from session import Session

from twisted_ipython._base.instance import override, subclass, with_room


class Thing:
    """An instance of the user's."""

    def method(self) -> str:
        """The class's own."""
        return "own"


class Slots:
    """One that takes no attributes."""

    __slots__ = ()

    def method(self) -> str:
        """The class's own."""
        return "own"


def test_set_and_taken_off() -> None:
    """The instance has ours, and its class stays as it is; then it has its own again."""
    thing = Thing()
    undo = override(thing, {"method": lambda: "ours"})
    assert (thing.method(), Thing().method()) == ("ours", "own")
    undo()
    assert thing.method() == "own"
    assert vars(thing) == {}


def test_one_below_another() -> None:
    """What was on the instance before comes back; what somebody else set since then stays."""
    thing = Thing()
    below = override(thing, {"method": lambda: "below"})
    override(thing, {"method": lambda: "above"})()
    assert thing.method() == "below"
    thing.method = lambda: "theirs"  # type: ignore[method-assign]
    below()
    assert thing.method() == "theirs"


def test_no_attributes() -> None:
    """An instance that refuses attributes keeps its own methods."""
    thing = Slots()
    override(thing, {"method": lambda: "ours"})()
    assert thing.method() == "own"


def test_class_for_an_instance() -> None:
    """It looks as the one of the instance, which has its own methods again without it."""

    class Inner(Thing):
        """One inside of a function."""

    thing = Inner()
    kind = subclass(Inner, {"method": lambda _: "ours"})
    thing.__class__ = kind
    assert (thing.method(), Inner().method()) == ("ours", "own")
    assert (str(kind), kind.__doc__) == (str(Inner), Inner.__doc__)
    thing.__class__ = Inner
    assert thing.method() == "own"


def test_room() -> None:
    """A loop keeps its own attributes in slots, and its class is named as asyncio's."""
    loop = with_room(asyncio.SelectorEventLoop)()
    try:
        assert vars(loop) == {}
        loop.set_debug(True)
        assert loop.get_debug()
        assert vars(loop) == {}
        assert (type(loop).__name__, type(loop).__module__) == (
            asyncio.SelectorEventLoop.__name__,
            asyncio.SelectorEventLoop.__module__,
        )
    finally:
        loop.close()


def test_room_on_the_reactors_loop(session: Session) -> None:
    """The loop that we make for the reactor has it: what is set there is ours."""
    session.ok("from twisted.internet import reactor; loop = reactor._asyncioEventloop")
    loop = session.shell.user_ns["loop"]
    assert "_ready" not in vars(loop)
