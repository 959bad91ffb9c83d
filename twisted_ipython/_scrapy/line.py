"""One line that changes in place.  Thread: any."""

from __future__ import annotations

import html
import sys

from IPython.core.getipython import get_ipython

from twisted_ipython._display.updates import Bundle, DisplayUpdate, can_update
from twisted_ipython._waiting.calls import waiting_cell


class Line:
    """One line of the cell that makes it, changed in place where the front end can do that."""

    def __init__(self) -> None:
        shell = get_ipython()
        updates = shell is not None and can_update(shell)
        self._display = DisplayUpdate(shell) if shell is not None and updates else None
        waits = waiting_cell(any_cell=False) is not None
        self._in_place = waits and sys.stdout.isatty()
        self._shown = ""

    def draw(self, text: str, *, last: bool = False) -> None:
        """Show ``text`` in place of what was shown.  Thread: any."""
        if self._display is not None:
            if text != self._shown:
                data = {"text/plain": text, "text/html": f"<code>{html.escape(text)}</code>"}
                put = self._display.replace if self._shown else self._display.show
                put(Bundle(data, {}))
        elif self._in_place:
            # What the spider prints stands behind it, and the line comes again below.
            print(f"\r\x1b[K{text}", end="\n" if last else " ", flush=True)
        elif last:
            print(text, flush=True)
        self._shown = text
