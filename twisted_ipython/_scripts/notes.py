"""
Lines for what a cell meets because it is not quite a script of a process of its own.

Thread: any.
"""

from __future__ import annotations

import inspect
import logging
import re
from types import CodeType
from typing import Final

from IPython.core.interactiveshell import InteractiveShell
from twisted.python.reflect import safe_str

from twisted_ipython._base.tracebacks import chain, explain
from twisted_ipython._private.ipython import make_current
from twisted_ipython._reactor.lifecycle import started

ADD_GLOBAL: Final = (
    "{name} is a local name of the cell, which code that looks for it in the namespace does not"
    " find: add `--global` to `%%run_in_reactor`, and the cell's names are those of a script."
)
WAS_LOCAL: Final = (
    "{name} was a local name of cell {cell}, which ran with `%%run_in_reactor`: add `--global`"
    " there, and its names belong to the notebook"
)
# As Scrapy and Python say it.
_NAMED: Final = re.compile(r"(?:named|attribute|name) '(\w+)'")


def local_names(codes: tuple[CodeType, ...]) -> frozenset[str]:
    """The names that a background cell keeps to itself; none if it is run as a script."""
    return frozenset(
        name
        for code in codes
        if code.co_name == "<module>" and code.co_flags & inspect.CO_OPTIMIZED
        for name in code.co_varnames + code.co_cellvars
    )


class LocalNames:
    """The names that background cells kept to themselves; `ReactorThread.of` makes the one."""

    def __init__(self, _: object = None) -> None:
        # The cell that kept a name last: as many as the user has typed.
        self._cells: dict[str, int] = {}

    def note(self, codes: tuple[CodeType, ...], cell: int) -> None:
        """Note the names that the code of the cell with that number keeps to itself."""
        self._cells.update(dict.fromkeys(local_names(codes), cell))

    def explain(self, error: BaseException) -> None:
        """Add a line to a NameError for a name that a background cell kept.  Thread: any."""
        for one in chain(error):
            if isinstance(one, NameError) and not isinstance(one, UnboundLocalError):
                cell = self._cells.get(one.name or "")
                if cell is not None and not getattr(one, "__notes__", None):
                    one.add_note(WAS_LOCAL.format(name=one.name, cell=cell))


def explain_in(shell: InteractiveShell, error: BaseException) -> None:
    """Add to an exception what a shell's user has to know of it.  Thread: cell."""
    if explain(error):
        make_current(shell)
    thread = started()
    if thread is not None:
        thread.of(LocalNames).explain(error)


def explain_names(error: BaseException, names: frozenset[str]) -> None:
    """Add a line to an exception if it misses a name that the cell's function keeps to itself."""
    for one in chain(error):
        if not isinstance(one, (NameError, AttributeError)) or isinstance(one, UnboundLocalError):
            continue
        found = _NAMED.search(safe_str(one))
        if found is not None and found[1] in names:
            line = ADD_GLOBAL.format(name=found[1])
            if line not in getattr(one, "__notes__", ()):
                one.add_note(line)


class ShellNote(logging.Filter):
    """Adds its line to an exception of a spider's before it is logged; for Scrapy's logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if record.exc_info and record.exc_info[1] is not None:
            explain(record.exc_info[1])
        return True
