"""
Magics that wait, as awaiting cells, which keep a kernel alive.

In shells that do not await, the magics themselves wait, blocking.

Thread: cell; what is awaited, reactor.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from IPython.core.error import UsageError

from twisted_ipython._cells.await_magics import Awaited, AwaitedMagic
from twisted_ipython._magics.magics import TwistedMagics, must_wait
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import in_cell_thread

# So many frames up there is none: IPython then looks names up in the namespace only.
_NO_FRAME: Final = 1_000_000


def awaitable(magics: TwistedMagics) -> Awaited:
    """The magics of one shell that wait.  Thread: cell."""
    found = {
        ("cell", "run_in_reactor"): AwaitedMagic(
            partial(_waits_for, magics), partial(_run, magics)
        ),
        ("line", "reactor"): AwaitedMagic(
            lambda line, _: must_wait(line), partial(_wait_for_job, magics)
        ),
    }
    for name in ("time", "timeit"):
        found["line", name] = found["cell", name] = _timed(magics, name)
    return found


def _timed(magics: TwistedMagics, name: str) -> AwaitedMagic:
    """`%time` or `%timeit`, which take a while to import: when one is used."""

    def timing() -> Any:
        from twisted_ipython._magics.timing import Time, Timeit

        is_time = name == "time"
        return Time(magics.shell) if is_time else Timeit(magics.shell, magics.parse_options)

    return AwaitedMagic(lambda *code: timing().awaits(*code), lambda *code: timing().run(*code))


def _waits_for(magics: TwistedMagics, line: str, cell: str | None) -> bool:
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
    from twisted_ipython._magics.reactor_wait import wait_for_job

    expanded = await in_cell_thread(lambda: magics.shell.var_expand(line, _NO_FRAME))
    return await wait_for_job(current(), expanded)
