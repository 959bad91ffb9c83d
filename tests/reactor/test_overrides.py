"""What is set on one instance, layer upon layer: `_reactor.overrides`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from twisted_ipython._reactor.overrides import WRONG_ORDER, Overrides, Wrapper, replacement


class Port:
    """What has a method."""

    def close(self) -> str:
        """Give the name of the method."""
        return "close"


def saying(word: str) -> Wrapper:
    """A wrapper that puts a word around what the method gives."""

    def wrap(own: Callable[[], str]) -> Callable[[], Any]:
        return lambda: f"{word}({own()})"

    return wrap


def test_wrappers_in_their_order() -> None:
    """The first of a table is innermost, a later layer is around it, and all is undone."""
    port, overrides = Port(), Overrides()
    lower = overrides.add("_reactor", (port, {"close": [saying("a"), saying("b")]}))
    upper = overrides.add("_plain", (port, {"close": [saying("c")]}))
    assert port.close() == "c(b(a(close)))"
    upper()
    assert port.close() == "b(a(close))"
    upper = overrides.add("_scripts", (port, {"close": [replacement(lambda: "stopped")]}))
    assert port.close() == "stopped"
    upper()
    lower()
    assert port.close() == "close"
    assert vars(port) == {}


def test_layers_in_their_order() -> None:
    """A layer below one that is set is refused, and changes nothing."""
    port, overrides = Port(), Overrides()
    undo = overrides.add("_plain", (port, {"close": [saying("c")]}))
    error = WRONG_ORDER.format(layer="_scripts", last="_plain")
    with pytest.raises(ValueError, match=re.escape(error)):
        overrides.add("_scripts", (port, {"close": [saying("b")]}))
    assert port.close() == "c(close)"
    undo()
    overrides.add("_scripts", (port, {"close": [saying("b")]}))
    assert port.close() == "b(close)"


def test_a_method_that_is_not_there() -> None:
    """A name that an instance lacks is left out: other reactors have other private methods."""
    port = Port()
    Overrides().add("_reactor", (port, {"_doReadOrWrite": [saying("a")]}))
    assert vars(port) == {}
