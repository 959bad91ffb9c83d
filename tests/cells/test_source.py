"""The text of a cell: parsed, and quoted in errors."""

from __future__ import annotations
import __future__

import pytest
from cell_functions import FILENAME, KINDS_OF_NAMES, place_of, refusal_of, value_of

from twisted_ipython._cells.cell_function import rewrite
from twisted_ipython._cells.source import ends_quietly, parse

# Parsing


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("x = 1\nx = = 2", 3, "invalid syntax"),
        ("x = 1\n\nx = (1,\n", 4, "'(' was never closed"),
        ("if x:\ny = 1", 3, "expected an indented block after 'if' statement on line 2"),
        ("[1,\n2)", 3, "closing parenthesis ')' does not match opening parenthesis '[' on line 2"),
        ("x = 1\n  y = 2", 3, "unexpected indent"),
        ("  x = 1\n  y = = 2", 3, "invalid syntax"),
        ("  x = 1\n    y = 2", 3, "unexpected indent"),
        ("  x = 1\ny = 2", 2, "unexpected indent"),
        ("  x = 1\nelse:\n    y = 2", 2, "unexpected indent"),
        ("x = '''a\nb", 2, "unterminated triple-quoted string literal (detected at line 3)"),
    ],
)
def test_parse_errors_have_the_cells_lines(body: str, line: int, message: str) -> None:
    """Errors of the parser carry the cell's line in their place and in their words."""
    error = refusal_of(body)
    assert error.msg == message
    assert place_of(error)[:3] == (FILENAME, line, body.split("\n")[line - 2])


def test_parse_counts_from_the_first_line() -> None:
    """Nodes carry the lines of the cell, wherever the body begins in it."""
    for first_line in (1, 2, 5):
        tree = parse("x = 1\n\ny = 2", filename=FILENAME, first_line=first_line)
        assert [node.lineno for node in tree.body] == [first_line, first_line + 2]
        assert tree.body[1].end_lineno == first_line + 2


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    "body",
    [
        "    x = 1\n    if x:\n        x = 2\n    x",
        "\tx = 1\n\tif x:\n\t\tx = 2\n\tx",
        "\n# at the margin\n    # deeper\n\n  x = 2\n# at the margin\n  x",
        "  x = '''a\nb\n    c'''.count('\\n')\n\n  x",
        "\x0c  x = 2\n\x0c  x",
        "  x = 2\r\n  x\r\n",
    ],
)
def test_indented_bodies_are_taken_as_they_are(body: str, names: bool) -> None:
    """A body that is indented as a whole runs, and its lines keep their numbers."""
    assert value_of(body, top_level_global=names) == 2
    last = parse(body, filename=FILENAME, first_line=2).body[-1]
    assert last.lineno == 1 + len(body.rstrip().split("\n"))


def test_strings_of_indented_bodies_stay_intact() -> None:
    """Nothing is taken out of a string, whatever its continuation lines begin with."""
    assert value_of("  x = '''a\n  b\nc\n\td'''\n  x") == "a\n  b\nc\n\td"


def test_form_feed_sets_the_indentation_back() -> None:
    """Blanks in front of a form feed are no indentation, to Python and to us."""
    assert value_of("  \x0cx = 1\nx") == 1


def test_indented_body_on_the_first_line_is_refused() -> None:
    """Without a line above it an indented body is Python's own IndentationError."""
    with pytest.raises(IndentationError, match="unexpected indent"):
        parse("  x = 1", filename=FILENAME, first_line=1)


def test_futures_of_earlier_cells_reach_the_parser() -> None:
    """Flags are handed to Python's parser as well."""
    flag = __future__.barry_as_FLUFL.compiler_flag
    tree = parse("1 <> 2", filename=FILENAME, first_line=2, flags=flag)
    assert rewrite(tree, filename=FILENAME, flags=flag).bind({})() is True


# The semicolon


@pytest.mark.parametrize(
    ("body", "quiet"),
    [
        ("x;", True),
        ("x ; \n\n", True),
        ("x;  # a comment\n# another\n\n", True),
        ("  x;\n", True),
        ("x; y", False),
        ("x", False),
        ("';'", False),
        ("x  # ;", False),
        ("'''\n;'''", False),
        ("", False),
        ("# ;", False),
        ("x;\r\n", True),
        ("x = (1;", False),
        ("  x\n y;", False),
        ("'''x;", False),
    ],
)
def test_semicolon_at_the_end_is_found(body: str, quiet: bool) -> None:
    """Only a semicolon that ends the code counts, and broken code has none."""
    assert ends_quietly(body) is quiet
