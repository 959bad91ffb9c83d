"""crochet runs the reactor, and its results can be awaited: `_reactor.crochet_adapter`."""

from __future__ import annotations

import threading

import pytest
from reactor_thread import Oops, reactor

from twisted_ipython._reactor.crochet_adapter import call_in_reactor, reactor_thread, set_up
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.lifecycle import current

SECONDS = 20


@pytest.fixture(autouse=True)
def _runs() -> None:
    reactor()


def test_the_thread_is_a_daemon() -> None:
    """crochet's thread is found, and does not keep the process, whoever starts it."""
    thread = reactor_thread()
    assert thread is not None
    assert thread.ident == current().ident
    assert thread.daemon
    assert not threading.current_thread().daemon


def test_set_up_again() -> None:
    """A reactor that runs stays as it is."""
    before = reactor_thread()
    set_up()
    assert reactor_thread() is before


def test_calls_in_the_reactor() -> None:
    """What is called there has a result of ours, with what it returns or raises."""

    def fail() -> None:
        raise Oops

    result = call_in_reactor(threading.get_ident)
    assert type(result) is EventualResult
    assert result.wait(SECONDS) == current().ident
    with pytest.raises(Oops):
        call_in_reactor(fail).wait(SECONDS)
