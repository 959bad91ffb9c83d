"""
Failures that are counted and not shown: those like one before, and too many at once.

They are alike that have one work, kind and place.

Thread: reactor.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import Final

from twisted_ipython._base.formatting import failure_line
from twisted_ipython._base.frames import is_user_frame
from twisted_ipython._base.work_id import current_work

# Seconds until a line says how many more were like one that was shown; where that line cannot
# be replaced, each time twice as many, up to the second number.
_FOLD: Final = 0.5
_LONGEST: Final = 60.0
# What differs in the line above failures that are alike: addresses and numbers.
_VARIES: Final = re.compile(r"<[^>]*>|\S*[\d/]\S*")

SAME: Final = "The same{of_cell}, {times} more; the last: {line}"
MORE: Final = "{count} more failures{of_cell} within a second were not shown; the last: {line}"

# Shows a line in the current context's cell; gives what replaces it, if that can be done.
Tell = Callable[[str], Callable[[str], None] | None]


def of_cell() -> str:
    """The words for the cell that the current context belongs to, if it is known.  Thread: any."""
    number = current_work().cell
    return f" of cell {number}" if number else ""


def user_lines(error: BaseException) -> list[object]:
    """The lines of the user's code that an exception went through.  Thread: any."""
    return [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_user_frame(frame)
    ]


def sort_of(error: BaseException, head: str) -> object:
    """What failures that are alike have in common.  Thread: any."""
    where = user_lines(error) or [failure_line(error)]
    return current_work(), type(error), _VARIES.sub("", head), *where


class Alike:
    """Failures like one that was shown, or too many to be shown; ``text`` is a line on them."""

    def __init__(self, tell: Tell, text: str = SAME) -> None:
        self.count = 0
        # The last of them, until a line says so, in so many seconds.
        self.last: BaseException | None = None
        self.seconds = _FOLD
        self._tell = tell
        self._text = text
        self._replace: Callable[[str], None] | None = None

    def say(self) -> None:
        """Say how many there were, in the context of the last one.  Thread: reactor."""
        error, self.last = self.last, None
        assert error is not None
        times = "once" if self.count == 1 else f"{self.count} times"
        words = {"times": times, "count": self.count, "of_cell": of_cell()}
        line = self._text.format(line=failure_line(error), **words)
        if self._replace is None:
            self._replace = self._tell(line)
        else:
            self._replace(line)
        if self._replace is None:
            self.seconds = min(2 * self.seconds, _LONGEST)
