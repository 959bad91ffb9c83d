"""
What each docstring says: the thread, and what is given.

The public functions, classes and methods of the package (their names begin with no underscore, nor
does that of their class) whose docstring has more than one line end it with the thread, and name
what they take under Args.  A class names there what makes it, or what it keeps of that under
Attributes, and has no thread.  One line is enough for what its name and types say; a magic's
docstring is what its user reads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import twisted_ipython

PACKAGE = Path(twisted_ipython.__file__).parent
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def documented(body: list[ast.stmt], outer: str = "") -> Iterator[tuple[str, Documented]]:
    """What is public in a module or a class, with its name."""
    for node in body:
        magic = any("magic" in ast.unparse(one) for one in getattr(node, "decorator_list", ()))
        if isinstance(node, Documented) and not node.name.startswith("_") and not magic:
            yield outer + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, f"{node.name}.")


def takes(node: Documented) -> list[str]:
    """What has to be given, but `self`."""
    if isinstance(node, ast.ClassDef):
        made = [one for one in node.body if getattr(one, "name", "") == "__init__"]
        return [name for one in made if isinstance(one, ast.FunctionDef) for name in takes(one)]
    given = node.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def lacks(node: Documented) -> str:
    """What a docstring lacks."""
    text = ast.get_docstring(node) or ""
    if "\n" not in text:
        return ""
    sections = set(re.findall(r"^(\w+):$", text, re.MULTILINE))
    allowed = {"Args", "Attributes"} if isinstance(node, ast.ClassDef) else {"Args"}
    if takes(node) and not sections & allowed:
        return "Args"
    if isinstance(node, ast.ClassDef) or re.search(r"Thread: [^\n]+\.$", text):
        return ""
    return "Thread"


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module: str) -> None:
    """Each says in which thread it may be called, and what it takes."""
    tree = ast.parse((PACKAGE / module).read_text())
    found = {name: lacks(node) for name, node in documented(tree.body)}
    missing = {name: what for name, what in found.items() if what}
    assert not missing


def test_what_is_lacking_is_found() -> None:
    """A docstring of several lines without a thread, or without what is taken."""
    code = 'def a(b):\n    """\n    What.\n\n    {}\n    """'
    for text, what in (
        ("Thread: any.", "Args"),
        ("Args:\n        b: it.", "Thread"),
        ("Args:\n        b: it.\n\n    Thread: any.", ""),
    ):
        [node] = ast.parse(code.replace("{}", text)).body
        assert isinstance(node, ast.FunctionDef)
        assert lacks(node) == what
