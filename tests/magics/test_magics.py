"""`%%run_in_reactor`: what its line says, and what becomes of its cell."""

from __future__ import annotations

import asyncio
import builtins
import threading
from typing import Any

import crochet
import pytest
from session import Session, eventually, in_reactor_thread

from twisted_ipython._magics.magics import give_body
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import jobs

USAGE = "usage: %%run_in_reactor [NAME] [--wait] [--replace] [--thread | --process] [--global]"

# ---- the line

LINES = {
    "1x": "'1x' cannot be the name of a result; " + USAGE,
    "class": "'class' cannot be the name of a result; " + USAGE,
    "None": "'None' cannot be the name of a result; " + USAGE,
    "a.b": "'a.b' cannot be the name of a result; " + USAGE,
    "x=evil()": "'x=evil()' cannot be the name of a result; " + USAGE,
    '""': "'\"\"' cannot be the name of a result; " + USAGE,
    "'x": "No closing quotation; " + USAGE,
    'x"': "'x\"' cannot be the name of a result; " + USAGE,
    "-": "'-' cannot be the name of a result; " + USAGE,
    "{evil()}": "'{evil()}' cannot be the name of a result; " + USAGE,
    "$evil": "'$evil' cannot be the name of a result; " + USAGE,
    "`evil()`": "'`evil()`' cannot be the name of a result; " + USAGE,
    "a b": "unrecognized arguments: b; " + USAGE,
    "x;evil()": "'x;evil()' cannot be the name of a result; " + USAGE,
    "x;import os": "unrecognized arguments: os; " + USAGE,
    "!touch x": "unrecognized arguments: x; " + USAGE,
    "--never": "unrecognized arguments: --never; " + USAGE,
    "-x": "unrecognized arguments: -x; " + USAGE,
    "--wait=": "argument -w/--wait: ignored explicit argument ''; " + USAGE,
    "--wait=3 x": "argument -w/--wait: ignored explicit argument '3'; " + USAGE,
    "--replace": "--replace needs the NAME whose result is to be replaced; " + USAGE,
}


@pytest.mark.parametrize("line", LINES)
def test_a_bad_line_is_refused_in_one_line(session: Session, line: str) -> None:
    """Nothing of the line or the cell is executed, and no name is bound."""
    done: list[str] = []
    session.names["evil"] = lambda: done.append("line")
    session.names["done"] = done
    before = dict(session.names)
    message = session.usage_error(f"%%run_in_reactor {line}\ndone.append('cell')")
    assert message == LINES[line]
    assert done == []
    assert new_names(session, before) == set()
    assert jobs.all() == []


def new_names(session: Session, before: dict[str, Any]) -> set[str]:
    """The names that a session has gained, but for those that IPython keeps of each cell."""
    kept = {"_i", "_ii", "_iii", "_", "__", "___", "_exit_code"}
    gained = {name for name in session.names if name not in before}
    return {one for one in gained if one not in kept and not one.strip("_i").isdigit()}


@pytest.mark.parametrize("line", ["x -w", "-w x", "--wait -- x", "-gw x", "--wa x", "-w  x  "])
def test_options_and_name_stand_in_any_order(session: Session, line: str) -> None:
    """Short and joined options, abbreviations and `--` are as everywhere."""
    assert session.ok(f"%%run_in_reactor {line}\n41 + 1") == 42
    assert session.names["x"].wait(1) == 42


def test_a_name_is_read_as_python_reads_it(session: Session) -> None:
    """A name in another spelling is the name that code finds; one that spells a keyword is none."""
    session.ok(
        "%%run_in_reactor \N{LATIN SMALL LIGATURE FI}le_\N{LATIN SMALL LETTER E WITH ACUTE}\n1"
    )
    assert session.ok("file_\N{LATIN SMALL LETTER E WITH ACUTE}.wait(1)") == 1
    session.usage_error("%%run_in_reactor \N{MATHEMATICAL BOLD SMALL I}f\n1")


def test_the_namespace_gains_the_name_and_nothing_else(session: Session) -> None:
    """Neither the namespace nor the builtins hold a helper, with `--global` what the cell binds."""
    built_in = set(vars(builtins))
    before = dict(session.names)
    session.ok("%%run_in_reactor x\nimport os\na = 1\ndef f(): global b; b = 2\nf()\nclass C: pass")
    session.names["x"].wait(1)
    assert new_names(session, before) == {"x", "b"}
    session.ok(
        "%%run_in_reactor -gw\nimport os as system\na = 1\nfor i in [1]: pass\nclass C: pass"
    )
    assert new_names(session, before) == {"x", "b", "system", "a", "i", "C"}
    session.ok("%%run_in_reactor -w\nc = 3\nawait asyncio.sleep(0)")
    session.ok("%%run_in_reactor -w\nc = 3\nyield")
    session.ok("%%run_in_reactor -wt\nc = 3")
    assert new_names(session, before) == {"x", "b", "system", "a", "i", "C"}
    assert set(vars(builtins)) == built_in


def test_a_cell_that_does_not_compile_binds_nothing(session: Session) -> None:
    """NAME keeps what it had, no job is started, and IPython shows a SyntaxError."""
    session.names["x"] = "before"
    ran = session.run("%%run_in_reactor x\na = 1\nb = = 1")
    assert type(ran.error) is SyntaxError
    assert ran.error.lineno == 3
    assert session.names["x"] == "before"
    assert jobs.all() == []
    assert ran.out.lstrip().startswith("Cell In[2], line 3\n    b = = 1")
    assert "run_cell_magic" not in ran.out
    assert "Traceback" not in ran.out
    session.run("%%run_in_reactor y\nb = = 1")
    assert "y" not in session.names


@pytest.mark.parametrize(
    ("line", "body", "number", "message"),
    [
        ("", "a\n\nfrom os import *", 4, "import * only allowed at module level"),
        ("", "1\nnonlocal a", 3, "no binding for nonlocal 'a' found"),
        ("-t", "1\nawait f()", 3, "'await' in a cell with --thread"),
        ("", "await f()\nx = yield", 3, "'yield' in a cell that also has 'await'"),
        ("", "s = '''\n\n'''\nf() = 2", 5, "cannot assign to function call"),
    ],
)
def test_what_is_refused_has_the_right_line(
    session: Session, line: str, body: str, number: int, message: str
) -> None:
    """Python's words and ours stand at the line of the cell as typed, with its text."""
    ran = session.run(f"%%run_in_reactor {line}\n{body}")
    assert isinstance(ran.error, SyntaxError)
    assert ran.error.lineno == number
    assert message in str(ran.error)
    shown = f"%%run_in_reactor {line}\n{body}".split("\n")[number - 1]
    assert shown in ran.out
    assert f"Cell In[2], line {number}" in ran.out


# ---- nothing at all


@pytest.mark.parametrize("cell", ["", "\n", "\n\n", "\n# a comment", "\n\n  # another\n\n"])
def test_a_cell_without_code_gives_none(session: Session, cell: str) -> None:
    """Nothing at all, blank lines and comments only: an EventualResult of None."""
    result = session.ok(f"%%run_in_reactor{cell}")
    assert isinstance(result, EventualResult)
    assert result.wait(1) is None
    session.ok(f"%%run_in_reactor x{cell}")
    assert session.names["x"].wait(1) is None


def test_only_an_empty_cell_of_ours_gets_a_line() -> None:
    """The hook leaves every other line alone."""
    call = "get_ipython().run_cell_magic('run_in_reactor', 'x', '')\n"
    assert give_body([call]) == [call.replace("''", r"'\n'")]
    others = [
        ["get_ipython().run_cell_magic('time', 'x', '')\n"],
        ["get_ipython().run_cell_magic('run_in_reactor', 'x', '1')\n"],
        ["get_ipython().run_cell_magic('run_in_reactor', \"a, ''\", '1')\n"],
        ["x = 1\n", call],
        [],
    ]
    assert [give_body(lines) for lines in others] == others


# ---- the cell


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1\n2", 2),
        ("2;", None),
        ("return 3", 3),
        ("if True:\n    return 4\n5", 4),
        ("x = 6", None),
        ("await asyncio.sleep(0.001)\n7", 7),
        ("return await deferLater(reactor, 0.001, lambda: 8)", 8),
        ("x = yield deferLater(reactor, 0.001, lambda: 9)\nreturn x", 9),
        ("yield deferLater(reactor, 0.001)\n10", 10),
        ("deferLater(reactor, 0.001, lambda: 11)", 11),
        ("[await asyncio.sleep(0, i) async for i in values()]", [0, 1]),
        ("'''\n\n  {a} $b\n'''", "\n\n  {a} $b\n"),
        ("\tif 1:\n\t\treturn '\t'", "\t"),
        ("   x = 1\n   x", 1),
        ("   x = '''a\n   b'''\n   x", "a\n   b"),
        ("x = 1 + \\\n 2\nx", 3),
        ("'é' '\N{SNOWMAN}'", "é\N{SNOWMAN}"),
        (
            "from __future__ import annotations\ndef f(x: never): pass\nf.__annotations__",
            {"x": "never"},
        ),
    ],
)
def test_the_value_of_a_cell(session: Session, cell: str, value: object) -> None:
    """`return`, else the last expression, whatever drives the cell; with `--global` too."""
    session.ok("async def values():\n    yield 0\n    yield 1")
    for options in ("", "-g"):
        assert session.ok(f"%%run_in_reactor -w {options}\n{cell}") == value


def test_where_a_cell_runs(session: Session) -> None:
    """In the reactor thread; with `--thread` in the pool, so that the reactor turns."""
    ident = in_reactor_thread(threading.get_ident)
    assert session.ok("%%run_in_reactor -w\nthreading.get_ident()") == ident
    assert session.ok("%%run_in_reactor -wt\nthreading.current_thread().daemon") is True
    gate = session.names["gate"] = threading.Event()
    session.ok("%%run_in_reactor -t x\nreturn gate.wait(10), threading.get_ident()")
    assert in_reactor_thread(lambda: gate.set()) is None
    passed, other = session.names["x"].wait(10)
    assert passed
    assert other not in (ident, threading.get_ident())


def test_ipythons_language_works_in_a_cell(session: Session) -> None:
    """`%magic`, `!shell` and `x = !shell` see the cell's own names, in every kind of cell."""
    session.ok("from IPython.core.magic import register_line_magic")
    session.ok("@register_line_magic\ndef twice(line): return line * 2")
    body = "word = 'hi'\nlines = !echo {word} $word\n!test $word = hi\nt = %twice $word\n"
    for options, end in (("", ""), ("-t", ""), ("-g", ""), ("", "await asyncio.sleep(0)\n")):
        value = session.ok(f"%%run_in_reactor -w {options}\n{body}{end}lines[0], t, _exit_code")
        assert value == ("hi hi", "hihi", 0)


def test_the_shells_ast_transformers_are_applied(session: Session) -> None:
    """A transformer that the user registered sees the cell's tree, once."""
    session.ok(
        "import ast\n"
        "class Doubling(ast.NodeTransformer):\n"
        "    def visit_Constant(self, node):\n"
        "        if node.value == 21: return ast.copy_location(ast.Constant(42), node)\n"
        "        return node\n"
        "get_ipython().ast_transformers.append(Doubling())"
    )
    assert session.ok("%%run_in_reactor -w\nx = 21\nreturn x") == 42


def test_a_cell_awaits_what_an_awaiting_cell_does(session: Session) -> None:
    """Deferreds, tasks, groups, timeouts, queues, threads and results, in one cell."""
    value = session.ok(
        "%%run_in_reactor -w\n"
        "async def deep(d):\n"
        "    return await d\n"
        "got = [await deferLater(reactor, 0.001, lambda: 1)]\n"
        "got.append(await asyncio.create_task(deep(deferLater(reactor, 0.001, lambda: 2))))\n"
        "got += await asyncio.gather(asyncio.sleep(0.001, 3), deferLater(reactor, 0, lambda: 4))\n"
        "async with asyncio.TaskGroup() as group:\n"
        "    five = group.create_task(deep(defer.succeed(5)))\n"
        "got.append(five.result())\n"
        "try:\n"
        "    async with asyncio.timeout(0.01):\n"
        "        await Deferred()\n"
        "except TimeoutError:\n"
        "    got.append(6)\n"
        "got.append(await asyncio.to_thread(lambda: 7))\n"
        "got.append(await crochet.run_in_reactor(lambda: 8)())\n"
        "return got"
    )
    assert value == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_script_keeps_its_meaning(session: Session) -> None:
    """With `--global` there is pickling, `__main__`, forward references and star imports."""
    value = session.ok(
        "%%run_in_reactor -gw\n"
        "from __future__ import annotations\n"
        "import pickle\n"
        "from math import *\n"
        "def later(): return Item(2)\n"
        "class Item:\n"
        "    next: Item\n"
        "    def __init__(self, n): self.n = n\n"
        "item = later()\n"
        "item.__class__.__module__, item.__class__.__qualname__, floor(2.5)"
    )
    assert value == ("__main__", "Item", 2)
    assert session.names["item"].n == 2
    assert session.names["pi"] > 3


# ---- results


def test_a_result_without_a_name_is_the_cells_own(session: Session) -> None:
    """`Out[n]` and `_` hold it, and `_`, `__` and `___` go on working."""
    result = session.ok("%%run_in_reactor\n5")
    assert session.ok("_") is result
    assert session.ok("Out[2]") is result
    session.ok("6")
    assert session.ok("_") == 6


@pytest.mark.parametrize("line", ["x", "", "x --replace"])
def test_a_result_is_shown_unless_the_cell_ends_in_a_semicolon(session: Session, line: str) -> None:
    """A cell with a name shows its EventualResult too; a quiet one leaves `_` alone."""
    session.ok("6")
    shown = session.ok(f"%%run_in_reactor {line}\n7")
    assert isinstance(shown, EventualResult)
    assert session.names.get("x", shown) is shown
    assert session.ok("_") is shown
    session.ok("8")
    assert session.ok(f"%%run_in_reactor {line}\n9; # quiet") is None
    assert session.ok("_") == 8


def test_wait_may_leave_the_timeout_out(session: Session) -> None:
    """A pending result times out, then waits for ever, and gives the same value every time."""
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor x\nawait gate")
    result = session.names["x"]
    assert isinstance(result, crochet.EventualResult)
    assert result.original_failure() is None
    with pytest.raises(crochet.TimeoutError):
        result.wait(0.01)
    assert crochet.retrieve_result(result.stash()) is result
    value = object()
    in_reactor_thread(lambda: session.names["gate"].callback(value))
    assert result.wait() is value
    assert result.wait(0) is value
    assert result.original_failure() is None


def test_a_failure_is_raised_each_time_it_is_waited_for(session: Session) -> None:
    """The same exception, whose Failure is there to look at."""
    session.ok("%%run_in_reactor x\n1/0")
    result = session.names["x"]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            result.wait(5)
    assert result.original_failure().check(ZeroDivisionError)


def test_a_result_is_awaited_any_number_of_times(session: Session) -> None:
    """In several awaiting cells, twice in one, and in two tasks at once."""
    session.ok("%autoawait twisted")
    session.ok("%%run_in_reactor x\nawait asyncio.sleep(0.01, ['value'])")
    value = session.ok("await x")
    assert value == ["value"]
    assert all(one is value for one in session.ok("[await x, await x]"))
    session.ok("%%run_in_reactor y\nawait asyncio.sleep(0.01, 1)")
    assert session.ok("async def get(): return await y\nawait asyncio.gather(get(), get())") == [
        1,
        1,
    ]
    session.ok("%%run_in_reactor z\n1/0")
    for _ in range(2):
        assert type(session.run("await z").error) is ZeroDivisionError


def test_two_threads_wait_for_one_result(session: Session) -> None:
    """Both get the very same value."""
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor x\nawait gate")
    values: list[object] = []
    threads = [
        threading.Thread(target=lambda: values.append(session.names["x"].wait(10)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    value = object()
    in_reactor_thread(lambda: session.names["gate"].callback(value))
    for thread in threads:
        thread.join()
    assert [one is value for one in values] == [True, True]


def test_a_result_shows_itself(session: Session) -> None:
    """Pending, done, failed and cancelled; as text that begins with its type, and as HTML."""
    session.ok("gate = Deferred()")
    session.ok("%%run_in_reactor x\nawait gate")
    result = session.names["x"]
    assert repr(result).startswith("<EventualResult x of cell 3: pending since ")
    in_reactor_thread(lambda: session.names["gate"].callback("<i>"))
    eventually(lambda: result.state == "done")
    assert repr(result).startswith("<EventualResult x of cell 3: done in ")
    assert repr(result).endswith(" ms, '<i>'>")
    assert "&#x27;&lt;i&gt;&#x27;" in result._repr_html_()
    session.ok("%%run_in_reactor y\n1/0")
    eventually(lambda: session.names["y"].state == "failed")
    assert session.ok("y") is session.names["y"]
    assert repr(session.names["y"]).endswith(" ms, ZeroDivisionError: division by zero>")
    session.names["y"].original_failure()
    session.ok("%%run_in_reactor z\nawait Deferred()")
    session.names["z"].cancel()
    eventually(lambda: session.names["z"].state == "cancelled")
    assert repr(session.names["z"]).startswith("<EventualResult z of cell 6: cancelled after ")


def test_results_of_crochets_own_functions_show_themselves(session: Session) -> None:
    """What `@crochet.run_in_reactor` gives has a state and a value too, but no cell."""
    session.ok("@crochet.run_in_reactor\ndef f(x): return x")
    session.ok("result = f(3)\nresult.wait(1)")
    assert session.shown("result").endswith("<EventualResult done, 3>\n")


def test_cancelling_waits_for_the_cells_end(session: Session) -> None:
    """A coroutine that cleans up is pending until it has; one that goes on has a value."""
    session.ok("began = threading.Event()\ngate = Deferred()")
    session.ok(
        "%%run_in_reactor x\ntry:\n    began.set()\n    await Deferred()\nfinally:\n    await gate"
    )
    assert session.names["began"].wait(5)
    result = session.names["x"]
    result.cancel()
    in_reactor_thread(int)
    in_reactor_thread(int)
    assert result.state == "pending"
    in_reactor_thread(lambda: session.names["gate"].callback(None))
    with pytest.raises(asyncio.CancelledError):
        result.wait(5)
    session.ok(
        "%%run_in_reactor y\n"
        "try:\n"
        "    await Deferred()\n"
        "except asyncio.CancelledError:\n"
        "    return 'went on'"
    )
    in_reactor_thread(int)
    session.names["y"].cancel()
    assert session.names["y"].wait(5) == "went on"


def test_a_cell_that_is_cancelled_before_its_turn_is_cancelled(session: Session) -> None:
    """Asked while the reactor is busy: it gets no further than its first await."""
    session.names["ran"] = ran = []
    gate = threading.Event()
    session.names["hold"] = lambda: gate.wait(10)
    session.ok("%%run_in_reactor\nhold();")
    session.ok("%%run_in_reactor x\nawait asyncio.sleep(0)\nran.append(1)")
    session.names["x"].cancel()
    gate.set()
    eventually(lambda: session.names["x"].state == "cancelled")
    assert ran == []


# ---- failures


@pytest.mark.parametrize(
    ("line", "body", "number"),
    [
        ("", "x = 1\nfail()", 3),
        ("", "\n\n  # a comment\n\nfail()", 6),
        ("-t", "x = 1\nfail()", 3),
        ("-g", "x = 1\nfail()\nx = 2", 3),
        ("-g", "x = 1\n\nfail()", 4),
        ("-g", "await asyncio.sleep(0)\nfail()", 3),
        ("", "await asyncio.sleep(0.001)\n\nfail()", 4),
        ("", "await deferLater(reactor, 0.001)\nfail()", 3),
        ("", "yield deferLater(reactor, 0.001)\nfail()", 3),
        ("", "fail()\nyield", 2),
        ("", "deferLater(reactor, 0.001, fail)", 0),
    ],
)
@pytest.mark.parametrize("waits", [True, False])
def test_a_traceback_has_the_users_frames(
    session: Session, line: str, body: str, number: int, waits: bool
) -> None:
    """The cell's line under the cell's name, then the user's, and nothing of ours or Twisted's."""
    session.ok("def fail():\n    return 1/0")
    if waits:
        ran = session.run(f"%%run_in_reactor {line} --wait made\n{body}")
    else:
        session.ok(f"%%run_in_reactor {line} made\n{body}")
        ran = session.run("made.wait(5)")
    assert type(ran.error) is ZeroDivisionError
    # IPython 8 shows its own frame, from which the magic is called.
    heads = [
        text
        for text in ran.out.splitlines()
        if text.startswith(("File ", "Cell In[")) and "InteractiveShell.run_cell_magic" not in text
    ]
    asked = "Cell In[3], line 1" if waits else "Cell In[4], line 1"
    expected = [asked, f"Cell In[3], line {number}", "Cell In[2], line 2, in fail()"]
    if not number:
        expected = [asked, "Cell In[2], line 2, in fail()"]
    assert heads == expected
    assert "fail()" in ran.out


def test_the_timeout_ends_a_waiting_cell(session: Session) -> None:
    """`--wait` has the time limit of an awaiting cell, and the job is cancelled with it."""
    session.ok("%twisted_config timeout 0.05")
    ran = session.run("%%run_in_reactor -w x\nawait Deferred()")
    assert type(ran.error) is TimeoutError
    assert "%twisted_config timeout" in str(ran.error)
    eventually(lambda: session.names["x"].state == "cancelled")


def test_a_waiting_magic_in_the_reactor_thread_is_refused(session: Session) -> None:
    """It would wait for itself; the sentence says to await."""
    ran = session.run(
        "%%run_in_reactor -w\nget_ipython().run_cell_magic('run_in_reactor', '-w', '1')"
    )
    assert isinstance(ran.error, RuntimeError)
    assert "`await` the EventualResult" in str(ran.error)
    session.ok("%%run_in_reactor x\nawait Deferred()")
    ran = session.run("%%run_in_reactor -w\n%reactor wait x")
    assert isinstance(ran.error, RuntimeError)


# ---- the manual


def test_the_manual_names_the_magic_and_shows_a_session(session: Session) -> None:
    """`%%run_in_reactor?` has two percent signs, the options and a session, which works."""
    manual = session.shell.object_inspect("%%run_in_reactor")["docstring"]
    assert "\n  %%run_in_reactor [-w] [-r] [-t] [-p] [-g] [name]\n" in manual
    for option in ("--wait", "--replace", "--thread", "--process", "--global"):
        assert option in manual


def cells_of(manual: str) -> list[str]:
    """The cells of the session in a manual."""
    cells: list[str] = []
    for line in manual.splitlines():
        text = line.strip()
        if text.startswith("In ["):
            cells.append(text.partition("]: ")[2])
        elif text.startswith("...: "):
            cells[-1] += "\n" + text.removeprefix("...: ")
    return cells


@pytest.mark.parametrize("name", ["run_in_reactor", "reactor"])
def test_the_session_of_a_manual_works(session: Session, name: str) -> None:
    """Each cell of it runs, twice."""
    kind = "cell" if name == "run_in_reactor" else "line"
    manual = session.shell.magics_manager.magics[kind][name].__doc__
    cells = [cell.replace("8080", "0") for cell in cells_of(manual)]
    assert len(cells) > 1
    for cell in [*cells, *cells]:
        session.ok(cell)
