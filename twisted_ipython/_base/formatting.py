"""
How a result shows itself, as text and as HTML.

Any thread.  HTML has no script and nothing from outside; every name and value
is escaped, except a value's own HTML.
"""

from __future__ import annotations

import html
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from time import localtime, strftime
from typing import Any, Final, Protocol

from IPython.core.getipython import get_ipython
from IPython.lib.pretty import pretty
from IPython.utils.dir2 import get_real_method

# How many characters are shown of a value, of a failure, and of a cell of a table.
_VALUE: Final = 10_000
_FAILURE: Final = 300
_CELL: Final = 100

_KIND: Final = "EventualResult"
_CARD: Final = (
    "display:inline-block;box-sizing:border-box;max-width:100%;padding:4px 10px;color:inherit;"
    "border:1px solid var(--jp-border-color1,currentColor);border-radius:3px;"
)
_EDGES: Final = {
    "pending": "border-left:4px solid var(--jp-info-color1,#1e88e5)",
    "done": "border-left:4px solid var(--jp-success-color1,#43a047)",
    "failed": "border-left:4px solid var(--jp-error-color1,#e53935)",
    "cancelled": "border-left:4px solid var(--jp-warn-color1,#fb8c00)",
}
# In the order in which one is preferred.
_IMAGES: Final = ("image/svg+xml", "image/png", "image/jpeg")


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


def message_of(error: BaseException) -> str:
    """What an exception says; never raises."""
    try:
        return str(error)
    except Exception:
        return "<its str() failed>"


def failure_line(error: BaseException) -> str:
    """An exception in one line, which is not long; never raises."""
    kind, message = type(error), message_of(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return one_line(f"{module}{kind.__qualname__}{message and ': '}{message}", _FAILURE)


def one_line(text: str, longest: int) -> str:
    """The beginning of a text, with a space for each run of white space."""
    line = " ".join(text[: 10 * longest].split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def line_break() -> str:
    """What ends the line that a terminal's cell has begun, if IPython (9) notes that it has."""
    shell: Any = get_ipython()
    # While IPython prompts, what is printed is drawn above the prompt.
    if not hasattr(shell, "simple_prompt") or sys.stdout is not sys.__stdout__:
        return ""
    outputs = getattr(shell.history_manager, "outputs", {}).get(shell.displayhook.prompt_count)
    texts = outputs[-1].bundle.get("stream") if outputs else None
    return "\n" if texts and texts[-1][-1:] not in "\r\n" else ""


def say(line: str) -> None:
    """Print a line of our own to stderr, in the current context's cell.  Thread: any."""
    if before := line_break():
        print(before, end="", flush=True)
    print(line, file=sys.stderr)


def own_text(value: object) -> str:
    """How IPython shows a value as text, the beginning of it; never raises."""
    try:
        text = pretty(value)
    except Exception as error:
        return f"<{type(value).__qualname__}, whose repr() failed: {failure_line(error)}>"
    return cut(text)


def cut(text: str) -> str:
    """The beginning of a text that may be very long."""
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
    return own if isinstance(own, str) else _preformatted(own_text(value))


def _preformatted(text: str) -> str:
    return f'<pre style="margin:0;white-space:pre-wrap">{html.escape(text)}</pre>'


def as_text(state: str, job: Shown | None, value: object, kind: str = _KIND) -> str:
    """
    A result in text.

    Args:
        state: ``pending``, ``done``, ``failed`` or ``cancelled``.
        job: the job that it is of, if any.
        value: its value when done, the exception when failed.
        kind: what the result is.

    Thread: any.
    """
    own = own_text(value) if state == "done" else _failure_in(state, value)
    return with_text(state, job, own, kind)


def as_html(state: str, job: Shown | None, value: object, kind: str = _KIND) -> str:
    """A result in HTML; the arguments are those of `as_text`."""
    failure = _failure_in(state, value)
    own = _own_html(value) if state == "done" else failure and _preformatted(failure)
    return with_html(state, job, own, kind)


def _failure_in(state: str, value: object) -> str:
    return failure_line(value) if state == "failed" and isinstance(value, BaseException) else ""


def with_text(state: str, job: Shown | None, own: str, kind: str = _KIND) -> str:
    """A result in text, given its value in text, or an empty one."""
    # The columns of a table of several lines stay in line.
    before = "" if not own else ",\n" if "\n" in own else ", "
    return f"<{kind} {_head(state, job)}{before}{own}>"


def with_html(state: str, job: Shown | None, own: str, kind: str = _KIND) -> str:
    """A result in HTML, given its value in HTML, or an empty one; the colours are JupyterLab's."""
    head = f"<b>{html.escape(kind)}</b> {html.escape(_head(state, job))}"
    body = f'<div style="margin-top:4px;overflow-x:auto">{own}</div>' if own else ""
    return f'<div style="{_CARD}{_EDGES[state]}">{head}{body}</div>'


def bundle_as_html(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """A value in HTML, given what IPython's formatters made of it; nothing is loaded for it."""
    if isinstance(own := data.get("text/html"), str):
        return own
    for kind in _IMAGES:
        if kind in data:
            return _image(kind, data[kind], metadata.get(kind))
    return _preformatted(cut(str(data.get("text/plain", ""))))


def _image(kind: str, content: str | bytes, metadata: object) -> str:
    """An image inside of the HTML; an SVG can run no script there."""
    if isinstance(content, str) and kind == "image/svg+xml":
        content = content.encode()
    coded = b64encode(content).decode() if isinstance(content, bytes) else "".join(content.split())
    sizes = metadata if isinstance(metadata, Mapping) else {}
    size = "".join(
        f' {name}="{int(sizes[name])}"'
        for name in ("width", "height")
        if isinstance(sizes.get(name), (int, float))
    )
    return f'<img src="data:{kind};base64,{html.escape(coded)}"{size}>'


class Table:
    """Rows under headings, if there are any, with a title, shown as text or HTML."""

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
        rows = "".join(_row("td", row) for row in self.rows)
        headings = _row("th", self.headings) if self.headings else ""
        caption = f'<caption style="text-align:left"><b>{title}</b></caption>'
        return f"<table>{caption}{headings}{rows}</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    inner = (f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{''.join(inner)}</tr>"


class Report:
    """Tables and lines of text, one below the other."""

    def __init__(self, *tables: Table | str) -> None:
        self.tables = tables

    def __repr__(self) -> str:
        return "\n".join(map(str, self.tables))

    def _repr_html_(self) -> str:
        return "".join(
            one.html() if isinstance(one, Table) else f"<div>{html.escape(one)}</div>"
            for one in self.tables
        )
