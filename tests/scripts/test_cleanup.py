"""What the session had is put back after a script: `_scripts.cleanup`, in memory."""

from __future__ import annotations

import logging
import warnings
from types import SimpleNamespace

from twisted.python.threadpool import ThreadPool

from twisted_ipython._scripts.cleanup import Kept


def test_put_back() -> None:
    """A resolver, the size of the pool and where warnings go; what did not change is not set."""
    installed: list[object] = []
    pool = ThreadPool(1, 2)
    reactor = SimpleNamespace(
        resolver="a", nameResolver="b", getThreadPool=lambda: pool, installNameResolver=None
    )
    kept = Kept(reactor)
    kept.put_back()  # calls no method
    show = warnings.showwarning
    logging.captureWarnings(True)
    try:
        pool.adjustPoolsize(3, 30)
        reactor.resolver, reactor.nameResolver = "c", "d"
        reactor.installNameResolver = installed.append
        kept.put_back()
        assert warnings.showwarning is show
    finally:
        logging.captureWarnings(False)
    assert installed == ["b"]
    assert reactor.resolver == "a"
    assert (pool.min, pool.max) == (1, 2)
