"""Cells that become functions, as `_cells.cell_function` and `_cells.source` make them."""

from __future__ import annotations
import __future__

import contextlib
import sys
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

from twisted_ipython._cells.cell_function import CellFunction, rewrite
from twisted_ipython._cells.source import ends_quietly, parse

__all__ = [
    "ANNOTATIONS",
    "FILENAME",
    "FIRST_LINE",
    "KINDS_OF_NAMES",
    "OF_ANNOTATIONS",
    "UNKNOWN",
    "drive",
    "each",
    "function_of",
    "later",
    "place_of",
    "refusal_of",
    "room",
    "value_of",
]

FILENAME = "Cell In[7]"
FIRST_LINE = "%%run_in_reactor job\n"
KINDS_OF_NAMES = [False, True]
ANNOTATIONS = __future__.annotations.compiler_flag
# What the annotations of a module's variables leave in it; from Python 3.14 on the latter two.
OF_ANNOTATIONS = ("__annotations__", "__annotate__", "__conditional_annotations__")
# Where Python points at a future that it does not know: at its name, from Python 3.14 on.
UNKNOWN = 24 if sys.version_info >= (3, 14) else 1


def function_of(body: str, **options: Any) -> CellFunction:
    """Make the function of a cell with this body below its `%%` line."""
    options.setdefault("quiet", ends_quietly(body))
    tree = parse(body, filename=FILENAME, first_line=2)
    return rewrite(tree, filename=FILENAME, source=FIRST_LINE + body, **options)


def value_of(body: str, namespace: dict[str, Any] | None = None, **options: Any) -> Any:
    """Run a cell that needs no driving."""
    return function_of(body, **options).bind({} if namespace is None else namespace)()


def drive(
    steps: Generator[Any, Any, Any], answer: Callable[[Any], Any] = lambda given: given
) -> Any:
    """Run a coroutine or a generator, answering each of its yields."""
    try:
        given = steps.send(None)
        while True:
            given = steps.send(answer(given))
    except StopIteration as stop:
        return stop.value


def refusal_of(body: str, **options: Any) -> SyntaxError:
    """Compile a cell that is refused."""
    with pytest.raises(SyntaxError) as caught:
        function_of(body, **options)
    return caught.value


def place_of(error: SyntaxError) -> tuple[str | None, int | None, str, int | None]:
    """Tell where a SyntaxError points, with its line stripped of the line's end."""
    return error.filename, error.lineno, (error.text or "").rstrip("\r\n"), error.offset


@types.coroutine
def later(value: Any) -> Generator[Any, Any, Any]:
    """Give a value only after the cell has been suspended once."""
    return (yield value)


async def each(*values: Any) -> AsyncIterator[Any]:
    """Give the values one after the other, suspending before each."""
    for value in values:
        yield await later(value)


@contextlib.asynccontextmanager
async def room(value: Any) -> AsyncIterator[Any]:
    """Enter and leave with a suspension."""
    yield await later(value)
    await later(None)
