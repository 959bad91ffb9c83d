"""
What threading tells of a thread that is made, and of one that begins: Python 3.11 to 3.15.

Where a name is gone, threads print where they do without the extension.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any


def made() -> Any:
    """The set that each thread is added to by its maker; None if there is none."""
    return getattr(threading, "_dangling", None)


def when_begun(thread: Any, prepare: Callable[[], None]) -> None:
    """Have a thread that was just made call ``prepare`` first, in each context that it has."""
    event: Any = getattr(thread, "_started", None)
    # Python 3.14 has `run` in a context of its own, unless the maker gave one.
    given = getattr(thread, "_context", None)

    def begun() -> None:
        with suppress(AttributeError):
            del event.set
        prepare()
        own: Context | None = getattr(thread, "_context", None)
        if own is not None and given is None:
            own.run(prepare)
        event.set()

    if event is not None:
        event.set = begun
