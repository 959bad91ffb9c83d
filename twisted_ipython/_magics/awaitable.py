"""
Magics that wait, as awaiting cells, which keep a kernel alive.

In shells that do not await, the magics themselves wait, blocking.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final

from IPython.core.error import UsageError

from twisted_ipython._cells.await_magics import Awaited, AwaitedMagic, Kind
from twisted_ipython._cells.statements import send_to_cell_thread
from twisted_ipython._magics.magics import TwistedMagics
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import in_cell_thread

__all__ = ["awaitable"]

# So many frames up there is none: IPython then looks names up in the namespace only.
_NO_FRAME: Final = 1_000_000


def awaitable(magics: TwistedMagics) -> Awaited:
    """The magics of one shell that wait.  Thread: cell."""
    found: dict[tuple[Kind, str], AwaitedMagic] = {
        ("cell", "run_in_reactor"): _RunAndWait(magics),
        ("line", "reactor"): _WaitForJob(magics),
    }
    for name, make in (("time", _time), ("timeit", _timeit)):
        timed = _Timed(partial(make, magics))
        found |= {("line", name): timed, ("cell", name): timed}
    return found


def _time(magics: TwistedMagics) -> AwaitedMagic:
    from twisted_ipython._magics.time_magic import Time

    return Time(magics.shell, send_to_cell_thread)


def _timeit(magics: TwistedMagics) -> AwaitedMagic:
    from twisted_ipython._magics.timeit_magic import Timeit

    return Timeit(magics.shell, send_to_cell_thread, magics.parse_options)


class _Timed:
    """`%time` or `%timeit`, which take a while to import: when one is first used."""

    def __init__(self, make: Callable[[], AwaitedMagic]) -> None:
        self._make = make

    @cached_property
    def _magic(self) -> AwaitedMagic:
        return self._make()

    def awaits(self, line: str, cell: str | None) -> bool:
        """See `_cells.await_magics.AwaitedMagic`."""
        return self._magic.awaits(line, cell)

    async def run(self, line: str, cell: str | None) -> Any:
        """See `_cells.await_magics.AwaitedMagic`."""
        return await self._magic.run(line, cell)


class _RunAndWait:
    """`%%run_in_reactor` with ``--wait`` or ``--replace``."""

    def __init__(self, magics: TwistedMagics) -> None:
        self._magics = magics

    def awaits(self, line: str, cell: str | None) -> bool:
        """See `_cells.await_magics.AwaitedMagic`."""
        try:
            return cell is not None and self._magics.background.options(line).waits
        except UsageError:
            return False  # the magic itself says what is wrong

    async def run(self, line: str, cell: str | None) -> Any:
        """See `_cells.await_magics.AwaitedMagic`."""
        run = self._magics.background.options(line)
        begin = await in_cell_thread(lambda: self._magics.background.prepare(run, cell or ""))
        return await self._magics.background.finish(run, cell or "", begin)


class _WaitForJob:
    """`%reactor wait` and `%reactor output`."""

    def __init__(self, magics: TwistedMagics) -> None:
        self._magics = magics

    def awaits(self, line: str, cell: str | None) -> bool:
        """See `_cells.await_magics.AwaitedMagic`."""
        from twisted_ipython._magics.reactor_command import must_wait

        return cell is None and must_wait(line)

    async def run(self, line: str, cell: str | None) -> Any:
        """See `_cells.await_magics.AwaitedMagic`."""
        from twisted_ipython._magics.reactor_command import wait_for_job

        assert cell is None
        expanded = await in_cell_thread(lambda: self._magics.shell.var_expand(line, _NO_FRAME))
        return await wait_for_job(current(), expanded)
