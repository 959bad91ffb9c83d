"""
Methods set on one instance, and taken off again.

For a few methods of few instances those stand on the instance itself.  For the methods of
each connection that would be a dozen objects more, which each collection of garbage goes
through: such an instance gets a class for itself, which looks as its own.

Thread: any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import new_class
from typing import Any


def with_room(kind: type[Any]) -> type[Any]:
    """A subclass, for one instance, with room for what is set on that.  Thread: any."""
    # Python shares the names of an instance's attributes with its class, up to 30; beyond that
    # each is looked up in a dictionary of the instance's own.  A loop of asyncio's begins with
    # 24 to 27: with what is set on it, its tasks took 6 to 12 % longer.  So those get slots.
    one = kind()
    one.close()
    return subclass(kind, {"__slots__": tuple(vars(one))})


def subclass(kind: type[Any], own: Mapping[str, Any]) -> type[Any]:
    """
    A subclass of the same name with methods of ours, for single instances.

    Setting the ``__class__`` of an instance of ``kind`` to it gives it the methods, and
    setting that back takes them off.

    Args:
        kind: the class of the instances.
        own: the methods, and what else the class gets, by name.

    Raises:
        Exception: what the class says of subclasses that it does not want.

    Thread: any.
    """
    looks = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    body = {"__slots__": (), **looks, **own}
    return new_class(kind.__name__, (kind,), exec_body=lambda names: names.update(body))


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
