"""
crochet, which runs the reactor in a thread of its own.

Only this module and `_reactor.eventual_result` know it.  Its registry of results is changed
on the instance, and put back when the last shell unloads the extension.  What its watchdog
asks stays, as that thread does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import crochet

from twisted_ipython._base.instance import override
from twisted_ipython._private import crochet as private
from twisted_ipython._reactor.eventual_result import EventualResult, adopt
from twisted_ipython._reactor.interrupt import FORKED, STOPPED


class _MainThread:
    """The main thread, for crochet's watchdog, which stops the reactor when that has ended."""

    def is_alive(self) -> bool:
        """False, once it has ended: the watchdog asks every 0.1 s, and would be late by that."""
        threading.main_thread().join()
        return False


def set_up() -> None:
    """Have crochet start the reactor, if nothing has, in threads that are daemons.  Thread: any."""
    done: Future[None] = Future()
    private.watch(_MainThread())

    def call() -> None:
        try:
            crochet.setup()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    # The threads that a daemon starts are daemons.
    threading.Thread(target=call, name="twisted_ipython start", daemon=True).start()
    done.result()


def reactor_thread() -> threading.Thread | None:
    """crochet's reactor thread, if crochet started one that is alive."""
    for thread in threading.enumerate():
        if thread.name == "CrochetReactor":
            return thread
    return None


def call_in_reactor(function: Callable[[], Any]) -> EventualResult:
    """What will come of ``function``, called in the reactor thread.  Thread: any."""
    try:
        return adopt(_call(function))
    except crochet.ReactorStopped:
        raise RuntimeError(STOPPED) from None


@crochet.run_in_reactor
def _call(function: Callable[[], Any]) -> Any:
    """Decorated once: crochet's decorator takes longer than the call."""
    return function()


def adopt_results() -> Callable[[], None]:
    """Have crochet's results be awaitable; returns what undoes it."""
    registry = private.registry()
    if registry is None:
        return lambda: None
    register = registry.register

    process = os.getpid()

    def register_awaitable(result: Any) -> None:
        if os.getpid() != process:
            raise RuntimeError(FORKED)
        register(adopt(result))

    for result in private.results(registry):
        adopt(result)
    return override(registry, {"register": register_awaitable})
