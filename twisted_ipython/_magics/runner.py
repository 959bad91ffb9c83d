"""
The runner: IPython's way to run a coroutine, with its awaits in the reactor thread.

A shell without the extension gets the cut through its cell for as long as the
runner runs one of its cells.

Thread: any but the reactor's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Final, TypeVar

from twisted_ipython._base.instance import override
from twisted_ipython._cells.autoawait import AutoAwait
from twisted_ipython._cells.start import reactor_thread
from twisted_ipython._plain.sharing import Statement, end_cell
from twisted_ipython._private.ipython import shell_of
from twisted_ipython._waiting.awaiting_cell import AwaitingCell
from twisted_ipython._waiting.cell_thread import BlockingThread, run_blocking
from twisted_ipython._waiting.entry import end_entry

_T = TypeVar("_T")


class Runner:
    """
    IPython's way to run a coroutine, with its awaits in the reactor thread.

    This is what ``%autoawait twisted`` sets, and what ``IPython.embed(using=...)`` takes:
    `twisted_ipython.runner`.  The reactor is chosen and started with the first coroutine, or
    with the extension: what imports ``twisted.internet.reactor`` before that chooses it.

    Args:
        timeout: gives the time limit, in seconds or None, of a coroutine that
            is no cell's; a cell has its shell's.
    """

    def __init__(self, timeout: Callable[[], float | None] = lambda: None) -> None:
        self._timeout = timeout

    def __call__(self, coro: Coroutine[Any, Any, _T]) -> _T:
        """
        Run ``coro`` to its end, blocking.

        A coroutine of ``run_cell`` stays in this thread, but for the cell's
        statements; any other one runs in the reactor thread.

        Args:
            coro: the coroutine.

        Returns:
            its result.

        Raises:
            RuntimeError: in the reactor thread, or the reactor was stopped.
            KeyboardInterrupt: Ctrl-C, which cancels what is awaited.
            BaseException: what the coroutine raises.

        Thread: any but the reactor's.
        """
        shell = shell_of(coro)
        if shell is None:
            try:
                thread = reactor_thread()
            except RuntimeError:
                coro.close()
                raise
            cell = AwaitingCell(thread, BlockingThread(), lambda _: coro, self._timeout)
            value: _T = run_blocking(cell.run())
            return value
        try:
            with ExitStack() as undo:
                if not isinstance(getattr(shell.run_ast_nodes, "__self__", None), AutoAwait):
                    auto = AutoAwait(shell, self._timeout, runner, Statement, end_cell)
                    undo.callback(override(shell, auto.methods()))
                return run_blocking(coro)
        finally:
            end_entry()

    def __str__(self) -> str:
        return "twisted"

    def __repr__(self) -> str:
        return "twisted_ipython.runner"


runner: Final = Runner()
