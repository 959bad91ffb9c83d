"""The context of a failed Deferred is found in its traceback."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from session import Session, eventually
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.python.failure import Failure

from twisted_ipython._base.work_id import new_work, set_work, work_in
from twisted_ipython._failures.origin import context_of


def number_of(failure: Failure) -> int:
    """The cell that the context of a failure belongs to."""
    return work_in(context_of(failure)).cell


def failure_of(deferred: Deferred[Any]) -> Failure:
    """What a Deferred has failed with."""
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    return failures[0]


def test_coroutine_and_generator() -> None:
    """Of what Twisted's driver runs it is the context that the driver runs it in."""
    gate: Deferred[None] = Deferred()

    async def coroutine() -> None:
        await gate
        raise ValueError

    @inlineCallbacks
    def generator() -> Any:
        yield gate
        raise ValueError

    context = copy_context()
    context.run(set_work, new_work(5))
    first = context.run(ensureDeferred, coroutine())
    second = context.run(generator)
    gate.callback(None)
    assert [number_of(failure_of(one)) for one in (first, second)] == [5, 5]


def test_delayed_call(session: Session) -> None:
    """Of a callback that a timer ran it is the context that asked for the timer."""
    session.ok("%autoawait twisted\ndef bad(_=None): 1 / 0\nkept = []")
    session.ok("await task.deferLater(reactor, 0, lambda: None)\nd = Deferred()")
    session.ok("d.addCallback(bad).addErrback(kept.append)")
    number = session.shell.execution_count
    session.ok(
        "await task.deferLater(reactor, 0, lambda: None)\nreactor.callLater(0, d.callback, 1)"
    )
    eventually(lambda: session.names["kept"])
    assert number_of(session.names["kept"][0]) == number


def test_no_frame_that_tells() -> None:
    """Of an exception that was never raised nothing is known."""
    assert context_of(Failure(ValueError())) is None
