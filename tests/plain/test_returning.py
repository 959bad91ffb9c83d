"""When a loan of the reactor goes back by itself: `_plain.returning`, in memory."""

from __future__ import annotations

import json
import threading
import urllib.request
from types import ModuleType
from typing import Any

from standing import Standing
from twisted.internet import task

from twisted_ipython._base.loans import Loan, loans
from twisted_ipython._plain.returning import Watch


def test_users_code_stands() -> None:
    """A thread that stands in the user's own code keeps no loan."""
    with Standing("__main__", task=task) as ident:
        assert not Watch()._stays(Loan(ident, kept=True))


def test_library_stands() -> None:
    """One that stands in a library's code keeps it for half a second."""
    for module, names in (("twisted.something", {}), ("of_somebody", {"task": task})):
        with Standing(module, **names) as ident:
            watch, loan = Watch(), Loan(ident, kept=True)
            assert watch._stays(loan)
            watch._called -= 0.5
            assert watch._stays(loan)
            watch._since -= 0.5
            assert not watch._stays(loan)
            loan.calls += 1
            assert watch._stays(loan)


def test_library_works_on() -> None:
    """One that works on in a library without any call keeps it for 5 s, and is told so."""
    with Standing("twisted.something") as ident:
        watch, loan = Watch(), Loan(ident, kept=True)
        assert watch._stays(loan)
        watch._called -= 5
        assert not watch._stays(loan)
        [line] = watch._lines
        assert line.startswith("The reactor went on without waiting for ")


def test_thread_has_ended() -> None:
    """One that has ended keeps none; a loan for one call is the call's to end."""
    with Standing("twisted.something") as ident:
        pass
    assert not Watch()._stays(Loan(ident, kept=True))
    assert Watch()._stays(Loan(ident, kept=False))


def test_in_a_call() -> None:
    """Nobody's loan ends in a borrowed call; one whose call was broken off ends."""
    for module, stays in (("twisted_ipython._plain.borrow", True), ("twisted.something", False)):
        with Standing(module) as ident:
            loans.inside = ident
            try:
                assert Watch()._stays(Loan(ident, kept=True)) is stays
            finally:
                loans.inside = None


class Proxy:
    """An object that must not be asked what it is."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside of any request")


def test_libraries() -> None:
    """A library is what is Twisted's or asyncio's or has something of theirs, whatever its path."""

    def is_one(name: str, **names: Any) -> bool:
        code = compile("import sys\nframe = sys._getframe()", "<code>", "exec")
        names["__name__"] = name
        exec(code, names)
        return Watch().is_library(names["frame"])

    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise ImportError(name)

    assert is_one("twisted.web.client")
    assert is_one("asyncio.tasks")
    assert is_one("loans_test_with_module", task=task)
    assert is_one("loans_test_with_class", Loop=task.LoopingCall)
    assert is_one("loans_test_with_function", deferLater=task.deferLater)
    assert not is_one("loans_test_with_neither", json=json, Proxy=Proxy(), lazy=Lazy("lazy"))
    assert not is_one("__main__", task=task)
    assert not is_one("ipykernel.kernelbase", task=task)
    for module in (urllib.request, json, threading):
        assert not is_one(module.__name__, **vars(module))
