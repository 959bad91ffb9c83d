"""
``%time`` and ``%timeit`` for code that awaits, with IPython's options and in its words.

The code is transformed and compiled in the thread that the cell was typed in,
where IPython's own magics do it, and runs in the reactor thread as part of the
cell.  CPU time is the reactor thread's: it includes what else runs there while
the code waits, and nothing that runs in other threads.  An exception leaves
``%time`` as it leaves IPython 9.18's: after the times are printed.
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
from typing import Any, Final, cast

import IPython
from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics
from IPython.core.magics.execution import ExecutionMagics, TimeitResult, _format_time
from IPython.utils.process import arg_split  # type: ignore[attr-defined]  # not in an __all__
from twisted.internet.task import deferLater

from twisted_ipython._awaited_magics import Awaited, code_awaits
from twisted_ipython._awaiting import at_home
from twisted_ipython._language import is_async
from twisted_ipython._reactor import start

__all__ = ["Time", "Timeit", "awaited", "thread_times"]

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
# Seconds that reading or compiling the code takes before IPython mentions it.
_LONG: Final = 0.1
# Seconds that %timeit's loop has to take for its number of rounds to do.
_ENOUGH: Final = 0.2
_MOST: Final = 10**9
# How often %timeit does it: IPython's max(timeit.default_repeat, 7).
_REPEAT: Final = 7
# IPython 9.1 brought -v.
_TIMEIT_OPTIONS: Final = "n:r:tcp:qov:" if IPython.version_info >= (9, 1) else "n:r:tcp:qo"
# Since IPython 9.3 %time has a parser: for --no-raise-error.
_TIME_PARSER: Final = getattr(ExecutionMagics.time, "parser", None)

SendHome = Callable[[ast.Module], ast.Module]


if sys.platform == "linux":
    from resource import RUSAGE_THREAD, getrusage

    def thread_times() -> tuple[float, ...]:
        """Seconds of CPU time of the calling thread: all, and the system's part of it."""
        # What getrusage gives for both is only brought up to date every few milliseconds.
        return time.thread_time(), getrusage(RUSAGE_THREAD).ru_stime

else:

    def thread_times() -> tuple[float, ...]:
        """Seconds of CPU time of the calling thread, which only Linux divides."""
        return (time.thread_time(),)


def awaited(magics: Magics, send_home: SendHome) -> Awaited:
    """
    The magics of this module, for one shell.

    Args:
        magics: any magics of the shell's; they know how to read options.
        send_home: turns what is IPython's own in code, in place or not, so that
            it runs in the thread that the cell was typed in.
    """
    shell = cast(InteractiveShell, magics.shell)
    for_time = Time(shell, send_home)
    for_timeit = Timeit(shell, send_home, magics.parse_options)
    return {
        ("line", "time"): for_time,
        ("cell", "time"): for_time,
        ("line", "timeit"): for_timeit,
        ("cell", "timeit"): for_timeit,
    }


class _Code:
    """How timed code is read: as IPython reads it, and sent home where it is IPython's own."""

    def __init__(self, shell: InteractiveShell, send_home: SendHome) -> None:
        self.shell = shell
        self._send_home = send_home
        self.seconds_parsing = 0.0
        self.seconds_compiling = 0.0

    def parse(self, text: str) -> ast.Module:
        """The statements of transformed text."""
        began = time.thread_time()
        tree = self.shell.compile.ast_parse(text)
        self.seconds_parsing += time.thread_time() - began
        return self._send_home(self.shell.transform_ast(tree))

    def compile(self, tree: ast.Module | ast.Expression, name: str) -> CodeType:
        """Code that may await."""
        mode = "eval" if isinstance(tree, ast.Expression) else "exec"
        compiler: Any = self.shell.compile
        began = time.thread_time()
        with compiler.extra_flags(_AWAIT):
            code: CodeType = compiler(tree, name, mode)
        self.seconds_compiling += time.thread_time() - began
        return code


# ---- %time


class Time:
    """
    ``%time`` and ``%%time``; see `_awaited_magics.AwaitedMagic`.

    Args:
        shell: the shell.
        send_home: see `awaited`.
        cpu: gives seconds of CPU time: all, and the system's part if that is known.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        send_home: SendHome,
        cpu: Callable[[], tuple[float, ...]] = thread_times,
    ) -> None:
        self._shell = shell
        self._send_home = send_home
        self._cpu = cpu

    def awaits(self, line: str, cell: str | None) -> bool:
        """Whether the code awaits; False too for a line that IPython refuses."""
        try:
            _, code = _time_options(line)
        except UsageError:
            return False
        if cell is not None and code:
            return False
        return code_awaits(self._shell, code if cell is None else cell)

    async def run(self, line: str, cell: str | None) -> Any:
        """Run the code, print what it took; the value of the last expression."""
        quiet, code = _time_options(line)
        timed = await at_home(lambda: self._compiled(code if cell is None else cell))
        wall, cpu = time.perf_counter(), self._cpu()
        try:
            value = await self._value(timed.codes)
        except (Exception, CancelledError, KeyboardInterrupt) as error:
            print(timed.report(time.perf_counter() - wall, _since(cpu, self._cpu())))
            if quiet and isinstance(error, Exception):
                return None
            raise
        print(timed.report(time.perf_counter() - wall, _since(cpu, self._cpu())))
        return None if timed.silent else value

    async def _value(self, codes: list[CodeType]) -> Any:
        value: Any = None
        for code in codes:
            value = eval(code, self._shell.user_global_ns, self._shell.user_ns)
            if is_async(code):
                value = await value
        return value

    def _compiled(self, code: str) -> _Timed:
        """In the thread that the cell was typed in."""
        reading = _Code(self._shell, self._send_home)
        text = self._shell.transform_cell(code)
        trees = _statements_and_value(reading.parse(text).body)
        name = "<timed eval>" if isinstance(trees[0], ast.Expression) else "<timed exec>"
        return _Timed(
            [reading.compile(tree, name) for tree in trees],
            reading,
            DisplayHook.semicolon_at_end_of_expression(text),
        )


@dataclass(frozen=True, slots=True)
class _Timed:
    """
    Code for %time.

    Attributes:
        codes: to be evaluated in turn; the last one gives the value.
        reading: knows what reading the code took.
        silent: whether the code ends in a semicolon.
    """

    codes: list[CodeType]
    reading: _Code
    silent: bool

    def report(self, wall: float, cpu: tuple[float, ...]) -> str:
        """IPython's lines, for seconds of each kind."""
        lines = [f"CPU times: {_cpu_times(*cpu)}", f"Wall time: {_format_time(wall)}"]
        if self.reading.seconds_compiling > _LONG:
            lines.append(f"Compiler : {_format_time(self.reading.seconds_compiling)}")
        if self.reading.seconds_parsing > _LONG:
            lines.append(f"Parser   : {_format_time(self.reading.seconds_parsing)}")
        return "\n".join(lines)


def _cpu_times(total: float, system: float | None = None) -> str:
    words = f"total: {_format_time(total)}"
    if system is None:
        return words
    # The two come from different clocks.
    system = min(system, total)
    return f"user {_format_time(total - system)}, sys: {_format_time(system)}, {words}"


def _time_options(line: str) -> tuple[bool, str]:
    """Whether exceptions are not to be raised, and the code.

    Raises:
        UsageError: IPython would refuse the line.
    """
    if _TIME_PARSER is None:
        return False, line
    options, words = _TIME_PARSER.parse_known_args(arg_split(line, strict=False))
    if not options.no_raise_error:
        # The words put together again would not be what was typed.
        return False, line
    return True, " ".join(words)


def _statements_and_value(body: list[ast.stmt]) -> list[ast.Module | ast.Expression]:
    """Statements, divided as IPython does, so that a last expression gives its value."""
    last = body[-1]
    if not isinstance(last, ast.Expr):
        return [ast.Module(body, [])]
    if len(body) == 1:
        return [ast.Expression(last.value)]
    return [ast.Module(body[:-1], []), ast.Expression(last.value)]


def _since(before: tuple[float, ...], now: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(end - begin for begin, end in zip(before, now, strict=True))


# ---- %timeit

# Seconds that a number of rounds took, by a clock.
_Loop = Callable[[Iterator[None], Callable[[], float]], Awaitable[float]]

_LOOP: Final = """
async def inner(_it, _timer):
    setup
    _t0 = _timer()
    for _i in _it:
        stmt
    _t1 = _timer()
    return _t1 - _t0
"""


class Timeit:
    """
    ``%timeit`` and ``%%timeit``; see `_awaited_magics.AwaitedMagic`.

    Args:
        shell: the shell.
        send_home: see `awaited`.
        parse_options: `Magics.parse_options`.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        send_home: SendHome,
        parse_options: Callable[..., tuple[Any, Any]],
    ) -> None:
        self._shell = shell
        self._send_home = send_home
        self._parse_options = parse_options

    def awaits(self, line: str, cell: str | None) -> bool:
        """Whether the statement or the setup awaits; False too for a line that IPython refuses."""
        try:
            _, code = self._options(line)
        except UsageError:
            return False
        codes = [code] if cell is None else [code, cell]
        return any(code_awaits(self._shell, one) for one in codes)

    async def run(self, line: str, cell: str | None) -> TimeitResult | None:
        """Time the statement and print it; the result with -o."""
        options, code = self._options(line)
        clock = _clock(options)
        repeat = int(options.get("r", _REPEAT))
        precision = int(options.get("p", 3))
        number = int(options.get("n", 0))
        loop, seconds_compiling = await at_home(lambda: self._compiled(code, cell))
        number = number or await _enough_rounds(loop, clock)
        runs = [await _seconds(loop, number, clock) for _ in range(repeat)]
        best, worst = min(runs) / number, max(runs) / number
        result = TimeitResult(number, repeat, best, worst, runs, seconds_compiling, precision)
        if "q" not in options:
            print(_report(result))
        if "v" in options:
            self._shell.user_ns[options.v] = result
        return result if "o" in options else None

    def _options(self, line: str) -> tuple[Any, str]:
        return self._parse_options(
            line, _TIMEIT_OPTIONS, posix=False, strict=False, preserve_non_opts=True
        )

    def _compiled(self, code: str, cell: str | None) -> tuple[_Loop, float]:
        """The loop, and seconds it took to compile.  In the thread that the cell was typed in."""
        setup, stmt = ("pass", code) if cell is None else (code, cell)
        trees = []
        for name, text in (("setup", setup), ("stmt", stmt)):
            reading = _Code(self._shell, self._send_home)
            trees.append(reading.parse(self._shell.transform_cell(text)))
            # What is no Python by itself may become some in a function.
            reading.compile(trees[-1], f"<magic-timeit-{name}>")
        reading = _Code(self._shell, self._send_home)
        function = reading.compile(_loop(*trees), "<magic-timeit>")
        names: dict[str, Any] = {}
        exec(function, self._shell.user_ns, names)
        return names["inner"], reading.seconds_compiling


def _loop(setup: ast.Module, stmt: ast.Module) -> ast.Module:
    """The function that runs ``stmt`` in a loop after ``setup``."""
    module = ast.parse(_LOOP)
    [function] = module.body
    assert isinstance(function, ast.AsyncFunctionDef)
    rounds = function.body[2]
    assert isinstance(rounds, ast.For)
    rounds.body = stmt.body
    function.body[:1] = setup.body
    return ast.fix_missing_locations(module)


def _clock(options: Any) -> Callable[[], float]:
    if "c" in options:
        return time.thread_time
    return time.time if "t" in options else timeit.default_timer


async def _enough_rounds(loop: _Loop, clock: Callable[[], float]) -> int:
    """How many rounds take long enough, as IPython finds it out."""
    number = 1
    while await _seconds(loop, number, clock) < _ENOUGH and number < _MOST:
        number *= 10
    return number


async def _seconds(loop: _Loop, number: int, clock: Callable[[], float]) -> float:
    """Seconds that a number of rounds took."""
    # A statement that never has to wait would hold the reactor for all runs.
    await deferLater(start().reactor, 0)
    collects = gc.isenabled()
    gc.disable()
    try:
        return await loop(itertools.repeat(None, number), clock)
    finally:
        if collects:
            gc.enable()


def _report(result: TimeitResult) -> str:
    """IPython's lines."""
    lines = [str(result)]
    # Not where dividing would fail, nor below a microsecond, where it says nothing.
    if result.worst > 4 * result.best > 0 and result.worst > 1e-6:
        lines.insert(
            0,
            f"The slowest run took {result.worst / result.best:0.2f} times longer than the "
            "fastest. This could mean that an intermediate result is being cached.",
        )
    if result.compile_time > _LONG:
        lines.append(f"Compiler time: {result.compile_time:.2f} s")
    return "\n".join(lines)
