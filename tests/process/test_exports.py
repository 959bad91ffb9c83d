"""The public surface: names, what importing does, who imports whom, and the map of the package."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest
from shells import run_python

import twisted_ipython
from twisted_ipython import _map

PACKAGE = Path(twisted_ipython.__file__).parent
# By their names below the package; a folder is a docstring, not a module.
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
MAP = str(_map.__doc__)
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# How many modules a folder may have.
MOST_MODULES = 12
MOST_LINES = 300
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
    "twisted_ipython._magics.run_in_reactor", "twisted_ipython._cells.cell_function",
    "twisted_ipython._magics.timing", "twisted_ipython._process.job", "cloudpickle",
    "twisted_ipython._magics.completion", "twisted_ipython._display.kernel_messages",
    "twisted_ipython._scripts.greenlet_script", "greenlet",
    "IPython.core.magics.execution", "IPython.core.debugger",
}
from importlib.util import find_spec
assert all(find_spec(name) for name in heavy if name.startswith("twisted_ipython."))
assert not heavy & (set(sys.modules) - before), heavy & (set(sys.modules) - before)
# Loading collects no garbage; afterwards the collector is as it was.
import gc
assert gc.isenabled() and not gc.get_freeze_count()
"""


def folder_of(module: str) -> str:
    """The folder that a module is in; nothing for those at the top."""
    return module.rpartition(".")[0]


@cache
def tree_of(module: str) -> ast.Module:
    """One module of the package, parsed."""
    return ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())


@cache
def imported(module: str) -> set[str]:
    """The names that one module of the package imports, for its annotations too."""
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imported_of_ours(module: str) -> set[str]:
    """The modules of the package that one of them imports, for its annotations too."""
    names = {name for name in imported(module) if name.startswith("twisted_ipython.")}
    return {name.removeprefix("twisted_ipython.") for name in names} & set(MODULES)


def used(module: str) -> set[tuple[str, str]]:
    """What one module uses of others of the package: the module and the name."""
    nodes = list(ast.walk(tree_of(module)))
    imports = [
        (str(n.module).removeprefix("twisted_ipython").removeprefix("."), a.name, a.asname)
        for n in nodes
        if isinstance(n, ast.ImportFrom) and str(n.module).partition(".")[0] == "twisted_ipython"
        for a in n.names
    ]
    whole = {alias or name: f"{of}.{name}".removeprefix(".") for of, name, alias in imports}
    whole = {name: other for name, other in whole.items() if other in MODULES}
    attributes = (
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )
    return {(whole[of], name) for of, name in attributes if of in whole} | {
        (of, name) for of, name, _ in imports if of in MODULES
    }


def offers(module: str, name: str) -> bool:
    """Whether one module of the package lets others use a name: by `__all__`, or by its looks."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return name in ast.literal_eval(node.value)
    return not name.startswith("_")


def about(folder: str) -> str:
    """The docstring of a folder."""
    return str(import_module(f"twisted_ipython.{folder}").__doc__)


def allowed(folder: str) -> list[str]:
    """The folders that a folder may import, as its docstring says."""
    line = re.search(r"^May import: (.*?)\.$", about(folder), re.MULTILINE | re.DOTALL)
    assert line is not None, f"{folder} does not say what it may import"
    return re.findall(r"`(\w+)`", line[1])


def ways() -> list[list[str]]:
    """The ways of a cell that the map shows, as lists of ``folder.module:name``."""
    return [
        re.findall(r"^    (\S+:\S+)$", way, re.MULTILINE) for way in MAP.split("The way of")[1:]
    ]


def test_all() -> None:
    """`__all__` is what is public, and each name is there."""
    public = set(PUBLIC)
    assert public <= set(twisted_ipython.__all__)
    for name in twisted_ipython.__all__:
        assert getattr(twisted_ipython, name).__doc__


@pytest.mark.parametrize("module", MODULES)
def test_names_of_each_module(module: str) -> None:
    """What a module uses of another is not private to that one."""
    assert not {(other, name) for other, name in used(module) if not offers(other, name)}


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
    """No module imports ipykernel, but for that which installs a kernel, where it does so."""
    assert module == "_kernels.kernelspec" or not [
        name for name in imported(module) if name.partition(".")[0] == "ipykernel"
    ]


def test_crochet_is_known_to_three() -> None:
    """Only crochet's module, that of its results and that of its private names import crochet."""
    knowing = [m for m in MODULES if any(n.partition(".")[0] == "crochet" for n in imported(m))]
    assert knowing == ["_private.crochet", "_reactor.crochet_adapter", "_reactor.eventual_result"]


def test_map_names_each_folder() -> None:
    """The map has a line for each folder, and below a folder stand those that it may import."""
    top, *order = re.findall(r"^    (_\w+)  ", MAP, re.MULTILINE)
    assert top in MODULES
    assert sorted(order) == FOLDERS
    for place, folder in enumerate(order):
        assert set(allowed(folder)) <= set(order[place + 1 :]), folder


def test_modules_are_short() -> None:
    """None is longer than a reader can keep in mind."""
    lines = {path: path.read_text().count("\n") for path in PACKAGE.rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder(folder: str) -> None:
    """A folder is a docstring and a few modules; what it calls its entry points is there."""
    (only,) = ast.parse((PACKAGE / folder / "__init__.py").read_text()).body
    assert isinstance(only, ast.Expr)
    assert len([module for module in MODULES if folder_of(module) == folder]) <= MOST_MODULES
    entries = re.findall(r"`(\w+:[\w.]+)`", about(folder))
    assert entries
    for entry in entries:
        module, _, name = entry.partition(":")
        attrgetter(name)(import_module(f"twisted_ipython.{folder}.{module}"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    """A module imports modules of its own folder and of those that its folder may import."""
    folder = folder_of(module)
    if folder:
        assert {folder_of(other) for other in imported_of_ours(module)} <= {
            folder,
            *allowed(folder),
        }


def test_of_the_package() -> None:
    """`twisted_ipython?` is a short manual of what there is, and `dir` gives its names."""
    manual = str(twisted_ipython.__doc__)
    assert len(manual.splitlines()) < 20
    for name in ("%autoawait", "%%run_in_reactor", "%reactor", "%twisted_config", *PUBLIC[:1]):
        assert name in manual
    assert dir(twisted_ipython) == sorted(twisted_ipython.__all__)


def test_no_circle() -> None:
    """No module imports itself by way of others, not for types either."""
    TopologicalSorter({module: imported_of_ours(module) for module in MODULES}).prepare()


def test_ways_are_there() -> None:
    """Each step of each way of a cell can be imported, and its module knows that of another."""
    assert len(ways()) == 3
    for way in ways():
        assert way
        modules = {step.partition(":")[0] for step in way}
        knows = {(one, other) for one in modules for other in imported_of_ours(one) & modules}
        assert {module for pair in knows for module in pair} == modules
        for step in way:
            module, _, name = step.partition(":")
            attrgetter(name)(import_module(f"twisted_ipython.{module}"))
