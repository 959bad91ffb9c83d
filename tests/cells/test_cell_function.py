"""The statements of a cell become a function."""

import __future__

import ast
import contextlib
import math
import os
import pickle
import sched
import subprocess
import sys
import textwrap
import traceback
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

from twisted_ipython._cells.cell_function import CellFunction, Kind, rewrite
from twisted_ipython._cells.source import ends_quietly, parse

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


# The value


def test_value_is_that_of_the_last_expression() -> None:
    """Without a return the last expression gives the value."""
    assert value_of("x = 2\nx * 21") == 42


def test_value_is_that_of_return() -> None:
    """A return ends the cell with its value, wherever it stands."""
    assert value_of("for n in range(9):\n    if n == 3:\n        return n\n'not reached'") == 3


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    "body",
    ["x = 1", "if True:\n    5", "", "\n\n", "# a comment", "  # one\n# two\n", "def f(): pass"],
)
def test_value_is_none_without_a_last_expression(body: str, names: bool) -> None:
    """A cell that ends in a statement, and one that holds nothing, has no value."""
    assert value_of(body, top_level_global=names) is None


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize("body", ["seen.append(1) or 5;", "seen.append(1) or 5 ; # done\n\n"])
def test_value_is_none_after_a_semicolon(body: str, names: bool) -> None:
    """A last expression with a semicolon runs, and gives no value."""
    seen: list[int] = []
    assert value_of(body, {"seen": seen}, top_level_global=names) is None
    assert seen == [1]


def test_return_gives_its_value_in_a_quiet_cell() -> None:
    """The semicolon silences expressions only: a return is explicit."""
    assert value_of("return 5;") == 5


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
def test_only_string_is_the_value(names: bool) -> None:
    """A string alone is an expression, no docstring."""
    namespace: dict[str, Any] = {}
    assert value_of('"""a string"""', namespace, top_level_global=names) == "a string"
    assert "__doc__" not in namespace


def test_first_string_is_no_docstring() -> None:
    """A string in front of other statements does not become the function's documentation."""
    cell = function_of("'a string'\n1").bind({})
    assert (cell.__doc__, cell()) == (None, 1)


# How the function is driven


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("await later(1)", 1),
        ("x = await later(1)\nx + 1", 2),
        ("x = await later(1)\nx + await later(2)", 3),
        ("total = 0\nasync for n in each(1, 2):\n    total += n\ntotal", 3),
        ("async with room(4) as n:\n    pass\nn", 4),
        ("[n async for n in each(1, 2)]", [1, 2]),
        ("{n async for n in each(1, 2)}", {1, 2}),
        ("{n: n async for n in each(1)}", {1: 1}),
        ("[await later(n) for n in (1, 2)]", [1, 2]),
        ("[[m async for m in each(n)] for n in (1, 2)]", [[1], [2]]),
        ("list(n for n in await later([3]))", [3]),
        ("def f(n=await later(5)): return n\nf()", 5),
        ("(lambda n=await later(5): n)()", 5),
        ("@(await later(lambda f: 6))\ndef f(): pass\nf", 6),
        ("class C(await later(int)): pass\nC(7)", 7),
        ("return await later(8)", 8),
        ("f'{await later(9)}'", "9"),
        ("match await later(3):\n    case n if await later(True): pass\nn", 3),
    ],
)
def test_await_makes_a_coroutine(body: str, value: Any, names: bool) -> None:
    """Whatever awaits at the cell's own level makes the cell a coroutine."""
    function = function_of(body, top_level_global=names)
    assert function.kind is Kind.COROUTINE
    assert drive(function.bind({"later": later, "each": each, "room": room})()) == value


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    "body",
    [
        "async def f():\n    await later(1)\n    async with a: pass\n    [x async for x in y]",
        "def f():\n    yield 1",
        "(await later(n) for n in (1, 2))",
        "(n async for n in each(1))",
        "([m async for m in each(n)] for n in (1, 2))",
        "f = lambda: (yield)",
        "class C:\n    async def f(self): await later(1)",
    ],
)
def test_inner_scopes_leave_the_cell_plain(body: str, names: bool) -> None:
    """What awaits or yields in a scope of its own does not concern the cell."""
    function = function_of(body, top_level_global=names)
    assert function.kind is Kind.PLAIN
    function.bind({"later": later, "each": each})()


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    "inner", ["f = lambda: (yield)", "def f():\n    yield", "f = (x for x in ())"]
)
def test_await_may_stand_beside_inner_generators(inner: str, names: bool) -> None:
    """A yield in a scope of its own is no reason to refuse an awaiting cell."""
    function = function_of(inner + "\nawait later(1)", top_level_global=names)
    assert function.kind is Kind.COROUTINE
    assert drive(function.bind({"later": later})()) == 1


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("x = yield 1\nx + 1", 11),
        ("yield 1", 10),
        ("(yield 1) + (yield 2)", 30),
        ("yield 1\nreturn 'r'", "r"),
        ("yield from inner()", "inner"),
        ("yield 1;", None),
        ("for n in (1, 2):\n    yield n", None),
        ("[n for n in (yield [1])]", [1] * 10),
    ],
)
def test_yield_makes_a_generator(body: str, value: Any, names: bool) -> None:
    """A yield makes the cell a generator, and its last expression is what it returns."""

    def inner() -> Generator[int, Any, str]:
        yield 5
        return "inner"

    function = function_of(body, top_level_global=names)
    assert function.kind is Kind.GENERATOR
    assert drive(function.bind({"inner": inner})(), lambda given: given * 10) == value


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    ("body", "line", "text", "offset", "second", "first"),
    [
        ("x = yield d\nawait e", 3, "await e", 1, "await", "yield"),
        ("await e\n\nx = 'é', (yield d)", 4, "x = 'é', (yield d)", 11, "yield", "await"),
        ("yield d\nasync with e:\n    pass", 3, "async with e:", 1, "async with", "yield"),
        ("async for x in e:\n yield from x", 3, " yield from x", 2, "yield from", "async for"),
        ("yield 1\n[x async for x in e]", 3, "[x async for x in e]", 14, "async for", "yield"),
    ],
)
def test_await_beside_yield_is_refused(
    body: str, line: int, text: str, offset: int, second: str, first: str, names: bool
) -> None:
    """A cell with both is refused where the second of them stands."""
    error = refusal_of(body, top_level_global=names)
    assert error.msg == (
        f"'{second}' in a cell that also has '{first}': a cell is driven as a coroutine or as"
        " inlineCallbacks drives a generator, not as both; write 'await' in place of every 'yield'"
    )
    assert place_of(error) == (FILENAME, line, text, offset)


@pytest.mark.parametrize(
    ("body", "line", "text", "offset", "word"),
    [
        ("x = 1\ny = await x", 3, "y = await x", 5, "await"),
        ("if 1:\n\tyield 1", 3, "\tyield 1", 2, "yield"),
        ("yield from ()", 2, "yield from ()", 1, "yield from"),
        ("async with x:\n    await y", 2, "async with x:", 1, "async with"),
        ("async for x in y: pass", 2, "async for x in y: pass", 1, "async for"),
        ("await x\nyield y", 2, "await x", 1, "await"),
    ],
)
def test_threads_refuse_what_the_reactor_drives(
    body: str, line: int, text: str, offset: int, word: str
) -> None:
    """In a thread there is nothing that drives a coroutine or a generator."""
    error = refusal_of(body, in_thread=True)
    assert error.msg == (
        f"'{word}' in a cell with --thread: the thread pool runs blocking code, and only the"
        " reactor thread drives coroutines and Deferreds; leave out --thread"
    )
    assert place_of(error) == (FILENAME, line, text, offset)
    assert error.end_lineno is not None
    assert error.end_offset is not None


def test_threads_take_plain_cells() -> None:
    """A cell for a thread may define coroutines and generators, it may only not be one."""
    assert value_of("async def f(): await x\ndef g(): yield\n3", in_thread=True) == 3


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


# What Python forbids


@pytest.mark.parametrize(
    ("body", "line", "offset", "message"),
    [
        ("x = 1\nfrom math import *", 3, 18, "import * only allowed at module level"),
        ("x = 1\nnonlocal y", 3, 1, "no binding for nonlocal 'y' found"),
        ("x = 1\nnonlocal x", 3, 1, "name 'x' is assigned to before nonlocal declaration"),
        ("def f():\n    global x\nnonlocal x", 4, 1, "no binding for nonlocal 'x' found"),
        ("def f():\n    x = 'é', await g()", 3, 14, "'await' outside async function"),
        ("class C:\n    return 1", 3, 5, "'return' outside function"),
        ("class C:\n    yield 1", 3, 5, "'yield' outside function"),
        ("class C:\n    await x", 3, 5, "'await' outside function"),
        ("if 1:\n    break", 3, 5, "'break' outside loop"),
        ("é = 1; continue", 2, 8, "'continue' not properly in loop"),
        ("x = 1\nglobal x", 3, 1, "name 'x' is assigned to before global declaration"),
        (
            "x = 1\ndef f():\n    global x\nglobal x",
            5,
            1,
            "name 'x' is assigned to before global declaration",
        ),
        ("print(x)\nglobal x", 3, 1, "name 'x' is used prior to global declaration"),
        ("global x\nx: int = 1", 3, 1, "annotated name 'x' can't be global"),
        ("def f(x):\n    global x", 3, 5, "name 'x' is parameter and global"),
        ("[(yield x) for x in y]", 2, 3, "'yield' inside list comprehension"),
    ],
)
def test_what_a_function_may_not_is_refused_in_pythons_words(
    body: str, line: int, offset: int, message: str
) -> None:
    """Python's compiler speaks, with the line and the column of the cell as typed."""
    error = refusal_of(body)
    assert error.msg == message
    assert place_of(error) == (FILENAME, line, body.split("\n")[line - 2], offset)


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("x = 1\nnonlocal y", 3, "nonlocal declaration not allowed at module level"),
        ("x = 1\nnonlocal y\nreturn", 3, "no binding for nonlocal 'y' found"),
        ("x = 1\nglobal x", 3, "name 'x' is assigned to before global declaration"),
        ("x = 1\nglobal x\nreturn", 3, "name 'x' is assigned to before global declaration"),
        ("x = 1\ndef f():\n    nonlocal x", 4, "no binding for nonlocal 'x' found"),
        ("x = 1\ndef f():\n    nonlocal x\nreturn", 4, "no binding for nonlocal 'x' found"),
        ("def f():\n    from math import *", 3, "import * only allowed at module level"),
        ("def f():\n    from math import *\nreturn", 3, "import * only allowed at module level"),
        ("class C:\n    from math import *\nreturn", 3, "import * only allowed at module level"),
        ("def f():\n    await x", 3, "'await' outside async function"),
        ("await y\ndef f():\n    await x", 4, "'await' outside async function"),
        ("1\nbreak", 3, "'break' outside loop"),
        ("break\n1", 2, "'break' outside loop"),
        ("2\nlambda: await x", 3, "'await' outside async function"),
    ],
)
def test_what_a_script_may_not_is_refused_in_pythons_words(
    body: str, line: int, message: str
) -> None:
    """With all names in the namespace Python says what it says of a script."""
    error = refusal_of(body, top_level_global=True)
    assert error.msg == message
    assert (error.filename, error.lineno) == (FILENAME, line)
    assert error.text == body.split("\n")[line - 2]


def test_refusal_without_source_has_no_text() -> None:
    """Who gives no source gets the place only, with the column as the compiler counts it."""
    tree = parse("x = 1\nawait x", filename=FILENAME, first_line=2)
    with pytest.raises(SyntaxError) as caught:
        rewrite(tree, filename=FILENAME, in_thread=True)
    assert (caught.value.lineno, caught.value.offset, caught.value.text) == (3, 1, None)


def test_columns_behind_the_end_of_the_line_are_cut() -> None:
    """Where IPython's own language was longer than what was typed, the caret stays on the line."""
    body = "get_ipython().run_line_magic('x', ''); break"
    tree = parse(body, filename=FILENAME, first_line=2)
    with pytest.raises(SyntaxError, match="'break' outside loop") as caught:
        rewrite(tree, filename=FILENAME, source=FIRST_LINE + "%x; break")
    assert (caught.value.text, caught.value.offset) == ("%x; break", 10)


def test_lines_are_python_s() -> None:
    """A form feed, or a Unicode line separator, ends no line; a carriage return does."""
    body = "x = '\u2028\x0c'\r\ny = 1\rif x:\n    break"
    error = refusal_of(body)
    assert (error.msg, error.lineno, error.text) == ("'break' outside loop", 5, "    break")


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


# To the letter


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("x = '''a\n  b\nc {x} $y %z\n\t!d'''\nx", "a\n  b\nc {x} $y %z\n\t!d"),
        ('x = """\n# no comment\n"""\nx', "\n# no comment\n"),
        ("x = f'''{1 +\n1}\n{{}}$'''\nx", "2\n{}$"),
        ("if 1:\n\tx = 1\n\tif x:\n\t\tx = 2\nx", 2),
        ("if 1:\n x = 1\nelse:\n        x = 2\nx", 1),
        ("def twice(f):\n    return lambda: f() * 2\n@twice\ndef f():\n    return 4\nf()", 8),
        ("class C:\n    x = 1\n    @property\n    def y(self):\n        return self.x\nC().y", 1),
        ("x = 1 + \\\n  2\nx", 3),
        ("x = [1,\n2,\n  3]\nx", [1, 2, 3]),
        ("größe = 'naïve ☃'\ngröße", "naïve ☃"),
        ("x = {}\nx['$'] = '{}'\nx", {"$": "{}"}),
        ("x = 1\n\x0c\ny = 2\nx + y", 3),
        ("x = 1\r\nif x:\r\n    x = 2\r\nx\r\n", 2),
        ("x = '''a\r\nb'''\r\nx", "a\nb"),
        ("x = 1; y = 2; x + y", 3),
        ("r'\\d' '\\n'", "\\d\n"),
        ("# first\nx = 1  # second\nx  # third", 1),
        ("# -*- coding: latin-1 -*-\n'é'", "é"),
        ("x = 0\nwhile True:\n    x += 1\n    if x > 3: break\nx", 4),
    ],
)
def test_cells_are_taken_to_the_letter(body: str, value: Any, names: bool) -> None:
    """What is written in the cell is what runs."""
    assert value_of(body, top_level_global=names) == value


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
def test_long_chains_are_compiled(names: bool) -> None:
    """A cell may be nested deeper than Python functions may call each other."""
    depth = sys.getrecursionlimit() * 9 // 10
    assert value_of(" + ".join(["1"] * depth), top_level_global=names) == depth


def test_class_attributes_are_not_the_cells_names() -> None:
    """A class body has a scope of its own, in a function as in a script."""
    assert value_of("x = 1\nclass C:\n    x = 2\n    def f(self): return x\nC().f()") == 1


# Tracebacks


def frames_of(body: str, **options: Any) -> list[tuple[str, int | None, str]]:
    """Run a cell that fails, and give the frames of its own file."""
    function = function_of(body, **options)
    try:
        result = function.bind({"later": later})()
        if function.kind is not Kind.PLAIN:
            drive(result)
    except ZeroDivisionError as error:
        frames = traceback.extract_tb(error.__traceback__)
        return [(f.filename, f.lineno, f.name) for f in frames if f.filename == FILENAME]
    raise AssertionError("The cell did not fail.")


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
@pytest.mark.parametrize("start", ["", "await later(1)", "yield 1", "if 0: return"])
def test_tracebacks_are_those_of_a_plain_cell(start: str, names: bool) -> None:
    """Frames have the cell's file and lines, `<module>`, and the plain names of its functions."""
    body = start + "\ndef f():\n    '''\n    '''\n    return 1 / 0\n\nf()"
    expected = [(FILENAME, 8, "<module>"), (FILENAME, 6, "f")]
    assert frames_of(body, top_level_global=names) == expected
    assert frames_of(body + "\n2", top_level_global=names) == expected


@pytest.mark.parametrize("names", KINDS_OF_NAMES)
def test_carets_point_at_the_expression(names: bool) -> None:
    """Columns survive, so Python underlines what failed."""
    function = function_of("x = 0\ny = 'e' + str(1/x)", top_level_global=names)
    with pytest.raises(ZeroDivisionError) as caught:
        function.bind({})()
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.lineno, frame.colno, frame.end_colno) == (3, 14, 17)


def test_functions_are_called_module() -> None:
    """Whoever reads a code object's or a function's name finds a plain cell's."""
    cell = function_of("def f(): pass\nreturn f").bind({"__name__": "session"})
    assert (cell.__name__, cell.__qualname__, cell.__module__) == (
        "<module>",
        "<module>",
        "session",
    )
    assert cell().__qualname__ == "<module>.<locals>.f"
    assert cell.__code__.co_firstlineno == 1


def test_no_frame_of_ours_unless_a_script_ends_in_an_expression() -> None:
    """The traceback begins with the cell, but for a script in two parts."""

    def files(body: str, **options: Any) -> list[str]:
        with pytest.raises(ZeroDivisionError) as caught:
            value_of(body, **options)
        return [f.filename for f in traceback.extract_tb(caught.value.__traceback__)][2:]

    assert files("1 / 0\n2") == [FILENAME]
    assert files("1 / 0", top_level_global=True) == [FILENAME]
    assert files("1 / 0\nx = 2", top_level_global=True) == [FILENAME]
    ours, theirs = files("1 / 0\n2", top_level_global=True)
    assert (ours.endswith("cell_function.py"), theirs) == (True, FILENAME)


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


# The room


def test_module_needs_the_standard_library_only() -> None:
    """Importing the module brings in neither IPython nor Twisted nor crochet."""
    program = textwrap.dedent(
        """
        import sys, twisted_ipython._cells.cell_function
        others = {"IPython", "twisted", "crochet"} & set(sys.modules)
        sys.exit(f"It imports {others}." if others else 0)
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_tree_is_compiled_as_transformed() -> None:
    """What a shell's transformer put into the tree is what runs."""

    class Doubling(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            assert isinstance(node.value, int)
            return ast.copy_location(ast.Constant(node.value * 2), node)

    tree = Doubling().visit(parse("x = 4\nx + 1", filename=FILENAME, first_line=2))
    assert rewrite(ast.fix_missing_locations(tree), filename=FILENAME).bind({})() == 10
