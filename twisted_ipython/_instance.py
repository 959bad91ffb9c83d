"""Methods set on one instance, and taken off again.  Any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["override"]


def override(instance: object, methods: Mapping[str, Any]) -> Callable[[], None]:
    """
    Set methods on one instance; its class stays as it is.

    An instance that refuses attributes (a loop written in C) keeps its own methods.

    Args:
        instance: whose methods they become.
        methods: by name.

    Returns:
        What takes them off; one that somebody else has set since then stays.
    """
    own = getattr(instance, "__dict__", {})
    before = {name: own[name] for name in methods if name in own}
    for name, method in methods.items():
        try:
            setattr(instance, name, method)
        except AttributeError:
            continue

    def undo() -> None:
        for name, method in methods.items():
            if own.get(name) != method:
                continue
            if name in before:
                setattr(instance, name, before[name])
            else:
                delattr(instance, name)

    return undo
