"""The public surface: names, what importing does, who imports whom."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from shells import run_python

import twisted_ipython

PACKAGE = Path(twisted_ipython.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
PUBLIC = [
    "in_main_thread",
    "load_ipython_extension",
    "progress",
    "runner",
    "unload_ipython_extension",
]

IMPORTS_NOTHING = """
import sys, threading
import twisted_ipython
assert not {"twisted", "IPython", "crochet", "asyncio"} & set(sys.modules)
for name in twisted_ipython.__all__:
    getattr(twisted_ipython, name)
from twisted_ipython import async_runner, config
assert "twisted.internet.reactor" not in sys.modules
assert "ipykernel" not in sys.modules
assert threading.enumerate() == [threading.main_thread()]
from twisted.internet import asyncioreactor
asyncioreactor.install()
"""


# Each takes milliseconds, and is needed by some sessions only: import it where it is used.
HEAVY = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "twisted_ipython")
heavy = {
    "sysconfig", "twisted.web", "twisted.trial", "twisted.application",
    "twisted.internet.endpoints",
    "unittest", "multiprocessing", "tqdm", "ipywidgets", "ipykernel", "treq", "scrapy", "klein",
    "twisted_ipython._background", "twisted_ipython._cell", "twisted_ipython._timing",
}
assert not heavy & (set(sys.modules) - before), heavy & (set(sys.modules) - before)
"""


def imported(module: str) -> set[str]:
    """The names that one module of the package imports, other than for its annotations."""
    names: set[str] = set()
    todo: list[ast.AST] = [ast.parse((PACKAGE / f"{module}.py").read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        todo += ast.iter_child_nodes(node)
    return names


def used(module: str) -> set[tuple[str, str]]:
    """What one module uses of others of the package: the module and the name."""
    nodes = list(ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())))
    imports = [
        (str(n.module), a.name) for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names
    ]
    whole = {name for package, name in imports if package == "twisted_ipython"}
    attributes = (
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )
    return {(other, name) for other, name in attributes if other in whole} | {
        (other.removeprefix("twisted_ipython."), name)
        for other, name in imports
        if other.startswith("twisted_ipython.")
    }


def offered(module: str) -> list[str]:
    """The `__all__` of one module of the package."""
    for node in ast.parse((PACKAGE / f"{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise AssertionError(f"{module} has no __all__")


def test_all() -> None:
    """`__all__` is what is public, and each name is there."""
    public = set(PUBLIC)
    assert public <= set(twisted_ipython.__all__)
    for name in twisted_ipython.__all__:
        assert getattr(twisted_ipython, name).__doc__


@pytest.mark.parametrize("module", MODULES)
def test_all_of_each_module(module: str) -> None:
    """What a module uses of another is in that one's `__all__`."""
    assert not {(other, name) for other, name in used(module) if name not in offered(other)}


def test_unknown_name() -> None:
    """A name that is not public is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        twisted_ipython.nothing  # noqa: B018


def test_importing_starts_nothing() -> None:
    """Importing the package and its names starts no thread and installs no reactor."""
    run = run_python("-c", IMPORTS_NOTHING)
    assert run.returncode == 0, run.stderr


def test_loading_imports_nothing_heavy() -> None:
    """Loading the extension imports none of the libraries that only some sessions need."""
    run = run_python("-c", HEAVY)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("module", MODULES)
def test_kernel_is_not_needed(module: str) -> None:
    """No module imports ipykernel."""
    assert not [name for name in imported(module) if name.partition(".")[0] == "ipykernel"]


def test_crochet_is_known_to_two() -> None:
    """Only crochet's module and that of its results import crochet."""
    knowing = [m for m in MODULES if any(n.partition(".")[0] == "crochet" for n in imported(m))]
    assert knowing == ["_crochet", "_eventual"]


def test_map_is_true() -> None:
    """The map names every private module, and a module imports only those below it."""
    order = re.findall(r"^    (_\w+) ", str(twisted_ipython.__doc__), re.MULTILINE)
    private = [module for module in MODULES if re.match(r"_[a-z]", module)]
    assert sorted(order) == private
    for upper, module in enumerate(order):
        used = {name.removeprefix("twisted_ipython.") for name in imported(module)}
        assert not used & set(order[: upper + 1]), f"{module} imports what stands above it"
