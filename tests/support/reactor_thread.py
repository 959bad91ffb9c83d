"""The reactor thread of the test process: tests that run in it, and what they await there."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from twisted_ipython._magics.runner import Runner
from twisted_ipython._reactor.lifecycle import start

__all__ = ["Oops", "forwards", "in_reactor", "later", "logged", "reactor", "turns"]

SECONDS = 30.0

_P = ParamSpec("_P")


class Oops(Exception):
    """What fails on purpose."""


def reactor() -> Any:
    """Twisted's reactor, which runs."""
    thread = start()
    assert thread.loop is not None, "another test has installed a reactor without asyncio"
    return thread.reactor


def in_reactor(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """
    Run a test's coroutine in the reactor thread, as the runner does.

    It leaves no task there, and nothing fails that nobody is told of.
    """

    async def body(*args: _P.args, **kwargs: _P.kwargs) -> None:
        loop, before = asyncio.get_running_loop(), asyncio.all_tasks()
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, report: reports.append(report))
        try:
            await test(*args, **kwargs)
            await turns(3)
        finally:
            loop.set_exception_handler(None)
        assert asyncio.all_tasks() <= before
        assert reports == []

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        reactor()
        Runner(lambda: SECONDS)(body(*args, **kwargs))

    return run


def later(value: Any = None, seconds: float = 0.0) -> Deferred[Any]:
    """A Deferred that fires with ``value``, or fails if it is an exception, in ``seconds``."""
    deferred: Deferred[Any] = Deferred(lambda _: call.cancel())
    fire = deferred.errback if isinstance(value, BaseException) else deferred.callback
    call = reactor().callLater(seconds, fire, value)
    return deferred


async def forwards(awaitable: Awaitable[Any]) -> Any:
    """What it gives, or what it raises."""
    return await awaitable


class OwnCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine of a class that is none of Python's own, as aiohttp's request is one."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._inner: Any = awaitable.__await__()

    def __await__(self) -> Any:
        return self._inner

    def send(self, value: Any) -> Any:
        """See `Coroutine`."""
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        """See `Coroutine`."""
        return self._inner.throw(*error)

    def close(self) -> None:
        """See `Coroutine`."""
        self._inner.close()


async def turns(number: int) -> None:
    """Let the loop turn ``number`` times."""
    for _ in range(number):
        await asyncio.sleep(0)


@contextmanager
def logged() -> Iterator[list[str]]:
    """The reprs of the exceptions that Twisted logs within; the garbage at the end is collected."""
    errors: list[str] = []  # an exception would keep what it should be collected with

    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure") or event.get("failure")  # the second by `log.err`
        if isinstance(failure, Failure) and event["log_level"] is LogLevel.critical:
            errors.append(repr(failure.value))

    gc.collect()
    globalLogPublisher.addObserver(observe)
    try:
        yield errors
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
