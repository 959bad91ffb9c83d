"""
Magics that wait, as awaiting cells, which keep a kernel alive.

In shells that do not await, the magics themselves wait, blocking.

Thread: cell; what is awaited, reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from IPython.core.error import UsageError

from twisted_ipython._cells.await_magics import Awaited, AwaitedMagic, Kind
from twisted_ipython._cells.statements import send_to_cell_thread
from twisted_ipython._magics.magics import TwistedMagics
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import in_cell_thread

# So many frames up there is none: IPython then looks names up in the namespace only.
_NO_FRAME: Final = 1_000_000


@dataclass(frozen=True)
class _Magic:
    """An `_cells.await_magics.AwaitedMagic`, of two functions."""

    awaits: Callable[[str, str | None], bool]
    run: Callable[[str, str | None], Coroutine[Any, Any, Any]]


def awaitable(magics: TwistedMagics) -> Awaited:
    """The magics of one shell that wait.  Thread: cell."""
    found: dict[tuple[Kind, str], AwaitedMagic] = {
        ("cell", "run_in_reactor"): _Magic(partial(_waits, magics), partial(_run, magics)),
        ("line", "reactor"): _Magic(
            lambda line, _: line.split()[:1] in (["wait"], ["output"]),
            partial(_wait_for_job, magics),
        ),
    }
    for name in ("time", "timeit"):
        timing = partial(_timing, magics, name)
        timed = _Magic(partial(_code_awaits, timing), partial(_time, timing))
        found |= {("line", name): timed, ("cell", name): timed}
    return found


def _timing(magics: TwistedMagics, name: str) -> AwaitedMagic:
    """`%time` or `%timeit`, which take a while to import: when one is used."""
    from twisted_ipython._magics.timing import Time, Timeit

    if name == "time":
        return Time(magics.shell, send_to_cell_thread)
    return Timeit(magics.shell, send_to_cell_thread, magics.parse_options)


def _code_awaits(timing: Callable[[], AwaitedMagic], line: str, cell: str | None) -> bool:
    return timing().awaits(line, cell)


async def _time(timing: Callable[[], AwaitedMagic], line: str, cell: str | None) -> Any:
    return await timing().run(line, cell)


def _waits(magics: TwistedMagics, line: str, cell: str | None) -> bool:
    """Whether `%%run_in_reactor` has ``--wait`` or ``--replace``."""
    try:
        return cell is not None and magics.background.options(line).waits
    except UsageError:
        return False  # the magic itself says what is wrong


async def _run(magics: TwistedMagics, line: str, cell: str | None) -> Any:
    run = magics.background.options(line)
    begin = await in_cell_thread(lambda: magics.background.prepare(run, cell or ""))
    return await magics.background.finish(run, cell or "", begin)


async def _wait_for_job(magics: TwistedMagics, line: str, _: str | None) -> Any:
    from twisted_ipython._magics.reactor_waits import wait_for_job

    expanded = await in_cell_thread(lambda: magics.shell.var_expand(line, _NO_FRAME))
    return await wait_for_job(current(), expanded)
