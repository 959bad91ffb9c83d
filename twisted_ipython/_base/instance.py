"""Methods set on one instance, and taken off again.  Thread: any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

__all__ = ["override"]


def override(instance: object, methods: Mapping[str, Any]) -> Callable[[], None]:
    """
    Set methods, by name, on one instance; its class stays as it is.

    An instance that refuses attributes (a loop written in C) keeps its own methods.

    Args:
        instance: whose methods they are.
        methods: by name.

    Returns:
        What takes them off; one that somebody else has set since then stays.

    Thread: any.
    """
    # Not by way of `vars`: it would turn the instance's attributes into a real
    # dictionary, which Python 3.11 reads much more slowly, for good.
    before = {name: getattr(instance, name, None) for name in methods}
    for name, method in methods.items():
        with suppress(AttributeError):
            setattr(instance, name, method)

    def undo() -> None:
        for name, method in methods.items():
            if getattr(instance, "__dict__", {}).get(name) == method:
                delattr(instance, name)
                if getattr(instance, name, None) != before[name]:
                    setattr(instance, name, before[name])

    return undo
