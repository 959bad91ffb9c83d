"""
``%time`` and ``%timeit`` of code that awaits; with IPython's options and in its words.

CPU time is the reactor thread's: it includes what else runs there while the code waits,
and nothing that runs in other threads.  An exception leaves ``%time`` as it leaves IPython
9.18's: after the times are printed.  The statement of ``%timeit`` becomes the body of a
loop in a coroutine function, as IPython's own becomes that of a function.

Thread: reactor; code is read and compiled in the cell's.
"""

from __future__ import annotations

import ast
import gc
import itertools
import sys
import time
import timeit
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

import IPython
from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magics.execution import ExecutionMagics, TimeitResult
from IPython.utils.process import arg_split  # type: ignore[attr-defined]  # not in an __all__
from twisted.internet.task import deferLater

from twisted_ipython._cells.await_magics import code_awaits
from twisted_ipython._cells.statements import is_async, send_to_cell_thread
from twisted_ipython._private.ipython import format_time
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import in_cell_thread

_Cpu = tuple[float, ...]  # seconds of CPU time: all, and the system's part if that is known
# Seconds that a number of rounds took, by a clock.
_Loop = Callable[[Iterator[None], Callable[[], float]], Awaitable[float]]

# Since IPython 9.3 %time has a parser: for --no-raise-error.
_TIME_PARSER: Final = getattr(ExecutionMagics.time, "parser", None)
# IPython 9.1 brought -v.
_TIMEIT_OPTIONS: Final = "n:r:tcp:qov:" if IPython.version_info >= (9, 1) else "n:r:tcp:qo"
# Seconds that compiling the code takes before IPython mentions it.
_LONG: Final = 0.1
# Seconds that %timeit's loop has to take for its number of rounds to do.
_ENOUGH: Final = 0.2
_MOST: Final = 10**9

CACHED: Final = (
    "The slowest run took {times:0.2f} times longer than the fastest. This could mean that an"
    " intermediate result is being cached."
)

_LOOP: Final = """
async def inner(_it, _timer):
    setup
    _t0 = _timer()
    for _i in _it:
        stmt
    _t1 = _timer()
    return _t1 - _t0
"""


def _parse(shell: InteractiveShell, text: str) -> ast.Module:
    """The statements of code as typed; what is IPython's own in them goes to the cell thread."""
    tree: ast.Module = shell.transform_ast(shell.compile.ast_parse(shell.transform_cell(text)))
    return send_to_cell_thread(tree)


def _compile(shell: InteractiveShell, tree: ast.Module | ast.Expression, name: str) -> CodeType:
    """Code that may await."""
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    compiler: Any = shell.compile
    with compiler.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
        code: CodeType = compiler(tree, name, mode)
    return code


def _thread_times() -> _Cpu:
    if sys.platform != "linux":
        return (time.thread_time(),)
    from resource import RUSAGE_THREAD, getrusage

    # What getrusage gives for both is only brought up to date every few milliseconds.
    return time.thread_time(), getrusage(RUSAGE_THREAD).ru_stime


@dataclass(frozen=True)
class Time:
    """``%time`` and ``%%time``; see `_cells.await_magics.AwaitedMagic`."""

    shell: InteractiveShell
    # Gives seconds of CPU time of this thread.
    cpu: Callable[[], _Cpu] = _thread_times

    def awaits(self, line: str, cell: str | None) -> bool:
        """Whether the code awaits; False too for a line that IPython refuses.  Thread: cell."""
        try:
            _, code = _time_options(line)
        except UsageError:
            return False
        if cell is not None and code:
            return False
        return code_awaits(self.shell, code if cell is None else cell)

    async def run(self, line: str, cell: str | None) -> Any:
        """Run the code, print what it took; the value of its last expression.  Thread: reactor."""
        quiet, code = _time_options(line)
        text = code if cell is None else cell
        codes = await in_cell_thread(lambda: self._compiled(text))
        wall, cpu = time.perf_counter(), self.cpu()

        def report() -> None:
            taken = [now - then for now, then in zip(self.cpu(), cpu, strict=True)]
            print(_time_report(time.perf_counter() - wall, taken))

        try:
            value = await self._value(codes)
        except (Exception, CancelledError, KeyboardInterrupt) as error:
            report()
            if quiet and isinstance(error, Exception):
                return None
            raise
        report()
        return None if DisplayHook.semicolon_at_end_of_expression(text) else value

    async def _value(self, codes: list[CodeType]) -> Any:
        value: Any = None
        for code in codes:
            value = eval(code, self.shell.user_global_ns, self.shell.user_ns)
            if is_async(code):
                value = await value
        return value

    def _compiled(self, code: str) -> list[CodeType]:
        """What is to be run in turn."""
        *body, last = _parse(self.shell, code).body
        trees: list[ast.Module | ast.Expression] = [ast.Module([*body, last], [])]
        if isinstance(last, ast.Expr):
            trees = [ast.Expression(last.value)]
            if body:
                trees.insert(0, ast.Module(body, []))
        name = "<timed exec>" if isinstance(trees[0], ast.Module) else "<timed eval>"
        return [_compile(self.shell, tree, name) for tree in trees]


def _time_options(line: str) -> tuple[bool, str]:
    """Whether exceptions are not to be raised, and the code; UsageError where IPython refuses."""
    if _TIME_PARSER is None:
        return False, line
    options, words = _TIME_PARSER.parse_known_args(arg_split(line, strict=False))
    # The words put together again would not be what was typed.
    return (True, " ".join(words)) if options.no_raise_error else (False, line)


def _time_report(wall: float, cpu: list[float]) -> str:
    """IPython's lines."""
    words = f"total: {format_time(cpu[0])}"
    for seconds in cpu[1:]:
        system = min(seconds, cpu[0])  # the two come from different clocks
        words = f"user {format_time(cpu[0] - system)}, sys: {format_time(system)}, {words}"
    return f"CPU times: {words}\nWall time: {format_time(wall)}"


@dataclass(frozen=True)
class Timeit:
    """``%timeit`` and ``%%timeit``; see `_cells.await_magics.AwaitedMagic`."""

    shell: InteractiveShell
    parse_options: Callable[..., tuple[Any, Any]]

    def awaits(self, line: str, cell: str | None) -> bool:
        """Whether statement or setup await; not in a line that IPython refuses.  Thread: cell."""
        try:
            _, code = self._options(line)
        except UsageError:
            return False
        codes = [code] if cell is None else [code, cell]
        return any(code_awaits(self.shell, one) for one in codes)

    async def run(self, line: str, cell: str | None) -> TimeitResult | None:
        """Time the statement and print it; the result with -o.  Thread: reactor."""
        options, code = self._options(line)
        clock = time.time if "t" in options else timeit.default_timer
        clock = time.thread_time if "c" in options else clock
        repeat = int(options.get("r", 7))  # IPython's max(timeit.default_repeat, 7)
        loop, compiling = await in_cell_thread(lambda: self._compiled(code, cell))
        number = int(options.get("n", 0)) or await _enough_rounds(loop, clock)
        runs = [await _seconds(loop, number, clock) for _ in range(repeat)]
        best, worst = min(runs) / number, max(runs) / number
        digits = int(options.get("p", 3))
        result = TimeitResult(number, repeat, best, worst, runs, compiling, digits)
        if "q" not in options:
            print(_timeit_report(result))
        if "v" in options:
            self.shell.user_ns[options.v] = result
        return result if "o" in options else None

    def _options(self, line: str) -> tuple[Any, str]:
        how = {"posix": False, "strict": False, "preserve_non_opts": True}
        return self.parse_options(line, _TIMEIT_OPTIONS, **how)

    def _compiled(self, code: str, cell: str | None) -> tuple[_Loop, float]:
        """The loop, and seconds it took to compile."""
        trees = []
        texts = {"setup": "pass", "stmt": code} if cell is None else {"setup": code, "stmt": cell}
        for name, text in texts.items():
            trees.append(_parse(self.shell, text))
            # What is no Python by itself may become some in a function.
            _compile(self.shell, trees[-1], f"<magic-timeit-{name}>")
        names: dict[str, Any] = {}
        began = time.thread_time()
        inner = _compile(self.shell, _loop(*trees), "<magic-timeit>")
        seconds = time.thread_time() - began
        exec(inner, self.shell.user_ns, names)
        return names["inner"], seconds


def _loop(setup: ast.Module, stmt: ast.Module) -> ast.Module:
    """The function that runs ``stmt`` in a loop after ``setup``."""
    module: Any = ast.parse(_LOOP)
    [function] = module.body
    function.body[2].body = stmt.body
    function.body[:1] = setup.body
    return ast.fix_missing_locations(module)  # type: ignore[no-any-return]


async def _enough_rounds(loop: _Loop, clock: Callable[[], float]) -> int:
    """How many rounds take long enough, as IPython finds it out."""
    number = 1
    while await _seconds(loop, number, clock) < _ENOUGH and number < _MOST:
        number *= 10
    return number


async def _seconds(loop: _Loop, number: int, clock: Callable[[], float]) -> float:
    """Seconds that a number of rounds took."""
    # A statement that never has to wait would hold the reactor for all runs.
    await deferLater(current().reactor, 0)
    collects = gc.isenabled()
    gc.disable()
    try:
        return await loop(itertools.repeat(None, number), clock)
    finally:
        if collects:
            gc.enable()


def _timeit_report(result: TimeitResult) -> str:
    """IPython's lines."""
    lines = [str(result)]
    # Not where dividing would fail, nor below a microsecond, where it says nothing.
    if result.worst > 4 * result.best > 0 and result.worst > 1e-6:
        lines.insert(0, CACHED.format(times=result.worst / result.best))
    if result.compile_time > _LONG:
        lines.append(f"Compiler time: {result.compile_time:.2f} s")
    return "\n".join(lines)
