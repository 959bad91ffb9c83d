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
