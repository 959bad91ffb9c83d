"""What comes of work that is cancelled, and goes on until it ends: `_bridge.ending`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextvars import copy_context
from typing import Any

import pytest
from reactor_thread import in_reactor
from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.python.failure import Failure

from twisted_ipython._bridge.ending import Ending, is_cancellation, of_generator


def swallows() -> Deferred[str]:
    """A Deferred that fires as if nothing had happened when it is cancelled."""
    return Deferred(lambda deferred: deferred.callback("as if nothing had happened"))


@in_reactor
async def test_swallowed_by_a_value() -> None:
    """Work that was cancelled and comes to a value all the same is cancelled; a failure stays."""
    result = Ending(lambda: result.end("value"))
    result.cancel()
    with pytest.raises(CancelledError):
        await result
    failing = Ending(lambda: failing.end(Failure(KeyError("its own"))))
    failing.cancel()
    with pytest.raises(KeyError, match="its own"):
        await failing


@in_reactor
async def test_generator() -> None:
    """A generator that is told twice ends at the ``yield`` that it has reached by then."""
    reached: list[int] = []

    def work() -> Generator[Any, Any, Any]:
        for number in range(9):
            reached.append(number)
            yield swallows()

    result = of_generator(work(), copy_context())
    result.cancel()
    with pytest.raises(CancelledError):
        await result
    assert reached == [0, 1]


@in_reactor
async def test_generator_that_handles_it() -> None:
    """A ``try`` of its own is respected, and a failure of its own is shown as it is."""

    def work(error: Exception | None) -> Generator[Any, Any, Any]:
        try:
            yield Deferred()
        except CancelledError:
            if error is not None:
                raise error from None
        return "mine"

    result = of_generator(work(None), copy_context())
    result.cancel()
    assert await result == "mine"
    result = of_generator(work(KeyError("its own")), copy_context())
    result.cancel()
    with pytest.raises(KeyError, match="its own"):
        await result


def test_cancellations() -> None:
    """Seen through `gatherResults` and groups; a group with something else is none."""
    cancelled = [asyncio.CancelledError(), CancelledError(), KeyboardInterrupt()]
    group = BaseExceptionGroup("", cancelled)
    for error in (*cancelled, group, FirstError(Failure(CancelledError()), 0)):
        assert is_cancellation(error)
    for error in (ValueError(), BaseExceptionGroup("", [*cancelled, ValueError()])):
        assert not is_cancellation(error)
    assert not is_cancellation(FirstError(Failure(ValueError()), 0))
