"""
What scripts change for the whole process, and the session wants back.

Scrapy's processes set a resolver and the size of the thread pool, have
warnings logged, and may make ``sys.stdout`` a log.  What the session had is
noted when a script begins while no other lives, and put back when one ends.

In the reactor thread.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Kept"]


class Kept:
    """
    What the session had.

    Args:
        reactor: whose resolver and pool it is.
    """

    def __init__(self, reactor: Any) -> None:
        pool = reactor.getThreadPool()
        self._reactor = reactor
        self._resolvers = reactor.resolver, reactor.nameResolver
        self._sizes = pool.min, pool.max
        self._captured = _captures_warnings()
        self._stdout = sys.stdout

    def put_back(self) -> None:
        """Put back what has changed."""
        reactor = self._reactor
        resolver, name_resolver = self._resolvers
        if reactor.nameResolver is not name_resolver:
            reactor.installNameResolver(name_resolver)
            reactor.resolver = resolver  # that made another one
        pool = reactor.getThreadPool()
        if (pool.min, pool.max) != self._sizes:
            pool.adjustPoolsize(*self._sizes)
        if _captures_warnings() and not self._captured:
            logging.captureWarnings(False)
        if type(sys.stdout).__module__ == "scrapy.utils.log":
            sys.stdout = self._stdout


def _captures_warnings() -> bool:
    """Whether Python's logging gets the warnings."""
    show: Callable[..., object] = warnings.showwarning
    return getattr(show, "__module__", None) == logging.__name__
