"""The statements of a cell become a function."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Generator
from typing import Any

import pytest
from cell_functions import (
    FILENAME,
    FIRST_LINE,
    KINDS_OF_NAMES,
    drive,
    each,
    function_of,
    later,
    place_of,
    refusal_of,
    room,
    value_of,
)

from twisted_ipython._cells.cell_function import Kind, rewrite
from twisted_ipython._cells.source import parse

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
    error = refusal_of(body, blocking="--thread")
    assert error.msg == (
        f"'{word}' in a cell with --thread: the thread pool runs blocking code, and only the"
        " reactor thread drives coroutines and Deferreds; leave out --thread"
    )
    assert place_of(error) == (FILENAME, line, text, offset)
    assert error.end_lineno is not None
    assert error.end_offset is not None


def test_processes_refuse_what_they_cannot_do() -> None:
    """In a process of its own nothing drives a coroutine, and its names end with it."""
    assert refusal_of("await x", blocking="--process").msg == (
        "'await' in a cell with --process: no reactor runs in its process; leave out --process, or"
        " give a coroutine of asyncio's to asyncio.run"
    )
    assert refusal_of("global x\nx = 1", blocking="--process").msg == (
        "'global' in a cell with --process: names that it binds end with its process; return the"
        " value"
    )


def test_threads_take_plain_cells() -> None:
    """A cell for a thread may define coroutines and generators, it may only not be one."""
    assert value_of("async def f(): await x\ndef g(): yield\n3", blocking="--thread") == 3


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
        rewrite(tree, filename=FILENAME, blocking="--thread")
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
