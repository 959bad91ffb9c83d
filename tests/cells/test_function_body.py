"""The names and the futures of a cell that becomes a function, or a script."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import sched
import sys
import traceback
import types
from typing import Any

import pytest
from cell_functions import (
    ANNOTATIONS,
    FILENAME,
    KINDS_OF_NAMES,
    OF_ANNOTATIONS,
    UNKNOWN,
    drive,
    function_of,
    place_of,
    refusal_of,
    value_of,
)

from twisted_ipython._cells.cell_function import Kind

# Names


def test_names_are_local() -> None:
    """Nothing that a cell binds gets into the namespace."""
    namespace: dict[str, Any] = {"x": 1}
    body = "import math as m\nx = 2\ndef f(): return x\nclass C: pass\nfor n in 'ab': pass\nf(), n"
    assert value_of(body, namespace) == (2, "b")
    assert namespace == {"x": 1}


def test_namespace_is_read() -> None:
    """Names that the cell does not bind are the namespace's, as it is when the cell runs."""
    namespace: dict[str, Any] = {"x": 1}
    cell = function_of("def f(): return x\nx, f()").bind(namespace)
    namespace["x"] = 2
    assert cell() == (2, 2)


def test_read_before_assignment_is_an_error_as_in_a_function() -> None:
    """A name that the cell binds further down is not the namespace's."""
    with pytest.raises(UnboundLocalError, match="'x'"):
        value_of("print(x)\nx = 1", {"x": 1})


@pytest.mark.parametrize(
    "body",
    [
        "global x\nx = 5\ny = 6",
        "x = 5\ny = 6\ndef f():\n    global x",
        "def f():\n    global x\n    x = 5\ny = 6\nf()",
        "def f():\n    def g():\n        global x\n        x = 5\n    return g\ny = 6\nf()()",
        "class C:\n    global x\n    x = 5\ny = 6",
        "class C:\n    async def f(self):\n        global x\nx: int = 5\ny: int = 6",
        "def f():\n    global x\nx: int\ny: int = 6\nx = 5",
        "if 1:\n    def f():\n        global x\n    x: undefined = 5\ny = 6",
    ],
)
def test_names_declared_global_anywhere_are_the_namespaces(body: str) -> None:
    """A `global` in the cell or in anything nested makes the cell's name the namespace's."""
    namespace: dict[str, Any] = {}
    value_of(body, namespace)
    assert namespace == {"x": 5}


BINDING = [
    ("x = 1", {"x": 1}),
    ("x, (y, *z) = 1, (2, 3)", {"x": 1, "y": 2, "z": [3]}),
    ("x = 1\nx += 1", {"x": 2}),
    ("x: int = 1", {"x": 1}),
    ("for x in (1, 2): pass", {"x": 2}),
    ("with held() as x: pass", {"x": 3}),
    ("import math", {"math": math}),
    ("import os.path", {"os": os}),
    ("import os.path as x", {"x": os.path}),
    ("from math import pi", {"pi": math.pi}),
    ("from math import pi as x", {"x": math.pi}),
    ("def x(): return y\ny = 1\nx = x()", {"x": 1, "y": 1}),
    ("class x: y = 1\nx = x.y", {"x": 1}),
    ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    x = str(e)", {"x": "division by zero"}),
    ("match [1, 2, 3]:\n    case [x, *y]: pass", {"x": 1, "y": [2, 3]}),
    ("match {1: 2, 3: 4}:\n    case {1: 2 as x, **y}: pass", {"x": 2, "y": {3: 4}}),
    ("(x := 1)", {"x": 1}),
    ("y = [x := n for n in (1, 2)]", {"x": 2, "y": [1, 2]}),
    ("y = any((x := n) for n in (0, 2))", {"x": 2, "y": True}),
    ("x = 1\ny = 2\ndel x", {"y": 2}),
    ("if 1:\n    while 1:\n        x = 1\n        break", {"x": 1}),
    ("x = 1\ndef f():\n    y = x\n    z = [y for y in ()]\nf()\nf = None", {"x": 1, "f": None}),
    ("n = 5\nx = [n for n in (1, 2)]", {"n": 5, "x": [1, 2]}),
    ("from sched import *\nx = scheduler\ndel scheduler", {"x": sched.scheduler}),
]
if sys.version_info >= (3, 12):
    BINDING.append(("type x = int\nx = x.__name__", {"x": "x"}))


@pytest.mark.parametrize("ending", ["", "\nreturn 'value'", "\n'value'", "\nyield\nreturn 'value'"])
@pytest.mark.parametrize(("body", "names"), BINDING)
def test_top_level_names_can_be_the_namespaces(
    body: str, names: dict[str, Any], ending: str
) -> None:
    """Whatever binds a name at the top level binds the namespace's, also beside return or yield."""
    namespace: dict[str, Any] = {"held": lambda: contextlib.nullcontext(3)}
    function = function_of(body + ending, top_level_global=True)
    result = function.bind(namespace)()
    if function.kind is Kind.GENERATOR:
        result = drive(result)
    for name in ("held", "__builtins__", *OF_ANNOTATIONS):
        namespace.pop(name, None)
    assert namespace == names
    if ending:
        assert result == "value"


@pytest.mark.parametrize("ending", ["", "\nreturn"])
def test_nested_functions_see_the_namespaces_names(ending: str) -> None:
    """References forward and between functions go through the namespace, as in a script."""
    namespace: dict[str, Any] = {}
    body = "def f(): return g()\ndef g(): return x\nx = 1" + ending
    value_of(body, namespace, top_level_global=True)
    namespace["x"] = 2
    assert namespace["f"]() == 2


@pytest.mark.parametrize("ending", ["", "\nreturn"])
def test_classes_are_those_of_a_script(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of the namespace has a script's names, so that it can be pickled."""
    module = types.ModuleType("session")
    monkeypatch.setitem(sys.modules, "session", module)
    body = "class C:\n    def f(self): pass\ndef g(): pass" + ending
    value_of(body, vars(module), top_level_global=True)
    cls = vars(module)["C"]
    assert (cls.__module__, cls.__qualname__, cls.f.__qualname__) == ("session", "C", "C.f")
    assert vars(module)["g"].__qualname__ == "g"
    assert type(pickle.loads(pickle.dumps(cls()))) is cls


def test_script_has_the_namespace_as_its_locals() -> None:
    """`locals()` and `exec` at the top level work on the namespace, as in a script."""
    namespace: dict[str, Any] = {}
    body = "exec('x = 1')\nlocals()['y'] = x + 1\nlocals() is globals()"
    assert value_of(body, namespace, top_level_global=True) is True
    assert (namespace["x"], namespace["y"]) == (1, 2)


def test_script_keeps_annotations() -> None:
    """Variable annotations of a script are the namespace's."""
    namespace: dict[str, Any] = {"__name__": "session"}
    value_of("x: int = 1\ny: str", namespace, top_level_global=True)
    module = types.ModuleType("session")
    vars(module).update(namespace)
    assert module.__annotations__ == {"x": int, "y": str}


def test_star_import_in_a_function_fails_on_its_own_line() -> None:
    """A star import beside a return fails with the cell's name and line."""
    body = "x = 1\nif x:\n    from no_such_module import *\nreturn x"
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught:
        value_of(body, top_level_global=True)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == (FILENAME, 4, "<module>")


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
def test_binding_leaves_nothing_behind(names: bool) -> None:
    """Binding does not touch the namespace, and the function can be called again and again."""
    namespace: dict[str, Any] = {"calls": []}
    function = function_of("calls.append(1)\nlen(calls)", top_level_global=names)
    cell = function.bind(namespace)
    assert list(namespace) == ["calls"]
    assert [cell(), cell(), function.bind(namespace)()] == [1, 2, 3]
    assert "_" not in namespace


def test_local_cell_adds_nothing_at_all() -> None:
    """Running a cell whose names are local does not even add `__builtins__`."""
    namespace: dict[str, Any] = {}
    assert value_of("len('abc')", namespace) == 3
    assert namespace == {}


# Futures


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize("end", ["f.__annotations__", "return f.__annotations__"])
@pytest.mark.parametrize(
    "start",
    [
        "from __future__ import annotations",
        "'a docstring'\nfrom __future__ import annotations, division",
        "# a comment\n\nfrom __future__ import division\nfrom __future__ import annotations",
        "from __future__ import annotations; x = 1",
    ],
)
def test_futures_become_compile_flags(start: str, end: str, names: bool) -> None:
    """An import from __future__ changes how the cell is compiled, and binds with all names only."""
    namespace: dict[str, Any] = {}
    body = f"{start}\ndef f(x: no) -> no: pass\n{end}"
    assert value_of(body, namespace, top_level_global=names) == {"x": "no", "return": "no"}
    assert ("annotations" in namespace) is names


@pytest.mark.parametrize(
    "body", ["from __future__ import annotations", "'d'\nfrom __future__ import division"]
)
def test_futures_alone_give_no_value(body: str) -> None:
    """A cell of nothing but futures is an empty cell."""
    assert value_of(body) is None


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
def test_futures_of_earlier_cells_are_flags(names: bool) -> None:
    """Flags are handed to Python's compiler."""
    body = "def f(x: no): pass\nreturn f"
    f = value_of(body, flags=ANNOTATIONS, top_level_global=names)
    assert f.__annotations__ == {"x": "no"}


def test_futures_of_this_project_do_not_reach_the_cell() -> None:
    """Without flags annotations are evaluated, whatever our own modules import."""
    with pytest.raises(NameError, match="'no'"):
        value_of("def f(x: no): pass\nf.__annotations__")


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize("end", ["", "\nreturn"])
@pytest.mark.parametrize(
    ("body", "line", "offset", "message"),
    [
        (
            "x = 1\nfrom __future__ import annotations",
            3,
            1,
            "from __future__ imports must occur at the beginning of the file",
        ),
        ("\nfrom __future__ import nope", 3, UNKNOWN, "future feature nope is not defined"),
        ("from __future__ import braces", 2, UNKNOWN, "not a chance"),
    ],
)
def test_futures_are_refused_in_pythons_words(
    body: str, line: int, offset: int, message: str, end: str, names: bool
) -> None:
    """A future that is late or unknown is refused by Python itself."""
    error = refusal_of(body + end, top_level_global=names)
    assert error.msg == message
    assert place_of(error) == (FILENAME, line, body.split("\n")[line - 2], offset)
