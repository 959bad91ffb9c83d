"""Tests that hold a clock against a promise want a machine that does nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from functools import cache
from pathlib import Path

# A clock, what waits for a promised time, and a share of the time.
_CLOCK = r"monotonic|perf_counter|interrupted|leaving|reactor profile"


@cache
def clocks_of(file: Path) -> frozenset[str]:
    """The definitions of a file of tests that read a clock, or use one of the file's that does."""
    text = file.read_text()
    sources = {
        name: ast.get_source_segment(text, node) or ""
        for node in ast.parse(text).body
        for name in _defined_by(node)
    }
    found: set[str] = set()
    while True:
        words = re.compile(rf"\b({'|'.join([_CLOCK, *found])})\b")
        more = {name for name, source in sources.items() if words.search(source)} - found
        if not more:
            return frozenset(found)
        found |= more


def _defined_by(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)][:1]
    return []


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """
    Wait for a test's turn beside those of the other workers of a run.

    Args:
        folder: which all workers share.
        alone: whether no other test may run meanwhile.
    """
    with (folder / "next").open("w") as following, (folder / "now").open("w") as now:
        # In this order, those that run beside others cannot keep out one that wants to be alone.
        flock(following, LOCK_EX)
        flock(now, LOCK_EX if alone else LOCK_SH)
        flock(following, LOCK_UN)
        yield
