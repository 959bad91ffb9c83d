"""
What the package keeps in modules: little, each with its reason.

A name of a module is a global that may change if it is rebound by `global`, or holds a list, a
dict, a set or an object.  Constants are none (in capitals, and no code changes them), nor objects
that are made once and for all (`MADE_ONCE`, and those of a class of ours that keeps only what it
was given), nor what each thread or context has for itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import twisted_ipython

PACKAGE = Path(twisted_ipython.__file__).parent
SOURCES = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {path: ast.parse(source) for path, source in SOURCES.items()}
# How many there may be.
MOST = 12
PERMITTED = {
    "_base/borrowed_sigint.py:sigint",
    "_base/loans.py:loans",
    "_base/switch_interval.py:_interval",
    "_base/work_id.py:_counter",
    "_bridge/interruptible.py:stack",
    "_cells/plain_cell.py:_cells",
    "_extension.py:_loaded",
    "_failures/reports.py:reports",
    "_reactor/lifecycle.py:_process",
    "_waiting/calls.py:main_thread",
    "_waiting/sigint.py:_sigint",
    "config.py:config",
}
MADE_ONCE = {"ContextVar", "Logger", "ParamSpec", "TypeVar", "getLogger", "getattr"}
CHANGES = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"),
    *("popleft", "remove", "setdefault", "update"),
}
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CLASSES = {
    node.name: node
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def changed(tree: ast.Module) -> Iterator[str]:
    """The names that the code of a module rebinds, or whose objects it changes."""
    for node in ast.walk(tree):
        match node:
            case ast.Global():
                yield from node.names
            case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store()):
                yield ast.unparse(node.value)
            case ast.Attribute(attr=name) if name in CHANGES:
                yield ast.unparse(node.value)


def is_each_threads(name: str) -> bool:
    """Whether objects of a class are each thread's own."""
    return name in CLASSES and "threading.local" in map(ast.unparse, CLASSES[name].bases)


def keeps_nothing(name: str) -> bool:
    """Whether objects of a class keep only what they were given."""
    made = CLASSES.get(name)
    return made is not None and all(
        isinstance(node.value, ast.Name) and method.name == "__init__"
        for method in made.body
        if isinstance(method, ast.FunctionDef)
        for node in ast.walk(method)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign))
        and any(map(is_of_self, node.targets if isinstance(node, ast.Assign) else [node.target]))
    )


def is_of_self(target: ast.expr) -> bool:
    """Whether an assignment is to an attribute of the object."""
    return ast.unparse(target).startswith("self.")


def may_change(name: str, value: ast.expr | None, changes: set[str]) -> bool:
    """Whether a name of a module is such a global."""
    made = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    made = made.rpartition(".")[2].partition("[")[0]
    if name in changes or name.startswith("__") or name == name.upper():
        return name in changes and not is_each_threads(made)
    if made:
        return made not in MADE_ONCE and not is_each_threads(made) and not keeps_nothing(made)
    return isinstance(value, DISPLAYS)


def mutable_globals() -> dict[str, str]:
    """All in the package, with the line above."""
    found = {}
    everywhere = {name for tree in TREES.values() for name in changed(tree)}
    for path, tree in TREES.items():
        own, lines = set(changed(tree)), SOURCES[path].splitlines()
        for node in tree.body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                name = ast.unparse(target)
                if may_change(name, node.value, own if name.startswith("_") else everywhere):
                    found[f"{path.relative_to(PACKAGE)}:{name}"] = lines[node.lineno - 2]
    return found


def test_there_are_few() -> None:
    """Those that the package has are those permitted; each says above it why it is one."""
    found = mutable_globals()
    assert len(PERMITTED) <= MOST
    assert set(found) == PERMITTED
    assert not [name for name, above in found.items() if not above.startswith("# ")]


def test_others_are_found() -> None:
    """A list, a counter, an object that changes, and a name that is rebound are all found."""
    code = "a = []\nb = count(1)\nC = {}\nd = 0\ne = Loans()\nf = ContextVar('f')\nG: int = 1\n"
    tree = ast.parse(code + "def change():\n    global d\n    C[1] = 2\n")
    changes = set(changed(tree))
    values = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    found = [name for name, value in values.items() if may_change(name, value, changes)]
    assert found == ["a", "b", "C", "d", "e"]
