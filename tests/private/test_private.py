"""Private names of other libraries stand in `_private`, and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import twisted_ipython

PACKAGE = Path(twisted_ipython.__file__).parent
FILES = sorted(
    str(path.relative_to(PACKAGE))
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "_private"
)
# A private name: IPython documents those that end with an underscore.
PRIVATE = re.compile(r"_[A-Za-z]\w*[A-Za-z0-9]")
# Private by their looks, and used all over the package.
ALLOWED = {
    "_getframe": "Python documents it",
    "_current_frames": "Python documents it",
    "_exit": "Python documents it",
    "_replace": "Python documents it, of named tuples",
    "_fields": "Python documents it, of syntax trees",
    "_asyncio_future_blocking": "asyncio's mark of a future: each await reads and sets it",
    "_stopped": "of the reactor, which each `callLater` reads",
    "_uninstall_scrapy_root_handler": "it is Scrapy's",
}
# What reads locals of a frame that it was given, and whose those are.
READ_LOCALS = {
    "_failures/origin.py": "`DRIVER_LOCALS`",
    "_failures/handlers.py": "logging's `self`",
    "_magics/reactor_tables.py": "our timer's, and a handle's `self`",
    "_waiting/calls.py": "the user's",
}
# Whose second argument is a name.
ASKS = {"getattr", "hasattr", "setattr", "delattr"}


def own_names(tree: ast.Module) -> set[str]:
    """What a module defines, or sets on its own objects."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
            names.add(node.attr)
    return names


def used_names(tree: ast.Module) -> Iterator[str]:
    """The names of attributes, of modules and of what is imported, in a module."""
    strings: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("twisted_ip"):
            yield from [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ASKS:
            strings.append(node.args[1])
        elif isinstance(node, ast.Dict):
            strings += node.keys
        elif isinstance(node, ast.Subscript):
            strings.append(node.slice)
    for one in strings:
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def foreign(source: str) -> set[str]:
    """The private names of others that a module uses."""
    tree = ast.parse(source)
    found = {name for name in used_names(tree) if PRIVATE.fullmatch(name)}
    return found - own_names(tree) - {n for n in found if n.startswith("_twisted_ipython")}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from asyncio.tasks import _enter_task", {"_enter_task"}),
        ("import crochet._shutdown", {"_shutdown"}),
        ("reactor._stopped", {"_stopped"}),
        ("getattr(kernel, '_input_request', None)", {"_input_request"}),
        ("override(reactor, {'_doReadOrWrite': serve})", {"_doReadOrWrite"}),
        ("methods['_check_thread'] = None", {"_check_thread"}),
        ("from twisted_ipython._private.asyncio import owns\nself._own = 1\nother._own", set()),
        ("error._render_traceback_()\nnode.__dict__", set()),
    ],
)
def test_what_is_found(source: str, found: set[str]) -> None:
    """Private names are found however they are used; those of the module itself are not."""
    assert foreign(source) == found


@pytest.mark.parametrize("file", FILES)
def test_private_names_stand_in_one_place(file: str) -> None:
    """No module but those of `_private` uses a private name of another library."""
    text = (PACKAGE / file).read_text()
    names = foreign(text) - ALLOWED.keys()
    assert not names, f"{file} uses {names}, private names: they belong into _private/"
    if "f_locals" in text:
        assert file in READ_LOCALS, f"{file} reads the locals of a frame: see _private/twisted.py"
