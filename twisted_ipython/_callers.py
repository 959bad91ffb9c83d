"""
Code that runs the reactor: known by its names, and `react` by its frames.

Any thread.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure

__all__ = ["failure_of_react", "main_of_react", "would_run"]

# What a script names that leaves it to a library to run the reactor: each of these sets.
_SIGNS: Final = (
    {react.__name__},
    {"CrawlerProcess", "start"},
    {"AsyncCrawlerProcess", "start"},
    {"scrapy.cmdline", "execute"},
    {"scrapy", "cmdline", "execute"},
    {"klein", "run"},
    {"autobahn.twisted.wamp", "run"},
)


def would_run(code: CodeType) -> bool:
    """
    Whether code runs the reactor if it gets so far, by the names that it uses.

    That is ``reactor.run``, and what the libraries call it that do the same.
    Other code may be wrapped around it (a function of the user's own module):
    that is not known here, so that what is no script is never taken for one.
    """
    names: set[str] = set()
    for one in _all(code):
        names |= {*one.co_names, *one.co_varnames, *one.co_freevars}
        named = (step.argval for step in dis.get_instructions(one))
        if ("reactor", "run") in pairwise(named):
            return True
    return any(signs <= names for signs in _SIGNS)


def _all(code: CodeType) -> Iterator[CodeType]:
    """The code, and that of the functions and classes in it."""
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _all(one)


def main_of_react(caller: FrameType) -> Deferred[Any] | None:
    """
    What `react` waits for.

    Args:
        caller: the frame that calls ``reactor.run``.

    Returns:
        None if that is not `react`.
    """
    return caller.f_locals["finished"] if caller.f_code is react.__code__ else None


def failure_of_react(caller: FrameType) -> Failure | None:
    """
    What made `react` stop the reactor; it only logs that, and exits with 1.

    Args:
        caller: the frame that calls ``reactor.stop``.
    """
    if caller.f_code not in react.__code__.co_consts:
        return None
    result = caller.f_locals.get("result")
    return result if isinstance(result, Failure) else None
