"""Magics that await become awaits of the cell."""

import ast
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from twisted_ipython import runner
from twisted_ipython._cells.await_magics import AddAwaits, AwaitedMagic, code_awaits, run
from twisted_ipython._reactor.lifecycle import start


class Slow:
    """A magic that awaits if its line says so, and notes where it was asked and run."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.ran: list[int] = []

    def awaits(self, line: str, cell: str | None) -> bool:
        """Whether the line, or the cell, says "await"."""
        self.asked.append(threading.get_ident())
        return "await" in line + (cell or "")

    async def run(self, line: str, cell: str | None) -> Any:
        """What it was called with."""
        self.ran.append(threading.get_ident())
        return "slow", line, cell


@pytest.fixture
def slow() -> Slow:
    """The magic that `hook` knows."""
    return Slow()


@pytest.fixture
def hook(slow: Slow) -> AddAwaits:
    """The hook, switched on."""
    magic = AwaitedMagic(slow.awaits, slow.run)
    return AddAwaits({("line", "slow"): magic, ("cell", "slow"): magic}, lambda: True)


@pytest.fixture
def shell(hook: AddAwaits) -> Iterator[InteractiveShell]:
    """A fresh shell that has the hook, beside the reactor thread."""
    thread = start()
    thread.attach()
    one = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    one.input_transformers_post.append(hook)
    yield one
    thread.detach()


def changed(hook: AddAwaits, text: str) -> str:
    """The text after the hook."""
    return "".join(hook(text.splitlines(keepends=True)))


CALL = "get_ipython().run_line_magic('slow', 'await f()')"
AWAITED = f"(await {CALL})"


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        "x = {}\n",
        "if y:\n    {}\nelse:\n\tx = {}\n",
        "for x in {}:\n  with {} as y: pass\n",
        "try:\n    {}\nfinally:\n    {}\n",
        "x = {}; y = {}; f({}, {})\n",
        "x = 'é→\U0001f600'; {}; y = 'ü'; {}\n",
        "{}  # ÿ\n{}",
        "x = 1\r\n{}\r\ny = {}\r\n",
        "x = '''\r\n'''; {}\r{}\n",
        "x = 'a\x0cb\u2028c'; {}\n\x0c{}\n",
        "async with a({}): await b({})\n",
        "match {}:\n    case _ if {}: {}\n",
        "assert f(*{}, **{})[{}]\n",
    ],
)
def test_the_call_is_awaited_where_it_stands(hook: AddAwaits, text: str) -> None:
    """Exactly the calls get an await around them, in every place, and nothing else changes."""
    before = text.replace("{}", CALL)
    after = text.replace("{}", AWAITED)
    assert changed(hook, before) == after
    ast.parse(after)


@pytest.mark.parametrize(
    ("call", "awaited"),
    [
        ("get_ipython().run_cell_magic('slow', '', 'await f()\\n')", True),
        ("get_ipython().run_cell_magic('slow', 'await g()', 'f()\\n')", True),
        ('get_ipython() .run_line_magic(\n    "slow",\n    "await f()",\n)', True),
        ("get_ipython().run_line_magic('slow', 'f()')", False),
        ("get_ipython().run_line_magic('other', 'await f()')", False),
        ("get_ipython().run_line_magic('slow', 'await' + x)", False),
        ("get_ipython().run_line_magic('slow', line='await f()')", False),
        ("get_ipython().run_line_magic('slow', 'await f()', _stack_depth=2)", False),
        ("get_ipython().run_line_magic('slow', *'await')", False),
        ("get_ipython().run_line_magic('slow', x, 'await f()')", False),
        ("get_ipython().run_line_magic('slow', 3)", False),
        ("get_ipython().run_line_magic('slow', 'await f()', 1)", False),
        ("get_ipython().run_line_magic('slow', 'await f()', 'x')", False),
        ("get_ipython().run_cell_magic('slow', 'await f()')", False),
        ("get_ipython().run_cell_magic('slow', 'await f()', '')", False),
        ("get_ipython().run_line_magic_async('slow', 'await f()')", False),
        ("get_ipython(1).run_line_magic('slow', 'await f()')", False),
        ("shell().run_line_magic('slow', 'await f()')", False),
        ("ip.run_line_magic('slow', 'await f()')", False),
        (AWAITED, False),
        (f"await {CALL}", False),
    ],
)
def test_which_calls_are_awaited(hook: AddAwaits, call: str, awaited: bool) -> None:
    """Those that IPython writes for a magic that awaits; not what is awaited or refused anyway."""
    expected = f"(await {call})" if awaited else call
    assert changed(hook, f"x = {call}\n") == f"x = {expected}\n"


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    {}\n",
        "async def f():\n    {}\n",
        "class A:\n    x = {}\n",
        "f = lambda: {}\n",
        "[{} for _ in x]\n",
        "({} for _ in x)\n",
        "{{{} for _ in x}}\n",
        "{{1: {} for _ in x}}\n",
        'f"{{{}}}"\n',
    ],
)
def test_other_scopes_are_left_alone(hook: AddAwaits, text: str) -> None:
    """An await inside a function or a comprehension would not be the cell's; what follows is."""
    before = text.replace("{}", CALL, 1).replace("{{", "{").replace("}}", "}")
    assert changed(hook, before + CALL) == before + AWAITED


def test_what_is_no_python_is_left_to_ipython(hook: AddAwaits) -> None:
    """A cell that does not parse stays as it is, so that IPython shows what is wrong."""
    for text in (f"{CALL}\nx = = 1\n", f"{CALL}\n\0", f"{CALL}\n'\ud800'\n"):
        assert changed(hook, text) == text


def test_nothing_changes_while_off(slow: Slow) -> None:
    """While cells may not await, no cell is changed."""
    on: list[int] = []
    hook = AddAwaits({("line", "slow"): slow}, lambda: bool(on))
    assert changed(hook, CALL) == CALL
    on.append(1)
    assert changed(hook, CALL) == AWAITED


def test_other_cells_are_not_even_parsed(hook: AddAwaits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell without such a magic costs a search for its name."""
    parsed: list[str] = []
    monkeypatch.setattr(ast, "parse", parsed.append)
    text = "get_ipython().run_line_magic('cd', '~')\nslow = 'await'\nget_ipython().system('ls')\n"
    assert changed(hook, text) == text
    assert parsed == []


def test_depth_is_no_limit(hook: AddAwaits) -> None:
    """A long sum is a deep tree, and the magic at its bottom is found."""
    sum_of_many = " + 1" * 700
    assert changed(hook, CALL + sum_of_many) == AWAITED + sum_of_many


def test_no_warning_comes_twice(hook: AddAwaits, shell: InteractiveShell) -> None:
    """What the compiler warns of is left to IPython to say, once."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert changed(hook, f"x = '\\d'\n{CALL}") == f"x = '\\d'\n{AWAITED}"
        assert code_awaits(shell, "await f('\\d', 1 is 1)")
    assert seen == []


TEXTS = st.text(st.characters(exclude_characters="'\\\r\n\0", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(TEXTS, st.booleans(), st.sampled_from(["\n", "; ", "\r\n"]))))
def test_only_the_awaits_are_new(parts: list[tuple[str, bool, str]]) -> None:
    """Whatever text stands around the calls, all of it is there afterwards."""
    hook = AddAwaits({("line", "slow"): Slow()}, lambda: True)
    before = "".join(f"x = '{text}', {CALL if on else 1}{end}" for text, on, end in parts)
    after = "".join(f"x = '{text}', {AWAITED if on else 1}{end}" for text, on, end in parts)
    assert changed(hook, before) == after


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("%slow await f()", f"{AWAITED}\n"),
        ("x = %slow await f()", f"x = {AWAITED}\n"),
        ("if 1:\n    %slow await f()\n    y", f"if 1:\n    {AWAITED}\n    y\n"),
        ("%slow f()", "get_ipython().run_line_magic('slow', 'f()')\n"),
        (
            "%%slow x\nawait f()",
            "(await get_ipython().run_cell_magic('slow', 'x', 'await f()\\n'))\n",
        ),
        ("%%slow await f()", "get_ipython().run_cell_magic('slow', 'await f()', '')\n"),
    ],
)
def test_ipython_goes_on_with_the_await(shell: InteractiveShell, cell: str, text: str) -> None:
    """The cell that IPython runs has the await in it, and IPython sees that it awaits."""
    assert shell.transform_cell(cell) == text
    assert shell.should_run_async(cell, transformed_cell=text) == ("(await" in text)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("await f()", True),
        ("x = await f(); y", True),
        ("  x = 1\n  await f()", True),
        ("async with f(): pass", True),
        ("async for x in f(): pass", True),
        ("[x async for x in f()]", True),
        ("%cd ~\nawait f()", True),
        ("x = !ls\nawait f()", True),
        ("%slow await f()", True),
        ("%slow f()", False),
        ("f()", False),
        ("f('await')", False),
        ("async def f(): await g()", False),
        ("lambda: [x async for x in y]", False),
        ("await", False),
        ("await f(", False),
        ("return await f()", False),
        ("await f()\0", False),
        ("", False),
    ],
)
def test_code_that_awaits(shell: InteractiveShell, code: str, expected: bool) -> None:
    """Code awaits if it does so at its top level, IPython's language and other magics included."""
    assert code_awaits(shell, code) is expected


def test_looking_at_code_has_no_effects(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither transformers with side effects nor autocall run; all others do."""
    effects: list[str] = []

    def with_effects(lines: list[str]) -> list[str]:
        effects.extend(lines)
        return lines

    def without(lines: list[str]) -> list[str]:
        return [line.replace("wait_for", "await") for line in lines]

    with_effects.has_side_effects = True  # type: ignore[attr-defined]  # IPython's mark
    shell.input_transformers_cleanup.append(with_effects)
    shell.input_transformers_post += [with_effects, without]
    assert code_awaits(shell, "wait_for f()")
    assert not code_awaits(shell, "/print 'await'")
    assert effects == []
    assert capsys.readouterr().out == ""


def test_run_gives_what_the_magic_gives(shell: InteractiveShell, slow: Slow) -> None:
    """The magic is asked in the thread of the cell, runs in the reactor's, and gives its value."""
    assert runner(run(shell, "line", "slow", "await f()")) == ("slow", "await f()", None)
    assert runner(run(shell, "cell", "slow", "", "await f()")) == ("slow", "", "await f()")
    assert set(slow.asked) == {threading.get_ident()}
    assert set(slow.ran) == {start().ident}


@pytest.mark.parametrize("name", ["slow", "other"])
def test_run_leaves_other_magics_to_ipython(shell: InteractiveShell, slow: Slow, name: str) -> None:
    """An await that the user wrote around a magic awaits what IPython's magic gives."""
    threads: list[int] = []

    def magic(line: str, cell: str | None = None) -> Any:
        threads.append(threading.get_ident())
        return value_later(line, cell)

    async def value_later(line: str, cell: str | None) -> Any:
        return threading.get_ident(), line, cell

    register: Callable[..., Any] = shell.register_magic_function
    register(magic, "line_cell", name)
    reactor = start().ident
    assert runner(run(shell, "line", name, "x")) == (reactor, "x", None)
    assert runner(run(shell, "cell", name, "x", "y")) == (reactor, "x", "y")
    assert threads == [threading.get_ident()] * 2
    assert slow.ran == []


def test_run_without_the_hook(shell: InteractiveShell, hook: AddAwaits) -> None:
    """Once the extension is off the shell, a magic is what IPython makes of it."""
    shell.input_transformers_post.remove(hook)
    register: Callable[..., Any] = shell.register_magic_function
    register(lambda line: start().run(lambda: line), "line", "slow")
    assert runner(run(shell, "line", "slow", "await f()")) == "await f()"
