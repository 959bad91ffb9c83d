"""
``%time`` of code that awaits; with IPython's options and in its words.

CPU time is the reactor thread's: it includes what else runs there while the
code waits, and nothing that runs in other threads.  An exception leaves
``%time`` as it leaves IPython 9.18's: after the times are printed.

How timed code is read, and what reading it took, is for ``%timeit`` as well.
"""

from __future__ import annotations

import ast
import sys
import time
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magics.execution import ExecutionMagics
from IPython.utils.process import arg_split  # type: ignore[attr-defined]  # not in an __all__

from twisted_ipython._cells.await_magics import code_awaits
from twisted_ipython._cells.statements import is_async
from twisted_ipython._private.ipython import format_time
from twisted_ipython._waiting.calls import in_cell_thread

__all__ = ["SendToCellThread", "Time", "TimedCode", "is_long", "thread_times"]

# Since IPython 9.3 %time has a parser: for --no-raise-error.
_TIME_PARSER: Final = getattr(ExecutionMagics.time, "parser", None)


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


class Time:
    """
    ``%time`` and ``%%time``; see `_cells.await_magics.AwaitedMagic`.

    Args:
        shell: the shell.
        send_to_cell_thread: turns what is IPython's own in code, in place or not, so that
            it runs in the cell thread.
        cpu: gives seconds of CPU time: all, and the system's part if that is known.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        send_to_cell_thread: SendToCellThread,
        cpu: Callable[[], tuple[float, ...]] = thread_times,
    ) -> None:
        self._shell = shell
        self._send_to_cell_thread = send_to_cell_thread
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
        timed = await in_cell_thread(lambda: self._compiled(code if cell is None else cell))
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
        reading = TimedCode(self._shell, self._send_to_cell_thread)
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
    reading: TimedCode
    silent: bool

    def report(self, wall: float, cpu: tuple[float, ...]) -> str:
        """IPython's lines, for seconds of each kind."""
        lines = [f"CPU times: {_cpu_times(*cpu)}", f"Wall time: {format_time(wall)}"]
        if is_long(self.reading.seconds_compiling):
            lines.append(f"Compiler : {format_time(self.reading.seconds_compiling)}")
        if is_long(self.reading.seconds_parsing):
            lines.append(f"Parser   : {format_time(self.reading.seconds_parsing)}")
        return "\n".join(lines)


def _cpu_times(total: float, system: float | None = None) -> str:
    words = f"total: {format_time(total)}"
    if system is None:
        return words
    # The two come from different clocks.
    system = min(system, total)
    return f"user {format_time(total - system)}, sys: {format_time(system)}, {words}"


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


_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
# Seconds that reading or compiling the code takes before IPython mentions it.
_LONG: Final = 0.1

SendToCellThread = Callable[[ast.Module], ast.Module]


class TimedCode:
    """Reads timed code as IPython does; what is IPython's own goes to the cell thread."""

    def __init__(self, shell: InteractiveShell, send_to_cell_thread: SendToCellThread) -> None:
        self.shell = shell
        self._send_to_cell_thread = send_to_cell_thread
        self.seconds_parsing = 0.0
        self.seconds_compiling = 0.0

    def parse(self, text: str) -> ast.Module:
        """The statements of transformed text."""
        began = time.thread_time()
        tree = self.shell.compile.ast_parse(text)
        self.seconds_parsing += time.thread_time() - began
        return self._send_to_cell_thread(self.shell.transform_ast(tree))

    def compile(self, tree: ast.Module | ast.Expression, name: str) -> CodeType:
        """Code that may await."""
        mode = "eval" if isinstance(tree, ast.Expression) else "exec"
        compiler: Any = self.shell.compile
        began = time.thread_time()
        with compiler.extra_flags(_AWAIT):
            code: CodeType = compiler(tree, name, mode)
        self.seconds_compiling += time.thread_time() - began
        return code


def is_long(seconds: float) -> bool:
    """Whether reading or compiling code took so long that IPython mentions it.  Thread: any."""
    return seconds > _LONG
