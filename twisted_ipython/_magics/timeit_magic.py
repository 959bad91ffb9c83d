"""
``%timeit`` of code that awaits; with IPython's options and in its words.

The statement becomes the body of a loop in a coroutine function, as IPython's
own becomes that of a function.
"""

from __future__ import annotations

import ast
import gc
import itertools
import time
import timeit
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import IPython
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magics.execution import TimeitResult
from twisted.internet.task import deferLater

from twisted_ipython._cells.await_magics import code_awaits
from twisted_ipython._magics.time_magic import SendToCellThread, TimedCode, is_long
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import in_cell_thread

__all__ = ["Timeit"]

# Seconds that %timeit's loop has to take for its number of rounds to do.
_ENOUGH: Final = 0.2
_MOST: Final = 10**9
# How often %timeit does it: IPython's max(timeit.default_repeat, 7).
_REPEAT: Final = 7
# IPython 9.1 brought -v.
_TIMEIT_OPTIONS: Final = "n:r:tcp:qov:" if IPython.version_info >= (9, 1) else "n:r:tcp:qo"

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
    ``%timeit`` and ``%%timeit``; see `_cells.await_magics.AwaitedMagic`.

    Args:
        shell: the shell.
        send_to_cell_thread: turns what is IPython's own in code, in place or not, so that
            it runs in the cell thread.
        parse_options: `Magics.parse_options`.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        send_to_cell_thread: SendToCellThread,
        parse_options: Callable[..., tuple[Any, Any]],
    ) -> None:
        self._shell = shell
        self._send_to_cell_thread = send_to_cell_thread
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
        loop, seconds_compiling = await in_cell_thread(lambda: self._compiled(code, cell))
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
            reading = TimedCode(self._shell, self._send_to_cell_thread)
            trees.append(reading.parse(self._shell.transform_cell(text)))
            # What is no Python by itself may become some in a function.
            reading.compile(trees[-1], f"<magic-timeit-{name}>")
        reading = TimedCode(self._shell, self._send_to_cell_thread)
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
    await deferLater(current().reactor, 0)
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
    if is_long(result.compile_time):
        lines.append(f"Compiler time: {result.compile_time:.2f} s")
    return "\n".join(lines)
