"""Methods set on one instance, and taken off again.  Thread: any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any


def with_room(kind: type[Any]) -> type[Any]:
    """A subclass, for one instance, with room for what is set on that.  Thread: any."""
    # Python shares the names of an instance's attributes with its class, up to 30; beyond that
    # each is looked up in a dictionary of the instance's own.  A loop of asyncio's begins with
    # 24 to 27: with what is set on it, its tasks took 6 to 12 % longer.  So those get slots.
    one = kind()
    one.close()
    own = {"__slots__": tuple(vars(one)), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), own)


def override(instance: object, methods: Mapping[str, Any]) -> Callable[[], None]:
    """Set methods on one instance, not on its class; returns what takes them off.  Thread: any."""
    # Not by way of `vars`: it would turn the instance's attributes into a real
    # dictionary, which Python 3.11 reads much more slowly, for good.
    before = {name: getattr(instance, name, None) for name in methods}
    for name, method in methods.items():
        with suppress(AttributeError):  # of a loop written in C, which keeps its own
            setattr(instance, name, method)

    def undo() -> None:
        for name, method in methods.items():
            # What somebody else has set since then stays.
            if getattr(instance, "__dict__", {}).get(name) == method:
                delattr(instance, name)
                if getattr(instance, name, None) != before[name]:
                    setattr(instance, name, before[name])

    return undo
