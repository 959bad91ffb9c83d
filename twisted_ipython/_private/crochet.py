"""
What crochet keeps private, as seen in crochet 2.1.1.

Thread: any.
"""

from __future__ import annotations

from typing import Any

import crochet
from crochet import _eventloop

# The class of what crochet gives Twisted's log to; without, no observer is known as crochet's.
THREAD_LOG_OBSERVER: type = getattr(_eventloop, "ThreadLogObserver", type("Nothing", (), {}))


def registry() -> Any | None:
    """Where crochet notes each EventualResult; without, they are not made awaitable."""
    return getattr(getattr(crochet, "_main", None), "_registry", None)


def results(registry: Any) -> list[Any]:
    """Those that it has noted; without, only later ones are made awaitable."""
    return list(getattr(registry, "_results", ()))


def watch(main: Any) -> None:
    """Have crochet's watchdog ask ``main`` whether the main thread lives; without, it asks that."""
    watchdog: Any = getattr(getattr(crochet, "_main", None), "_watchdog_thread", None)
    if hasattr(watchdog, "_canary"):
        watchdog._canary = main
