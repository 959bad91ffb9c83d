"""The names of a namespace that are looked at after each cell: `_failures.names`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twisted_ipython._failures.names import Names


def after(names: Names, namespace: dict[str, Any], cell: int, **bound: Any) -> list[str]:
    """The names that are given after a cell that bound some."""
    namespace |= {f"_i{cell}": "text", **bound, f"_{cell}": "value"}
    return [name for name, _ in names.bound(namespace)]


def test_new_and_lasting() -> None:
    """Names are given in their order: the user's each time, a cell's text and value once."""
    names, namespace = Names(), {"In": [], "_i1": "", "_1": 1}
    assert after(names, namespace, 2, a=1) == ["In", "_i1", "_1", "_i2", "a", "_2"]
    assert after(names, namespace, 3, a=2, b=1) == ["In", "a", "_i3", "b", "_3"]
    many = {f"name{number}": number for number in range(100)}
    assert after(names, namespace, 4, **many) == ["In", "a", "b", "_i4", *many, "_4"]
    assert after(names, namespace, 5) == ["In", "a", "b", *many, "_i5", "_5"]
    assert dict(names.bound(namespace))["a"] == 2


MEANWHILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "the latest value": lambda namespace: namespace.pop("_3"),
    "one of the user's": lambda namespace: namespace.pop("a"),
    "all": lambda namespace: namespace.clear(),
}


@pytest.mark.parametrize("delete", MEANWHILE.values(), ids=MEANWHILE)
def test_deleted(delete: Callable[[dict[str, Any]], object]) -> None:
    """What is bound is found, also again, whatever was deleted before."""
    names: Names = Names()
    namespace: dict[str, Any] = {}
    for cell in range(1, 4):
        after(names, namespace, cell, a=1)
    delete(namespace)
    assert {"a", "b"} <= set(after(names, namespace, 4, b=1, a=2))
    assert {"a", "b", "c"} <= set(after(names, namespace, 5, c=1))


def test_without_history() -> None:
    """Where IPython keeps no texts, as in a cell without history, all names are given."""
    names, namespace = Names(), {"a": 1}
    for value in (1, 2):
        namespace["a"] = value
        assert names.bound(namespace) == [("a", value)]
    namespace["b"] = 3
    assert names.bound(namespace) == [("a", 2), ("b", 3)]
