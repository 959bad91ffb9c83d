"""What `test_bridge_epoll.py` runs in a process of its own, whose reactor has no asyncio loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import crochet
import pytest
from reactor_thread import SECONDS, Oops, logged
from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import reactor as _reactor  # noqa: E402  # after the choice of one
from twisted.internet import threads  # noqa: E402  # imports a reactor
from twisted.internet.defer import (  # noqa: E402
    CancelledError,
    Deferred,
    ensureDeferred,
    fail,
    gatherResults,
    inlineCallbacks,
    succeed,
)
from twisted.internet.protocol import Factory  # noqa: E402
from twisted.internet.task import LoopingCall  # noqa: E402
from twisted.python import threadable  # noqa: E402

from twisted_ipython._magics.runner import Runner  # noqa: E402
from twisted_ipython._plain import sharing  # noqa: E402
from twisted_ipython._reactor.lifecycle import start  # noqa: E402

reactor: Any = _reactor


def in_reactor(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test's coroutine in the reactor thread."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        start()
        Runner(lambda: SECONDS)(test(*args, **kwargs))

    return run


def later(value: Any = None) -> Deferred[Any]:
    """A Deferred that fires with ``value``, or fails if it is an exception."""
    deferred: Deferred[Any] = Deferred()
    fire = deferred.errback if isinstance(value, BaseException) else deferred.callback
    reactor.callLater(0, fire, value)
    return deferred


async def _forwards(awaited: Any) -> Any:
    return await awaited


@inlineCallbacks
def _inline(value: Any) -> Iterator[Any]:
    result = yield later(value)
    return result


def test_which() -> None:
    """The reactor is epoll's, in a thread of its own, and has no loop."""
    assert type(start().reactor).__name__ == "EPollReactor"
    assert start().loop is None


KINDS = pytest.mark.parametrize(
    "make",
    [
        lambda value: fail(value) if isinstance(value, Exception) else succeed(value),
        later,
        _inline,
        lambda value: succeed(None).addCallback(lambda _: later(value)),
        lambda value: crochet.run_in_reactor(later)(value),
    ],
    ids=["fired", "pending", "inlineCallbacks", "chained", "EventualResult"],
)


@KINDS
@in_reactor
async def test_values(make: Any) -> None:
    """A success gives its value at every await."""
    value = object()
    awaited = make(value)
    assert await awaited is value
    assert await _forwards(awaited) is value
    assert await gatherResults([ensureDeferred(_forwards(make(1))), later(2)]) == [1, 2]
    assert threadable.isInIOThread()


@KINDS
@in_reactor
async def test_failures(make: Any) -> None:
    """A failure raises at every await, and is never logged."""
    with logged() as errors:
        awaited = make(Oops())
        for _ in range(2):
            with pytest.raises(Oops):
                await awaited
        del awaited
        await later()
    assert errors == []


@in_reactor
async def test_coroutines() -> None:
    """Coroutines, async generators and comprehensions await Deferreds."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield await later(number)

    assert [await _forwards(later(n)) async for n in numbers()] == [0, 1, 2]


@in_reactor
async def test_cancelled_by_the_user() -> None:
    """`d.cancel()` raises Twisted's CancelledError at the await."""
    deferred: Deferred[Any] = Deferred()
    reactor.callLater(0, deferred.cancel)
    for _ in range(2):
        with pytest.raises(CancelledError):
            await deferred


def test_cancelled_by_the_time_limit() -> None:
    """Cancelling the whole runs the canceller and the clean-up."""
    seen: list[str] = []

    async def waits() -> None:
        try:
            await Deferred(lambda _: seen.append("canceller"))
        finally:
            seen.append(await later("cleaned up"))

    with pytest.raises(TimeoutError):
        Runner(lambda: 0.05)(waits())
    assert seen == ["canceller", "cleaned up"]


@in_reactor
async def test_fired_in_another_thread() -> None:
    """A Deferred that another thread fires resumes the coroutine in the reactor thread."""
    for value in ("value", Oops()):
        deferred: Deferred[Any] = Deferred()
        fire = deferred.errback if isinstance(value, Exception) else deferred.callback
        threading.Timer(0.01, fire, [value]).start()
        [outcome] = await _outcomes(deferred)
        assert outcome is value
        assert threadable.isInIOThread()


async def _outcomes(*awaited: Any) -> list[Any]:
    """The values, or exceptions, one after the other."""
    outcomes = []
    for each in awaited:
        try:
            outcomes.append(await each)
        except Exception as error:
            outcomes.append(error)
    return outcomes


@in_reactor
async def test_chain() -> None:
    """100,000 fired Deferreds awaited in a row do not recurse."""
    for number in range(100_000):
        assert await succeed(number) == number


ASYNCIO: list[Callable[[], Any]] = [
    lambda: asyncio.sleep(0),
    lambda: asyncio.sleep(0.01),
    lambda: asyncio.to_thread(int),
    lambda: asyncio.Queue[Any]().get(),
    lambda: asyncio.Event().wait(),
    lambda: asyncio.wait_for(Deferred(), 1),
    lambda: _future_of_a_closed_loop(),
]


async def _future_of_a_closed_loop() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    await future


@pytest.mark.parametrize("make", ASYNCIO)
def test_asyncio_is_refused(make: Any) -> None:
    """Awaiting what is asyncio's says which reactor this is, why it fails, and what to do."""

    async def waits() -> None:
        await later()
        await make()

    with pytest.raises((RuntimeError, AttributeError)) as caught:
        in_reactor(waits)()
    texts = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    for part in ("EPollReactor was installed before", "asyncio objects cannot", "restart and load"):
        assert texts.count(part) == 1, texts


@in_reactor
async def test_refusal_can_be_caught() -> None:
    """The coroutine goes on after the refusal."""
    with pytest.raises(RuntimeError, match="EPollReactor"):
        await asyncio.sleep(0)
    assert await later("after") == "after"


@in_reactor
async def test_blocking_call_in_the_reactor_thread() -> None:
    """blockingCallFromThread fails at once in the reactor thread."""
    with pytest.raises(RuntimeError, match="`await` its Deferred"):
        threads.blockingCallFromThread(reactor, later)


def test_blocking_call_from_another_thread() -> None:
    """From any other thread it works."""
    assert threads.blockingCallFromThread(reactor, later, "value") == "value"


def test_carried() -> None:
    """The reactor's methods can be called in another thread, which borrows it; timers too."""
    sharing.attach(start())
    try:
        looped: list[bool] = []
        loop = LoopingCall(lambda: looped.append(threadable.isInIOThread()))
        loop.start(60)
        call = reactor.callLater(60, int)
        call.reset(61)
        assert call in reactor.getDelayedCalls()
        call.cancel()
        assert call not in reactor.getDelayedCalls()
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        crochet.run_in_reactor(lambda: port.stopListening() or loop.stop())().wait(SECONDS)
        assert looped == [True]
        assert not threadable.isInIOThread()
    finally:
        sharing.detach(start())
    assert "connectTCP" not in vars(reactor)
    assert "cancel" not in vars(call)
