"""
The names of a namespace that are worth a look after each cell.

IPython adds two names for each cell, its text's and its value's (``_i5``, ``_5``),
and to touch those of some hundred cells takes longer than all else that is done
after a cell: 0.1 ms for 400 names that are not in the processor's cache.  So each of
them is given once.  A namespace keeps its names in the order in which they came:
what came after the latest of these is new.

Pure.  Any thread.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, Final

__all__ = ["Names"]

_is_history: Final = re.compile("_i?[0-9]+").fullmatch


class Names:
    """The names of one namespace."""

    def __init__(self) -> None:
        # The user's, and IPython's few that every cell binds anew.
        self._lasting: dict[str, None] = {}
        # The latest of those that are given once.
        self._mark = ""

    def bound(self, namespace: dict[str, Any]) -> list[tuple[str, Any]]:
        """
        What names hold after a cell, without the texts and values of those before it.

        Args:
            namespace: the shell's; other threads may bind and delete names meanwhile.

        Returns:
            names and what they hold, in the order in which they came; None for
            one that was deleted.
        """
        lasting = self._lasting
        new = [name for name in _since(namespace, self._mark) if name not in lasting]
        bound = [(name, namespace.get(name)) for name in [*lasting, *new]]
        for name in new:
            if _is_history(name):
                self._mark = name
            else:
                lasting[name] = None
        if len(lasting) > len(namespace):  # many were deleted: begin anew
            self._lasting, self._mark = {}, ""
        return bound


def _since(namespace: dict[str, Any], mark: str) -> list[str]:
    """The names that came after ``mark``; all of them if that is not there."""
    count, latest = 8, list[str]()
    while mark not in latest:
        # In one go, or it would fail when another thread binds a name.
        latest = [*islice(reversed(namespace), count)]
        if len(latest) < count:
            break
        count *= 8
    return latest[: latest.index(mark) if mark in latest else None][::-1]
