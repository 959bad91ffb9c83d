"""How results and tables show themselves, as text and as HTML."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import mktime, strptime
from typing import Any
from unittest.mock import MagicMock

import pytest

from twisted_ipython._base.formatting import (
    Report,
    Table,
    as_html,
    as_text,
    duration,
    failure_line,
    one_line,
)


@dataclass
class Job:
    """What a result shows of its job."""

    name: str | None = "download"
    cell: int = 3
    began: float = 0.0
    seconds: float = 2.5


class Broken:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no picture")


class Rich:
    """A value with HTML of its own."""

    def __init__(self, html: Any) -> None:
        self.html = html

    def __repr__(self) -> str:
        return "<a rich value>"

    def _repr_html_(self) -> Any:
        if isinstance(self.html, Exception):
            raise self.html
        return self.html


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (3780, "1 h 3 min"),
    ],
)
def test_durations_are_written_as_people_say_them(seconds: float, words: str) -> None:
    """A time never reads "1000 ms" or "60.0 s"."""
    assert duration(seconds) == words


def test_each_state_has_its_own_words() -> None:
    """The text has the state, the name, the cell, and since when or how long."""
    began = mktime(strptime("2024-01-02 03:04:05", "%Y-%m-%d %H:%M:%S"))
    shown = [
        as_text("pending", Job(began=began), None),
        as_text("done", Job(), 42),
        as_text("failed", Job(), KeyError("x")),
        as_text("cancelled", Job(), asyncio.CancelledError()),
        as_text("done", Job(name=None), 42),
        as_text("done", None, 42),
    ]
    assert shown == [
        "<EventualResult download of cell 3: pending since 03:04:05>",
        "<EventualResult download of cell 3: done in 2.5 s, 42>",
        "<EventualResult download of cell 3: failed after 2.5 s, KeyError: 'x'>",
        "<EventualResult download of cell 3: cancelled after 2.5 s>",
        "<EventualResult of cell 3: done in 2.5 s, 42>",
        "<EventualResult done, 42>",
    ]


def test_a_value_keeps_its_own_representation() -> None:
    """A representation of several lines stands on lines of its own, unchanged."""

    class Frame:
        def __repr__(self) -> str:
            return "   a\n0  1"

    assert as_text("done", None, Frame()) == "<EventualResult done,\n   a\n0  1>"


def test_a_huge_value_is_cut() -> None:
    """Of a million characters the first ten thousand are shown, and how many follow."""
    shown = as_text("done", None, "x" * 1_000_000)
    assert len(shown) < 10_100
    assert shown.endswith("xxx... (990002 more characters)>")


def test_a_value_whose_repr_fails_does_no_harm() -> None:
    """Its type and the failure stand for it."""
    text = as_text("done", None, Broken())
    assert text == "<EventualResult done, <Broken, whose repr() failed: ValueError: no picture>>"
    assert "ValueError: no picture" in as_html("done", None, Broken())


def test_a_failure_is_one_line() -> None:
    """White space is folded, the type is named with its module, and what is long is cut."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert failure_line(ValueError("one\n  two")) == "ValueError: one two"
    assert failure_line(ValueError()) == "ValueError"
    assert failure_line(asyncio.CancelledError()) == "asyncio.exceptions.CancelledError"
    assert failure_line(Mute()).endswith("Mute: <its str() failed>")
    assert failure_line(SyntaxError("bad", ("cell", 3, 1, "x x"))) == (
        "SyntaxError: bad (cell, line 3)"
    )
    assert len(failure_line(ValueError("x" * 1_000_000))) == 300


def test_html_escapes_names_and_values() -> None:
    """Nothing that the user typed becomes markup, except a value's own HTML."""
    shown = as_html("done", Job(name="<b>"), "<script>")
    assert "&lt;b&gt; of cell 3: done in 2.5 s" in shown
    assert "&#x27;&lt;script&gt;&#x27;" in shown
    assert "<script>" not in as_html("failed", None, ValueError("<script>"))


@pytest.mark.parametrize("html", ["<table>1</table>", ("<table>1</table>", {"isolated": True})])
def test_a_value_shows_its_own_html(html: Any) -> None:
    """What `_repr_html_` gives is shown as it is, with or without metadata beside it."""
    assert "<table>1</table>" in as_html("done", None, Rich(html))


@pytest.mark.parametrize("html", [None, 3, ValueError("no HTML")])
def test_a_value_without_usable_html_is_shown_as_text(html: Any) -> None:
    """A `_repr_html_` that fails, or gives no text, is as none."""
    assert "&lt;a rich value&gt;" in as_html("done", None, Rich(html))


def test_things_that_claim_to_have_html_are_shown_as_text() -> None:
    """A class, and an object that has every attribute, are shown by their repr."""
    assert "Rich" in as_html("done", None, Rich)
    assert "MagicMock" in as_html("done", None, MagicMock())


def test_a_table_has_columns() -> None:
    """Columns are as wide as their widest cell, and a cell is one line that is not long."""
    table = Table("Things", ("a", "name"), [(1, "x"), (200, "y\n  z"), (3, "w" * 500)])
    lines = str(table).splitlines()
    assert lines[:4] == ["Things", "  a    name", "  1    x", "  200  y z"]
    assert lines[4] == "  3    " + "w" * 97 + "..."


def test_a_table_of_names_and_values_has_no_headings() -> None:
    """Without headings the rows stand under the title, in HTML too."""
    table = Table("Things", (), [("a", 1), ("bc", 2)])
    assert str(table) == "Things\n  a   1\n  bc  2"
    assert "<th" not in table.html()


def test_an_empty_table_says_so() -> None:
    """A table without rows is one line."""
    table = Table("Jobs", ("job", "name"), [])
    assert str(table) == "Jobs: none"
    assert table.html() == "<div><b>Jobs</b>: none</div>"


def test_a_report_is_text_and_html() -> None:
    """A report shows its tables in their order, escaped."""
    report = Report(Table("One", ("<h>",), [("<v>",)]), Table("Two", (), [("x", "y")]))
    assert repr(report) == "One\n  <h>\n  <v>\nTwo\n  x  y"
    html = report._repr_html_()
    assert "&lt;h&gt;" in html
    assert "&lt;v&gt;" in html
    assert html.index("One") < html.index("Two")
    assert html.count("<table>") == 2


def test_one_line_of_much_text_is_quick() -> None:
    """Only the beginning of a text is looked at."""
    assert one_line("a b\n" * 1_000_000, 10) == "a b a b..."
