"""
Library functions that run the reactor for a script, known by their frames.

`task.react` and Scrapy's processes set things up before they call
``reactor.run()``.  Where that is going to be refused they are stopped at their
first call of the reactor, and what they have begun is cancelled.  Seen in
Twisted 24.10 to 26.10 and Scrapy 2.13 to 2.19.

Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet import task
from twisted.python.failure import Failure

__all__ = ["begun_by", "failure_of_react"]


def begun_by(caller: FrameType) -> Callable[[], object] | None:
    """
    What cancels the work of a function that is about to run the reactor.

    Args:
        caller: the frame that calls a method of the reactor.

    Returns:
        what cancels it, in the reactor thread; None if it is no such function.
    """
    if caller.f_code is task.react.__code__:
        finished = caller.f_locals["finished"]
        return lambda: finished.addErrback(lambda _: None).cancel()
    module = caller.f_globals.get("__name__")
    if module == "scrapy.crawler" and caller.f_code.co_name == "_setup_reactor":
        process: Any = caller.f_locals["self"]
        return lambda: process._stop_dfd().addErrback(lambda _: None)
    return None


def failure_of_react(caller: FrameType) -> Failure | None:
    """
    What made `task.react` stop the reactor; it only logs that, and exits with 1.

    Args:
        caller: the frame that calls ``reactor.stop``.
    """
    if caller.f_code not in task.react.__code__.co_consts:
        return None
    result = caller.f_locals.get("result")
    return result if isinstance(result, Failure) else None
