"""
Code that runs the reactor: known by its names, and library functions that do by their frames.

`react` and Scrapy's processes set things up before they call
``reactor.run()``.  Where that is going to be refused they are stopped at their
first call of the reactor, and what they have begun is cancelled.

Thread: any.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from types import CodeType, FrameType
from typing import Final

from twisted.internet.task import react

from twisted_ipython._base.work_id import current_work
from twisted_ipython._private.scrapy import SIGNS, sets_up_reactor
from twisted_ipython._private.twisted import awaited_by_react
from twisted_ipython._reactor.crawls import Crawls

# What a script names that leaves it to a library to run the reactor: each of these sets.
_RUNS: Final = (
    {react.__name__},
    *SIGNS,
    {"klein", "run"},
    {"autobahn.twisted.wamp", "run"},
)


def would_run(*codes: CodeType) -> bool:
    """
    Whether code runs the reactor if it gets so far, by the names that it uses.

    That is ``reactor.run``, and what the libraries call it that do the same.
    Other code may be wrapped around it (a function of the user's own module):
    that is not known here, so that what is no script is never taken for one.

    Thread: any.
    """
    names: set[str] = set()
    for one in _all(codes):
        names |= {*one.co_names, *one.co_varnames, *one.co_freevars}
        named = (step.argval for step in dis.get_instructions(one))
        if ("reactor", "run") in pairwise(named):
            return True
    return any(signs <= names for signs in _RUNS)


def _all(codes: Iterable[object]) -> Iterator[CodeType]:
    """The code among some objects, and that of the functions and classes in it."""
    for code in codes:
        if isinstance(code, CodeType):
            yield code
            yield from _all(code.co_consts)


def begun_by(caller: FrameType, crawls: Crawls) -> Callable[[], object] | None:
    """What cancels, in the reactor thread, what ``react`` or the like began; None if none calls."""
    main = awaited_by_react(caller)
    if main is not None:
        return lambda: main.addErrback(lambda _: None).cancel()
    if sets_up_reactor(caller):
        return partial(crawls.refuse, current_work())
    return None
