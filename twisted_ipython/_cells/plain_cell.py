"""
A plain cell, or a file that IPython runs, which may turn out to be a script.

The goal.  A script runs in a plain cell as pasted, again and again.

What fails.  Whether a cell is a script is known when it calls
``reactor.run()``; but what it did before (a timer that stops the reactor, a
shutdown trigger, a log) was already that of a script.

What we do.  Each plain cell, and each file that IPython runs, has a number of
its own in its context, and becomes a script with the first call that makes a
difference.  One that ends without ``reactor.run()`` was none: what it opened
stays, its triggers are the session's, a stop that was kept is nobody's.  If it
failed before it got so far, and its code names what would run the reactor, it
was a script all the same (`_scripts.callers.would_run`), and leaves nothing.

Thread: cell.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import CodeType
from typing import Final, Self

from twisted_ipython._base.tracebacks import in_one_line
from twisted_ipython._base.work_id import NO_WORK, current_work, new_work, set_work
from twisted_ipython._failures.reports import reports
from twisted_ipython._failures.running_cell import RunningCell
from twisted_ipython._reactor.lifecycle import started
from twisted_ipython._scripts.callers import would_run
from twisted_ipython._scripts.registry import Scripts
from twisted_ipython._scripts.thread_script import ThreadScript


class Exited(BaseException):
    """
    Takes IPython past its own handling of the SystemExit of a script.

    Attributes:
        error: what the SystemExit means, which has been shown; None for success.
    """

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(error)
        self.error = error


class PlainCell:
    """
    A plain cell, or a file, for as long as it runs: within ``with``, in its thread.

    Where the reactor has not been started, it changes nothing.

    Args:
        code: gives what is run, if it compiles.
        statements: those of a cell.

    Attributes:
        running: how far its statements are.
        raised: whether it has failed.
        exited: whether it has ended by a SystemExit that means success.
    """

    def __init__(self, code: Callable[[], CodeType], statements: Sequence[ast.stmt] = ()) -> None:
        self.running = RunningCell(statements)
        self.raised = self.exited = False
        self._thread = started()
        self._code = code
        self._ident = threading.get_ident()
        self._before = current_work()
        self._work_id = new_work(self._before.cell)
        self._lock = threading.Lock()
        self._script: ThreadScript | None = None
        self._names_it: bool | None = None

    def __enter__(self) -> Self:
        if self._thread is None:
            return self
        set_work(self._work_id)
        _cells[self._work_id.work] = self
        self._thread.of(Scripts).begin_cell(self._work_id, self._make)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._thread is None:
            return
        try:
            script = self._thread.of(Scripts).end_cell(self._work_id)
            self._end(script is not None, failed=self.raised or error is not None)
        finally:
            _cells.pop(self._work_id.work, None)
            self.running.end()
            # Where its code took the extension off, nothing else will do so.
            set_work(self._before if reports.active else NO_WORK)

    def _make(self) -> ThreadScript:
        """It is a script, or may be one.  Thread: any."""
        with self._lock:
            if self._script is None:
                assert self._thread is not None
                self._script = ThreadScript(
                    self._thread, self._work_id, self._ident, self._would_run
                )
                self._thread.of(Scripts).enter(self._script)
        return self._script

    def _end(self, is_made: bool, *, failed: bool) -> None:
        ran = self._script is not None and self._script.ran
        closes = ran or (failed and self._would_run())
        if not (is_made or closes):
            return
        assert self._thread is not None
        script = self._make()
        script.end(closes=closes, gone=not ran and self._would_run())
        if script.stops is not None and not closes:
            scripts, crash = self._thread.of(Scripts), script.stops == script.crash
            script.run_in_context(partial(_stop_other, scripts, crash=crash))

    def _would_run(self) -> bool:
        """Whether its code names what runs the reactor.  Thread: any."""
        if self._names_it is None:
            try:
                self._names_it = would_run(self._code())
            except (OSError, SyntaxError, ValueError):
                self._names_it = False
        return self._names_it

    def exit(self, error: SystemExit) -> Exited | None:
        """What a SystemExit of its code means; None if it is no script.  Thread: cell."""
        ran = self._script is not None and self._script.ran
        if not (ran or self._would_run()):
            return None
        meant = self._make().exit_of(error)
        self.exited = meant is None
        if meant is not None and meant.__traceback__ is error.__traceback__:
            in_one_line(meant)
        return Exited(meant)


# Those that run, by the numbers of their work.
_cells: Final[dict[int, PlainCell]] = {}


def of_nodes(nodes: list[ast.stmt], name: str) -> PlainCell:
    """A cell that does not await, of that many statements and that name.  Thread: cell."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def code() -> CodeType:
        made: CodeType = compile(
            ast.Module(nodes, []), name, "exec", flags=flags, dont_inherit=True
        )
        return made

    return PlainCell(code, nodes)


def show_exit(error: SystemExit, show: Callable[..., object]) -> None:
    """Show what a SystemExit of a script means, and raise `Exited`; else nothing.  Thread: cell."""
    cell = current_cell()
    exited = None if cell is None else cell.exit(error)
    if exited is not None:
        meant = exited.error
        if meant is not None:
            show((type(meant), meant, meant.__traceback__), tb_offset=0)
        raise exited


def current_cell() -> PlainCell | None:
    """The plain cell or file whose context this is, while it runs."""
    return _cells.get(current_work().work)


def note_failure() -> None:
    """The code of this context has failed, as is shown now.  Thread: cell."""
    cell = current_cell()
    if cell is not None:
        cell.raised = True


def _stop_other(scripts: Scripts, *, crash: bool) -> None:
    """Do what a stop or crash does that came from a cell which turned out to be no script."""
    script = scripts.to_stop(crash=crash)
    if script is not None:
        (script.crash if crash else script.stop)()
