"""
The reactor that runs stays the one that is installed.

Many pages teach to delete the reactor's module so that another reactor is made
for the next script.  It would be one that never runs, beside the one that does.

Any thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import twisted.internet

__all__ = ["attach", "stay"]

NOT_NEEDED: Final = (
    "The module twisted.internet.reactor was put back: one reactor runs for the whole session, and"
    " a script runs again and again without deleting it, so leave that line out."
)
_MODULE: Final = "twisted.internet.reactor"
_running: Final[list[Any]] = []


def attach(reactor: Any) -> Callable[[], None]:
    """Have a reactor stay installed; returns what leaves it alone."""
    _running.append(reactor)
    return lambda: _running.remove(reactor)


def stay() -> None:
    """Put the reactor back if what has just run took it away, and say so."""
    if _running and sys.modules.get(_MODULE) is not _running[-1]:
        sys.modules[_MODULE] = _running[-1]
        twisted.internet.reactor = _running[-1]
        print(NOT_NEEDED)
