"""
A coroutine that a cell bound to a name and nobody awaits: the warning stands in that cell.

Python warns when the coroutine is collected, in whatever cell that happens, with the line
that ran then.  To have Python note where each one was made would cost every call of a
coroutine function.  So only those that a statement left in a name, not begun, are held here
too; one that nothing else holds any more is warned of at once, in the context of its cell.

What can still go wrong.  One in a list, or in an attribute, is warned of as ever.

Thread: any.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from inspect import CORO_CREATED, getcoroutinestate
from sys import getrefcount
from types import CodeType, CoroutineType
from typing import Any, Final, NamedTuple

from twisted_ipython._failures.running_cell import RunningCell

NEVER_AWAITED: Final = "coroutine '{name}' was never awaited"


class _Made(NamedTuple):
    """A coroutine that has not begun, and where it was made."""

    coroutine: CoroutineType[Any, Any, Any]
    context: Context
    file: str
    line: int

    def warn(self) -> None:
        """Say what Python would say when it is collected."""
        text = NEVER_AWAITED.format(name=self.coroutine.__qualname__)
        # Where the user's filters make it an error, Python says so itself a little later.
        with suppress(RuntimeWarning):
            warnings.warn_explicit(text, RuntimeWarning, self.file, self.line)
            self.coroutine.close()


# How often something is counted that only a `_Made` holds.
_ALONE: Final = ((object(),),)


class Unawaited:
    """The coroutines that the cells of one shell left in names."""

    def __init__(self) -> None:
        self._made: dict[int, _Made] = {}

    def note(self, bound: Iterable[tuple[str, object]], code: CodeType, cell: RunningCell) -> None:
        """After a statement: note what the names that it uses hold, and `check`.  Thread: any."""
        for name, held in bound:
            if type(held) is CoroutineType and id(held) not in self._made and _is_new(held):
                line = cell.line_of(name)
                self._made[id(held)] = _Made(held, copy_context(), code.co_filename, line)
        self.check()

    def check(self) -> None:
        """Warn of what nobody holds any more.  Thread: any."""
        if not self._made:
            return
        alone = getrefcount(_ALONE[0][0])
        for key, made in [*self._made.items()]:
            if not _is_new(made.coroutine):
                self._made.pop(key, None)  # another thread may be at it
            elif getrefcount(made[0]) <= alone and self._made.pop(key, None) is not None:
                made.context.copy().run(made.warn)


def _is_new(coroutine: CoroutineType[Any, Any, Any]) -> bool:
    return getcoroutinestate(coroutine) == CORO_CREATED
