"""
A coroutine on a reactor without a loop: it awaits Deferreds, and keeps them.

Thread: reactor, unless a docstring says otherwise.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._private.twisted import mark_handled

_T = TypeVar("_T")


@types.coroutine
def deferreds_only(
    coro: Coroutine[Any, Any, _T], refusal: str, thread: int, call: Callable[..., Any]
) -> Generator[Deferred[Any], Any, _T]:
    """
    A coroutine for Twisted's driver that keeps what it awaits; for reactors without a loop.

    Args:
        coro: the user's coroutine.
        refusal: what a RuntimeError says to a coroutine that awaits an asyncio object.
        thread: the reactor thread's identifier.
        call: ``reactor.callFromThread``.

    Thread: reactor.
    """
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        try:
            awaited = step(value)
        except StopIteration as stop:
            return cast(_T, stop.value)
        step, value = coro.send, None
        try:
            if not isinstance(awaited, Deferred):
                raise RuntimeError(refusal)
            yield _relay(awaited, thread, call)
        except BaseException as error:
            step, value = coro.throw, error


def _relay(deferred: Deferred[Any], thread: int, call: Callable[..., Any]) -> Deferred[Any]:
    """A Deferred that fires in the reactor thread as ``deferred``, which keeps its result, does."""
    relay: Deferred[Any] = Deferred(lambda _: deferred.cancel())

    def fire(result: Any) -> None:
        if not relay.called:
            relay.callback(result)

    def fired(result: Any) -> Any:
        stays = mark_handled(deferred, result) if isinstance(result, Failure) else result
        if get_ident() == thread:
            fire(result)
        else:
            call(fire, result)
        return stays

    deferred.addBoth(fired)
    return relay
