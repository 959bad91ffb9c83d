"""%time and %timeit of code that awaits."""

import __future__

import ast
import gc
import re
import threading
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

import IPython
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics
from IPython.core.magics.execution import TimeitResult
from traitlets.config import Config

from twisted_ipython import runner
from twisted_ipython._cells.await_magics import AddAwaits, AwaitedMagic
from twisted_ipython._magics import timing
from twisted_ipython._magics.timing import Time, Timeit
from twisted_ipython._reactor.lifecycle import start

SETUP = """
import asyncio, threading, time
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThread
count = 0
async def f(value=3, seconds=0.0):
    global count
    count += 1
    await asyncio.sleep(seconds)
    return value
def burn(seconds=0.3):
    began = time.thread_time()
    while time.thread_time() - began < seconds: pass
"""


class Cells:
    """A shell, `%time` and `%timeit`, and what they print."""

    def __init__(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell = shell
        self.names: dict[str, Any] = shell.user_ns
        magics: Magics = shell.find_line_magic("timeit").__self__
        timing = {"time": Time(shell), "timeit": Timeit(shell, magics.parse_options)}
        self.awaited = {
            (kind, name): AwaitedMagic(one.awaits, one.run)
            for kind in ("line", "cell")
            for name, one in timing.items()
        }
        shell.input_transformers_post.append(AddAwaits(self.awaited, lambda: True))
        exec(SETUP, shell.user_ns)
        self._capsys = capsys

    def run(self, name: str, line: str, cell: str | None = None) -> Any:
        """What a magic gives when the cell that it stands in awaits it."""
        magic = self.awaited["line" if cell is None else "cell", name]
        assert magic.awaits(line, cell)
        return runner(magic.run(line, cell))

    def awaits(self, name: str, line: str, cell: str | None = None) -> bool:
        """Whether a magic awaits."""
        return self.awaited["line" if cell is None else "cell", name].awaits(line, cell)

    def ipython(self, name: str, line: str, cell: str | None = None) -> Any:
        """What IPython's own magic gives, for code that does not await."""
        if cell is None:
            return self.shell.run_line_magic(name, line)
        return self.shell.run_cell_magic(name, line, cell)

    def printed(self) -> str:
        """What was printed since the last time."""
        return self._capsys.readouterr().out

    def form(self) -> str:
        """What was printed, with a word for each figure that differs: Wall time: TIME."""
        text = re.sub(r"[\d.]+(e\+\d+)? [mnuµμ]?s\b", "TIME", self.printed())
        return re.sub(r"[\d.]+ times", "N times", text)


@pytest.fixture
def cells(capsys: pytest.CaptureFixture[str]) -> Iterator[Cells]:
    """A fresh shell, beside the reactor thread."""
    thread = start()
    thread.attach()
    yield Cells(InteractiveShell(config=Config({"HistoryManager": {"enabled": False}})), capsys)
    thread.detach()


# IPython 8 writes the micro sign, IPython 9 the Greek letter.
UNITS = {"ns": 1e-9, "μs": 1e-6, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def seconds(text: str, label: str) -> float:
    """The duration after a label, in seconds."""
    found = re.search(rf"{label}:? ([\d.e+]+) (\w+)", text)
    assert found is not None, text
    return float(found[1]) * UNITS[found[2]]


# ---- %time


def test_time_prints_what_ipython_prints(cells: Cells) -> None:
    """The lines are IPython's, and so is the value of an expression."""
    assert cells.ipython("time", "1 + 1") == 2
    form = cells.form()
    assert cells.run("time", "await f(4)") == 4
    assert cells.form() == form


def test_time_binds_names(cells: Cells) -> None:
    """Names that the timed code assigns are the user's, from several statements too."""
    assert cells.run("time", "x = await f(5)") is None
    assert cells.names["x"] == 5
    assert cells.run("time", "y = await f(6); z = y + x; z") == 11
    assert (cells.names["y"], cells.names["z"]) == (6, 11)
    assert cells.run("time", "global w; w = await f(7)") is None
    assert cells.names["w"] == 7


def test_time_cell(cells: Cells) -> None:
    """%%time takes several lines, and gives the last expression's value."""
    cells.ipython("time", "", "x = 1\nx\n")
    form = cells.form()
    assert cells.run("time", "", "def g():\n    return 2\nx = await f(g())\nx + 1\n") == 3
    assert cells.names["g"]() == 2
    assert cells.form() == form
    assert cells.run("time", "", "await f()\nx = 1\n") is None
    assert cells.run("time", "", "x = 1\nawait f(8)\n") == 8


@pytest.mark.parametrize("code", ["await f();", "await f() ;  # comment", "x = await f(); x;"])
def test_time_is_silent_after_a_semicolon(cells: Cells, code: str) -> None:
    """A semicolon at the end hides the value, in a line and in a cell, as with IPython's own."""
    assert cells.ipython("time", "1;") is None
    assert cells.run("time", code) is None
    assert cells.run("time", "", code) is None


def test_time_runs_in_the_reactor_thread(cells: Cells) -> None:
    """The timed code runs in the reactor thread, as part of the running task."""
    assert cells.run("time", "await f(threading.get_ident())") == start().ident
    assert cells.run("time", "asyncio.current_task() is await f(asyncio.current_task())") is True


def test_time_of_the_reactor_thread_and_of_the_wall(cells: Cells) -> None:
    """CPU time is the reactor thread's alone; wall time goes on while the code waits."""
    cells.run("time", "await deferToThread(burn)")
    text = cells.printed()
    assert seconds(text, "total") < 0.25
    assert seconds(text, "Wall time") >= 0.3
    cells.run("time", "burn(); await f()")
    text = cells.printed()
    assert seconds(text, "total") >= 0.3
    assert seconds(text, "user") + seconds(text, "sys") == pytest.approx(
        seconds(text, "total"), rel=0.01
    )


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        ([(1.0,), (3.0,)], "total: 2 s"),
        ([(1.0, 0.5), (3.0, 1.0)], "user 1.5 s, sys: 500 ms, total: 2 s"),
        ([(1.0, 0.0), (1.5, 2.0)], "user 0 ns, sys: 500 ms, total: 500 ms"),
    ],
)
def test_time_with_each_system_s_clocks(
    cells: Cells, clock: list[tuple[float, ...]], words: str
) -> None:
    """User and system time are given where they are known, and never are more than the total."""
    moments = iter(clock)
    magic = Time(cells.shell, lambda: next(moments))
    runner(magic.run("await f()", None))
    assert cells.printed().splitlines()[0] == f"CPU times: {words}"


def test_time_of_failing_code(cells: Cells) -> None:
    """The user's exception comes out, from the user's line, after the times are printed."""
    cells.ipython("time", "1 + 1")
    form = cells.form()
    cell = "await f()\ndef g(): 1 / 0\ng()\n"
    with pytest.raises(ZeroDivisionError) as caught:
        cells.run("time", "", cell)
    assert cells.form() == form
    frames = traceback.extract_tb(caught.value.__traceback__)[-2:]
    assert [(frame.filename, frame.lineno) for frame in frames] == [
        ("<timed exec>", 3),
        ("<timed exec>", 2),
    ]
    with pytest.raises(ZeroDivisionError) as caught:
        cells.run("time", "await f(1 / 0)")
    assert traceback.extract_tb(caught.value.__traceback__)[-1].filename == "<timed eval>"
    assert cells.form() == form


def test_time_without_raising(cells: Cells) -> None:
    """--no-raise-error keeps an exception in, where IPython knows that option."""
    line = "--no-raise-error await f(1 / 0)"
    if IPython.version_info < (9, 4):
        assert not cells.awaits("time", line)
        return
    cells.ipython("time", "--no-raise-error 1 / 0")
    form = cells.form()
    assert cells.run("time", line) is None
    assert cells.form() == form
    assert cells.run("time", "--no-raise-error", "await f(1 / 0)") is None
    assert cells.run("time", "--no-raise-error await f(4)") == 4
    assert not cells.awaits("time", "--no-raise-error=3 await f(4)")
    with pytest.raises(CancelledError):
        cells.run("time", "--no-raise-error asyncio.current_task().cancel(); await f()")


@pytest.mark.parametrize(
    ("error", "lines"), [("SystemExit", 0), ("KeyboardInterrupt", 2), ("CancelledError", 2)]
)
def test_time_of_code_that_is_ended(cells: Cells, error: str, lines: int) -> None:
    """A cancellation and an interrupt go on after the times; what ends the program goes at once."""
    cells.names["CancelledError"] = CancelledError
    with pytest.raises((SystemExit, KeyboardInterrupt, CancelledError)) as caught:
        cells.run("time", f"await f(); raise {error}")
    assert caught.type.__name__ == error
    assert len(cells.printed().splitlines()) == lines


def test_time_of_cancelled_code(cells: Cells) -> None:
    """A cancellation reaches the code, whose finally blocks run, and then the cell."""
    cell = (
        "task = asyncio.current_task()\n"
        "asyncio.get_running_loop().call_soon(task.cancel, 'why')\n"
        "try:\n    await f(seconds=60)\nfinally:\n    x = 'cleaned'\n"
    )
    with pytest.raises(CancelledError, match="why"):
        cells.run("time", "", cell)
    assert cells.names["x"] == "cleaned"
    assert len(cells.printed().splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "cell"),
    [
        ("f()", None),
        ("", None),
        ("await", None),
        ("return await f()", None),
        ("await f()", "await f()"),
        ("", "f()"),
        ("", "async def g():\n    await f()\n"),
    ],
)
def test_time_leaves_the_rest_to_ipython(cells: Cells, line: str, cell: str | None) -> None:
    """What does not await at its top level, or what IPython refuses, is not awaited."""
    assert not cells.awaits("time", line, cell)


def test_time_takes_the_code_to_the_letter(cells: Cells) -> None:
    """Strings in the code keep their spaces and quotes."""
    assert cells.run("time", """await f('a   b "c') + "  ' d" """) == """a   b "c  ' d"""


# ---- both


@pytest.mark.parametrize("name", ["time", "timeit"])
def test_code_is_transformed_as_ipython_does(cells: Cells, name: str) -> None:
    """The shell's transformers apply once each, and magics run in the cell thread."""
    seen: list[str] = []

    class Words(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            seen.append(str(node.value))
            new = "two" if node.value == "one" else node.value
            return ast.copy_location(ast.Constant(new), node)

    def lines(code: list[str]) -> list[str]:
        return [line.replace("zero", "one") for line in code]

    cells.shell.ast_transformers.append(Words())
    cells.shell.input_transformers_cleanup.append(lines)
    cells.names.update(words=[], get_ipython=lambda: cells.shell)
    cells.shell.register_magic_function(lambda _: threading.get_ident(), magic_name="where")
    options = "-n1 -r1 -q " if name == "timeit" else ""
    cells.run(name, f"{options}words.append(await f('zero')); here = %where\nwords.append(here)")
    assert cells.names["words"] == ["two", threading.get_ident()]
    assert seen.count("one") == seen.count("where") == 1


@pytest.mark.parametrize(("name", "options"), [("time", ""), ("timeit", "-n1 -r1")])
def test_future_statements(cells: Cells, name: str, options: str) -> None:
    """A future statement that the session has made holds for timed code."""
    cells.shell.compile.flags |= __future__.annotations.compiler_flag
    cell = "def g(x: nonsense): pass\ntexts.append(g.__annotations__)\nawait f()\n"
    cells.names["texts"] = []
    cells.run(name, options, cell)
    assert cells.names["texts"] == [{"x": "nonsense"}]


def test_a_future_statement_in_timed_code(cells: Cells) -> None:
    """A future statement in a timed cell holds for the cells that follow, as with IPython's."""
    cells.run("time", "", "from __future__ import annotations\nawait f()\n")
    assert cells.shell.compile.flags & __future__.annotations.compiler_flag
    assert not cells.shell.compile.flags & ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_code_is_compiled_in_the_thread_of_the_cell(cells: Cells) -> None:
    """Transformers run where IPython runs them, and are not surprised by the reactor thread."""
    threads: set[int] = set()

    class Where(ast.NodeTransformer):
        def visit_Module(self, node: ast.Module) -> ast.Module:
            threads.add(threading.get_ident())
            return node

    cells.shell.ast_transformers.append(Where())
    cells.run("time", "await f()")
    cells.run("timeit", "-n1 -r1 -q await f()")
    assert threads == {threading.get_ident()}


# ---- %timeit


@pytest.mark.parametrize(
    "options", ["-n1 -r1", "-n 3 -r 2", "-n1000 -r1", "-n2", "-n1 -r2 -p 6", "-t -n1", "-n1 -c"]
)
def test_timeit_prints_what_ipython_prints(cells: Cells, options: str) -> None:
    """The line is IPython's, for each option that changes it."""
    cells.ipython("timeit", f"{options} time.sleep(0.001)")
    own = cells.form().splitlines()
    assert cells.run("timeit", f"{options} await f(seconds=0.001)") is None
    # A run may be slow by accident, which is said in a line before.
    assert cells.form().splitlines()[-1] == own[-1]


def test_timeit_runs_as_often_as_told(cells: Cells) -> None:
    """-n and -r say how often the statement runs; without -r it is seven times -n."""
    cells.run("timeit", "-n 3 -r 2 await f()")
    assert cells.names["count"] == 6
    cells.run("timeit", "-n1 await f()")
    assert cells.names["count"] == 13


def test_timeit_finds_the_number_of_rounds(cells: Cells) -> None:
    """Without -n the number is the first power of ten that takes 0.2 seconds."""
    result = cells.run("timeit", "-r1 -o await f(seconds=0.04)")
    assert result.loops == 10
    assert cells.names["count"] == 1 + 10 + 10
    cells.names["count"] = 0
    assert cells.run("timeit", "-n0 -r1 -o await f(seconds=0.25)").loops == 1
    assert cells.names["count"] == 1 + 1


def test_timeit_stops_looking_for_a_number(cells: Cells) -> None:
    """A clock that stands still, as CPU time does for code that only waits, ends the search."""

    async def no_time(rounds: Iterator[None], clock: Callable[[], float]) -> float:
        return clock()

    assert runner(timing._enough_rounds(no_time, float)) == 10**9


def test_timeit_results(cells: Cells) -> None:
    """-o gives IPython's result object, -q prints nothing, and the figures are right."""
    result = cells.run("timeit", "-n2 -r3 -p5 -q -o await f(seconds=0.01)")
    assert isinstance(result, TimeitResult)
    assert (result.loops, result.repeat, len(result.all_runs)) == (2, 3, 3)
    assert result.best == min(result.all_runs) / 2 >= 0.009
    assert result.worst == max(result.all_runs) / 2
    assert 0 < result.compile_time < 5
    assert result._precision == 5
    assert cells.printed() == ""
    assert cells.run("timeit", "-n1 -r1 await f()") is None
    cells.printed()


def test_timeit_saves_the_result(cells: Cells) -> None:
    """-v NAME binds the result, where IPython knows that option."""
    line = "-n1 -r1 -v took await f()"
    if IPython.version_info < (9, 1):
        assert not cells.awaits("timeit", line)
        return
    assert cells.run("timeit", line) is None
    assert isinstance(cells.names["took"], TimeitResult)
    assert cells.printed() == f"{cells.names['took']}\n"


def test_timeit_clocks(cells: Cells) -> None:
    """-c measures the reactor thread's CPU time, and -t the wall's, like the default."""
    assert cells.run("timeit", "-n1 -r1 -o -c await f(seconds=0.1)").best < 0.08
    assert cells.run("timeit", "-n1 -r1 -o -c await deferToThread(burn, 0.1)").best < 0.08
    assert cells.run("timeit", "-n1 -r1 -o -c burn(0.1); await f()").best >= 0.1
    assert cells.run("timeit", "-n1 -r1 -o -t await f(seconds=0.1)").best >= 0.09
    assert cells.run("timeit", "-n1 -r1 -o await f(seconds=0.1)").best >= 0.09


def test_timeit_says_that_a_result_may_be_cached(cells: Cells) -> None:
    """A slow run among fast ones is mentioned in IPython's words."""
    cells.names["waits"] = iter([0.3, 0.01, 0.3, 0.01])
    cells.ipython("timeit", "-n1 -r2 time.sleep(next(waits))")
    form = cells.form()
    assert "slowest" in form
    cells.run("timeit", "-n1 -r2 await f(seconds=next(waits))")
    assert cells.form() == form


def test_timeit_setup(cells: Cells) -> None:
    """The setup runs before each run, untimed, and its names are there for the statement."""
    cell = "await f(x)\ny = x\n"
    result = cells.run("timeit", "-n3 -r2 -o x = await f(4, seconds=0.3)", cell)
    assert cells.names["count"] == 2 * (1 + 3)
    assert result.worst < 0.05
    assert cells.run("timeit", "-n1 -r2 x = await f(4)", "f(x).close()") is None
    assert cells.run("timeit", "-n1 -r2 x = 4", "await f(x)") is None
    assert cells.run("timeit", "-n1 -r2", "await f()") is None
    assert "x" not in cells.names
    assert "y" not in cells.names


def test_timeit_names(cells: Cells) -> None:
    """The statement reads the user's names; what it assigns is its own, unless declared global."""
    cells.names["x"] = 1
    cells.run("timeit", "-n1 -r1 y = await f(x); z = y")
    assert not {"y", "z", "inner", "_i", "_it"} & cells.names.keys()
    cells.run("timeit", "-n1 -r1", "global x\nx = await f(2)\n")
    assert cells.names["x"] == 2


@pytest.mark.parametrize("enabled", [True, False])
def test_timeit_rests_the_garbage_collector(cells: Cells, enabled: bool) -> None:
    """Garbage collection is off in the loop, and as before afterwards, after a failure too."""
    cells.names.update(gc=gc, states=[])
    try:
        (gc.enable if enabled else gc.disable)()
        cells.run("timeit", "-n1 -r2 states.append(gc.isenabled()); await f()")
        assert gc.isenabled() == enabled
        with pytest.raises(ZeroDivisionError):
            cells.run("timeit", "-n1 -r2 states.append(gc.isenabled()); await f(1 / 0)")
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
    assert cells.names["states"] == [False] * 3


def test_timeit_of_failing_code(cells: Cells) -> None:
    """The user's exception comes out, from the user's line, and nothing is printed."""
    with pytest.raises(ZeroDivisionError) as caught:
        cells.run("timeit", "-n1", "await f()\n1 / 0\n")
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == ("<magic-timeit>", 2)
    assert cells.printed() == ""
    with pytest.raises(CancelledError):
        cells.run("timeit", "-n1 asyncio.current_task().cancel(); await f(seconds=60)")
    assert cells.printed() == ""
    assert cells.names["count"] == 2


@pytest.mark.parametrize(
    ("line", "cell"),
    [
        ("-n1 f()", None),
        ("", None),
        ("-n1", None),
        ("-n1 return await f()", None),
        ("-n1 break; await f()", None),
        ("-z await f()", None),
        ("-n", "f()"),
        ("x = f()", "async def g():\n    await f()\n"),
    ],
)
def test_timeit_leaves_the_rest_to_ipython(cells: Cells, line: str, cell: str | None) -> None:
    """What does not await at its top level, or what IPython refuses, is not awaited."""
    assert not cells.awaits("timeit", line, cell)


def test_timeit_refuses_what_is_python_only_in_a_function(cells: Cells) -> None:
    """A setup that awaits does not make a return in the cell any better."""
    with pytest.raises(SyntaxError, match="'return' outside function"):
        cells.run("timeit", "-n1 await f()", "return 3")


def test_timeit_of_long_compiling(cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling is mentioned when it takes long."""
    monkeypatch.setattr(timing, "_LONG", 0.0)
    cells.run("timeit", "-n1 -r1 await f()")
    assert re.search(r"each\)\nCompiler time: \d\.\d\d s\n$", cells.printed())


def test_timeit_lets_the_reactor_turn(cells: Cells) -> None:
    """Between runs of a statement that never waits, the reactor does what else there is."""
    cells.names.update(turned=[], seen=[])
    cell = "seen.append(len(turned))\nreactor.callFromThread(turned.append, 1)\nawait succeed(1)\n"
    cells.run("timeit", "-n2 -r3", cell)
    assert cells.names["seen"] == [0, 0, 2, 2, 4, 4]


@pytest.mark.parametrize("name", ["time", "timeit"])
def test_a_magic_in_a_magic_awaits(cells: Cells, name: str) -> None:
    """Timed code whose magic awaits is seen to await."""
    assert cells.awaits(name, "%time await f()")
    assert cells.awaits(name, "x = %timeit -o await f()")
    assert not cells.awaits(name, "%time f()")
