"""
How a result shows itself, as text and as HTML.

Any thread.  HTML has no script and nothing from outside; every name and value
is escaped, except a value's own HTML.
"""

from __future__ import annotations

import html
import traceback
from collections.abc import Sequence
from typing import Protocol

__all__ = ["Table", "as_html", "as_text", "duration"]


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
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _head(state: str, job: Shown | None) -> str:
    """Name, cell, state and time, in words."""
    words = []
    if job is not None:
        words += [job.name] if job.name else []
        words += [f"of cell {job.cell}:"]
    words += [state]
    if job is not None:
        words += [
            f"for {duration(job.seconds)}" if state == "pending" else f"in {duration(job.seconds)}"
        ]
    return " ".join(words)


def failure_line(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(traceback.format_exception_only(error)[0].split())


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
        text += f", {value!r}"
    elif state == "failed" and isinstance(value, BaseException):
        text += f", {failure_line(value)}"
    return text + ">"


def as_html(state: str, job: Shown | None, value: object) -> str:
    """A result in HTML; the arguments are those of `as_text`."""
    body = ""
    if state == "done":
        own = getattr(value, "_repr_html_", lambda: None)()
        body = own if isinstance(own, str) else f"<code>{html.escape(repr(value))}</code>"
    elif state == "failed" and isinstance(value, BaseException):
        body = f"<code>{html.escape(failure_line(value))}</code>"
    return f"<div><b>EventualResult</b> {html.escape(_head(state, job))} {body}</div>"


class Table:
    """
    Rows under headings, with a title, shown as text or HTML.

    Args:
        title: what the rows are.
        headings: of the columns; none at all for a list of names and values.
        rows: the cells, in text.
    """

    def __init__(
        self, title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        self.title = title
        self.headings = headings
        self.rows = [[str(cell) for cell in row] for row in rows]

    def __str__(self) -> str:
        rows = [list(self.headings), *self.rows] if self.headings else self.rows
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    def html(self) -> str:
        """The table in HTML."""
        heading = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.headings)
        rows = "".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in self.rows)
        title = html.escape(self.title)
        return f"<table><caption>{title}</caption><tr>{heading}</tr>{rows}</table>"


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
