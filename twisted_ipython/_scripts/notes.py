"""
Lines for what a cell meets because it is not quite a script of a process of its own.

Any thread.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

from twisted.python.reflect import safe_str

from twisted_ipython._base.tracebacks import chain, explain

__all__ = ["ShellNote", "explain_names", "names_of_cell"]

ADD_GLOBAL: Final = (
    "{name} is a local name of the cell, which code that looks for it in the namespace does not"
    " find: add `--global` to `%%run_in_reactor`, and the cell's names are those of a script."
)
# As Scrapy and Python say it.
_NAMED: Final = re.compile(r"(?:named|attribute|name) '(\w+)'")


def names_of_cell(function: Callable[[], Any]) -> frozenset[str]:
    """The names that a cell's function keeps to itself; none if the cell is run as a script."""
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None or code.co_name != "<module>" or not code.co_flags & inspect.CO_OPTIMIZED:
        return frozenset()
    return frozenset(code.co_varnames + code.co_cellvars)


def explain_names(error: BaseException, names: frozenset[str]) -> None:
    """Add a line to an exception if it misses a name that the cell's function keeps to itself."""
    for one in chain(error):
        found = (
            _NAMED.search(safe_str(one)) if isinstance(one, (NameError, AttributeError)) else None
        )
        if found is not None and found[1] in names and not isinstance(one, UnboundLocalError):
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
