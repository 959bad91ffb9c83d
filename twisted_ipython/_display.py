"""
How a result shows itself, as text and as HTML.

Any thread.  HTML has no script and nothing from outside; every name and value
is escaped, except a value's own HTML.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from time import localtime, strftime
from typing import Final, Protocol

from IPython.lib.pretty import pretty
from IPython.utils.dir2 import get_real_method

__all__ = ["Report", "Table", "as_html", "as_text", "duration", "failure_line", "one_line"]

# How many characters are shown of a value, of a failure, and of a cell of a table.
_VALUE: Final = 10_000
_FAILURE: Final = 300
_CELL: Final = 100


class Shown(Protocol):
    """What is read of a job."""

    name: str | None
    cell: int
    began: float

    @property
    def seconds(self) -> float:
        """How long it took, or has been running."""


def duration(seconds: float) -> str:
    """A time as people say it: ``12 ms``, ``3.4 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _head(state: str, job: Shown | None) -> str:
    """Name, cell, state and time, in words."""
    if job is None:
        return state
    who = f"{job.name} of cell {job.cell}" if job.name else f"of cell {job.cell}"
    if state == "pending":
        return f"{who}: pending since {strftime('%H:%M:%S', localtime(job.began))}"
    return f"{who}: {state} {'in' if state == 'done' else 'after'} {duration(job.seconds)}"


def failure_line(error: BaseException) -> str:
    """An exception in one line, which is not long; never raises."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
    except Exception:
        message = "<its str() failed>"
    return one_line(f"{name}: {message}" if message else name, _FAILURE)


def one_line(text: str, longest: int) -> str:
    """The beginning of a text, with a space for each run of white space."""
    line = " ".join(text[: 10 * longest].split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _own_text(value: object) -> str:
    """How IPython shows a value as text, the beginning of it; never raises."""
    try:
        text = pretty(value)
    except Exception as error:
        return f"<{type(value).__qualname__}, whose repr() failed: {failure_line(error)}>"
    more = len(text) - _VALUE
    return text if more <= 0 else f"{text[:_VALUE]}... ({more} more characters)"


def _own_html(value: object) -> str:
    """A value's own HTML, else its text; never raises."""
    method = get_real_method(value, "_repr_html_")
    try:
        own = None if method is None else method()
    except Exception:
        own = None
    if isinstance(own, tuple) and own:  # with metadata
        own = own[0]
    return own if isinstance(own, str) else _preformatted(_own_text(value))


def _preformatted(text: str) -> str:
    return f'<pre style="margin:0;white-space:pre-wrap">{html.escape(text)}</pre>'


def as_text(state: str, job: Shown | None, value: object) -> str:
    """
    A result in text.

    Args:
        state: ``pending``, ``done``, ``failed`` or ``cancelled``.
        job: the job that it is of, if any.
        value: its value when done, the exception when failed.
    """
    text = f"<EventualResult {_head(state, job)}"
    if state == "done":
        own = _own_text(value)
        # The columns of a table of several lines stay in line.
        text += f",\n{own}" if "\n" in own else f", {own}"
    elif state == "failed" and isinstance(value, BaseException):
        text += f", {failure_line(value)}"
    return text + ">"


def as_html(state: str, job: Shown | None, value: object) -> str:
    """A result in HTML; the arguments are those of `as_text`."""
    body = ""
    if state == "done":
        body = _own_html(value)
    elif state == "failed" and isinstance(value, BaseException):
        body = _preformatted(failure_line(value))
    return f"<div><b>EventualResult</b> {html.escape(_head(state, job))}{body}</div>"


class Table:
    """
    Rows under headings, with a title, shown as text or HTML.

    Args:
        title: what the rows are.
        headings: of the columns; none at all for a list of names and values.
        rows: the cells; each is shown in one line, which is not long.
    """

    def __init__(
        self, title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        self.title = title
        self.headings = headings
        self.rows = [[one_line(str(cell), _CELL) for cell in row] for row in rows]

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.title}: none"
        rows = [list(self.headings), *self.rows] if self.headings else self.rows
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    def html(self) -> str:
        """The table in HTML."""
        title = html.escape(self.title)
        if not self.rows:
            return f"<div><b>{title}</b>: none</div>"
        headings = "".join(
            f'<th style="text-align:left">{html.escape(h)}</th>' for h in self.headings
        )
        rows = "".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in self.rows)
        caption = f'<caption style="text-align:left"><b>{title}</b></caption>'
        return f"<table>{caption}{f'<tr>{headings}</tr>' if headings else ''}{rows}</table>"


def _td(cell: str) -> str:
    return f'<td style="text-align:left">{html.escape(cell)}</td>'


class Report:
    """Tables, one below the other."""

    def __init__(self, *tables: Table) -> None:
        self.tables = tables

    def __repr__(self) -> str:
        return "\n".join(map(str, self.tables))

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables)
