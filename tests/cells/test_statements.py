"""A cell's statements, made ready for the reactor thread: `_cells.statements`."""

from __future__ import annotations

import ast
from types import CodeType
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from twisted_ipython._cells.statements import Statements, is_async, prepare, read
from twisted_ipython._waiting import calls as module_of_calls

transform = TransformerManager().transform_cell


def compiled(tree: ast.AST, name: str, mode: str) -> CodeType:
    """What IPython's compiler does in an awaiting cell."""
    code: CodeType = compile(tree, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # type: ignore[arg-type]
    return code


def made(source: str, shown: int = 0) -> Statements:
    """The statements of a cell, of which IPython displays the last ``shown``."""
    nodes = ast.parse(transform(source)).body
    at = len(nodes) - shown
    return prepare(nodes[:at], nodes[at:], read(nodes).language, "<cell>", compiled)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the statements send to the cell thread, in order; what comes back is its name."""
    calls: list[tuple[str, Any]] = []

    def sender(name: str) -> Any:
        async def send(argument: Any) -> str:
            calls.append((name, argument))
            return name

        return send

    for name in ("run_in_cell_thread", "show_in_cell_thread"):
        monkeypatch.setattr(module_of_calls, name, sender(name))
    return calls


def run(statements: Statements, names: dict[str, Any]) -> Any:
    """Run the statements, which await nothing that waits; give the last one's value."""
    value = None
    for code in statements.codes:
        value = eval(code, names)
        if is_async(code):
            with pytest.raises(StopIteration) as stop:
                value.send(None)
            value = stop.value.value
    return value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("await x", True),
        ("y = [await x for x in z]", True),
        ("[x async for x in z]", True),
        ("async for x in y: pass", True),
        ("async with x: pass", True),
        ("for x in y:\n    if x: await x", True),
        ("def f(a=1): pass\nawait x", True),
        ("def f(a=await x): pass", True),
        ("1 + 1", False),
        ("async def f(): await x", False),
        ("f = lambda: 5", False),
        ("[x for x in z]", False),
        ("def f(): return [await x]", False),
        ("return 5", False),
    ],
)
def test_awaits(source: str, expected: bool) -> None:
    """A cell awaits if an await stands at its own level, whatever its functions do."""
    assert read(ast.parse(source).body).awaits is expected


def test_value_of_last_expression() -> None:
    """The last expression, if it is displayed, gives the cell's value."""
    statements = made("x = 2\nx + 1", shown=1)
    assert statements.shows
    assert run(statements, {}) == 3


def test_no_value_of_last_statement() -> None:
    """A last statement that is no expression, or is not displayed, gives no value."""
    assert not made("x = 2", shown=1).shows
    assert not made("x = 2\nx").shows


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("%time x = 5", "get_ipython().run_line_magic('time', 'x = 5')"),
        ("!echo {x} 'y'", "get_ipython().system(\"echo {x} 'y'\")"),
        ("names = !ls", "get_ipython().getoutput('ls')"),
        ("%%capture\nx", "get_ipython().run_cell_magic('capture', '', 'x\\n')"),
        ("for i in [1]:\n  if True:\n    %time i", "get_ipython().run_line_magic('time', 'i')"),
    ],
)
def test_language_is_sent_home(source: str, expected: str, sent: list[Any]) -> None:
    """Magics and commands, in blocks too, are sent there as the very call that IPython wrote."""
    run(made(source), {})
    assert sent == [("run_in_cell_thread", expected)]


def test_output_of_command_is_bound(sent: list[Any]) -> None:
    """`x = !cmd` binds what the cell thread gives."""
    names: dict[str, Any] = {}
    run(made("x = !ls"), names)
    assert names["x"] == "run_in_cell_thread"


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    %time\nf",
        "f = lambda: get_ipython().system('ls')",
        "class C:\n    def m(self):\n        !ls",
        "f = [0 for _ in () if get_ipython().system('ls')]",
        "system('ls')",
        "get_ipython().run_cell('ls')",
    ],
)
def test_other_scopes_are_left_alone(source: str, sent: list[Any]) -> None:
    """What belongs to a function, or is no language of IPython's, stays as it is."""
    names = {"system": str, "get_ipython": lambda: type("Shell", (), {"run_cell": str})}
    run(made(source), names)
    assert sent == []


def test_arguments_that_await_stay() -> None:
    """A call whose argument awaits is evaluated where it stands."""
    [code] = made("get_ipython().system(await x)").codes
    assert "run_in_cell_thread" not in code.co_names


def test_displayed_in_blocks(sent: list[Any]) -> None:
    """What IPython displays before the last expression is shown in the cell thread, in order."""
    statements = made("1\nfor i in (2, 3):\n    i\n4", shown=3)
    assert run(statements, {}) == 4
    assert sent == [
        ("show_in_cell_thread", 1),
        ("show_in_cell_thread", 2),
        ("show_in_cell_thread", 3),
    ]


def test_rest_begins_where_it_does_not_compile() -> None:
    """Statements before one that does not compile are ready; the rest is left to IPython."""
    statements = made("x = 1\nreturn x\ny = 2")
    assert len(statements.codes) == 1
    assert [type(node) for node in statements.rest] == [ast.Return, ast.Assign]
    assert not statements.shows


def test_lines_are_kept() -> None:
    """Code that is sent to the cell thread keeps the cell's line and column, for tracebacks."""
    [code] = made("if True:\n    pass\n    x = !ls").codes
    assert max(line for *_, line in code.co_lines() if line) == 3
