"""crochet has the private names that are used, and without them it goes on as is said."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import crochet
import pytest
from session import Session
from twisted.python import log

from twisted_ipython._private import crochet as private
from twisted_ipython._reactor.crochet_adapter import call_in_reactor

SEEN = f"crochet 2.1.1 has it: look for its new name, for {private.__file__}"


def test_registry(session: Session) -> None:
    """crochet notes a result until it has come; what it does not keep is not found."""
    registry = private.registry()
    assert hasattr(registry, "register"), f"no `_main._registry`, where results are noted; {SEEN}"
    gate = threading.Event()
    result = call_in_reactor(gate.wait)
    assert result in private.results(registry), f"`_registry._results` has no results; {SEEN}"
    gate.set()
    result.wait(10)
    assert private.results(object()) == []


def test_observer(session: Session) -> None:
    """crochet's observer of Twisted's log has a class of its own."""
    assert private.THREAD_LOG_OBSERVER.__module__ == "crochet._eventloop", (
        f"no `_eventloop.ThreadLogObserver`; {SEEN}"
    )
    observers = log.theLogPublisher.observers
    assert not any(isinstance(one, private.THREAD_LOG_OBSERVER) for one in observers)


def test_watchdog(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """crochet's watchdog asks whether the main thread lives; without, it goes on as it is."""
    watchdog = crochet._main._watchdog_thread
    assert hasattr(watchdog, "_canary"), f"no `_watchdog_thread._canary`; {SEEN}"
    assert type(watchdog._canary).__module__ == call_in_reactor.__module__
    bare = SimpleNamespace(_watchdog_thread=SimpleNamespace())
    monkeypatch.setattr(crochet, "_main", bare)
    private.watch(object())
    assert vars(bare._watchdog_thread) == {}
