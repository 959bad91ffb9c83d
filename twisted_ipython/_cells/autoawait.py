"""
The cut through IPython's way of running a cell.

Events, history, compiling, display and tracebacks stay where IPython does them.
Only the user's statements go to the reactor thread, all in one hop:
`run_ast_nodes` waits for them, and runs a statement of ours that has the cell's
value or raises what the cell raised.  `run_code` is looked up for each
statement, so that a wrapper there takes effect in the cell that loads the
extension.

Thread: cell, but for `AutoAwait._evaluate`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token, copy_context
from types import CodeType
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.frames import labels_of
from twisted_ipython._base.running_loop import is_switched, put_back
from twisted_ipython._base.switch_interval import BRIEF, turns_of
from twisted_ipython._base.tracebacks import is_of_cell, tidy
from twisted_ipython._base.variables import Variables
from twisted_ipython._base.work_id import cell_number, current_work
from twisted_ipython._cells import placeholder, plain_cell, statements
from twisted_ipython._cells.file import run_file
from twisted_ipython._cells.start import reactor_thread
from twisted_ipython._cells.statements import Statements
from twisted_ipython._failures.reports import mark_shown
from twisted_ipython._failures.running_cell import RunningCell
from twisted_ipython._reactor.lifecycle import stay_installed
from twisted_ipython._scripts.notes import explain_in
from twisted_ipython._waiting.awaiting_cell import AwaitingCell
from twisted_ipython._waiting.calls import main_thread
from twisted_ipython._waiting.cell_thread import CellThread, is_blocking
from twisted_ipython._waiting.loop_thread import current_thread
from twisted_ipython._waiting.sigint import pass_on
from twisted_ipython._waiting.work import CellInfo

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
# IPython's own runner for asyncio, by which a kernel knows that it may await a cell.
_ASYNCIO: Final = InteractiveShell.loop_runner_map["asyncio"][0]


class AutoAwait:
    """
    Awaiting cells of one shell.

    Args:
        shell: the shell.
        timeout: gives the time limit of a cell in seconds, or None.
        runner: our runner, which `switch_on` sets.
        statement: what each statement of a plain cell runs within.
        end_cell: is called with the number of each plain cell that has ended.

    Attributes:
        after_statement: is called with the code of each statement that has run, and its cell.
        thread_of_cell: gives the thread that waits for a cell.
        left: whether the awaits of who asks are the kernel's.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        timeout: Callable[[], float | None],
        runner: Callable[[Coroutine[Any, Any, Any]], Any],
        statement: Callable[[], AbstractContextManager[object]],
        end_cell: Callable[[int], None],
    ) -> None:
        self.shell = shell
        self.timeout = timeout
        self.runner = runner
        self._statement = statement
        self._end_cell = end_cell
        self.after_statement: Callable[[CodeType, RunningCell], None] = lambda _code, _cell: None
        self.thread_of_cell: Callable[[], CellThread] = current_thread
        self.left: Callable[[], bool] = lambda: False
        self.on, self.awaiting = False, 0
        self._variables = Variables()
        self._when_idle: list[Callable[[], None]] = []
        self._trio_runner: Any = None
        own = vars(shell)
        self._set_before = {name: own[name] for name in self.methods() if name in own}

    # ---- on the shell, and off it

    def methods(self) -> dict[str, Callable[..., Any]]:
        """What takes the place of the shell's own methods, on this instance.  Thread: cell."""
        return {
            "run_ast_nodes": self.run_ast_nodes,
            "run_code": self.run_code,
            "safe_execfile": self.safe_execfile,
            "showtraceback": self.showtraceback,
        }

    def _own(self, name: str) -> Any:
        """The shell's own method: as it was set on the shell, or as its class has it now."""
        if name in self._set_before:
            return self._set_before[name]
        own = getattr(type(self.shell), name)
        return own.__get__(self.shell) if hasattr(own, "__get__") else own

    def switch_on(self) -> None:
        """Have top-level awaits run in the reactor thread.  Thread: cell."""
        shell = self.shell
        # ipykernel's loop turns during a cell for asyncio's runner only.
        in_kernel = getattr(shell, "kernel", None) is not None
        shell.loop_runner = _ASYNCIO if in_kernel else self.runner
        # In spite of its name this runs every cell of run_cell(), awaiting or not.  In a kernel
        # that is a nested cell, which cannot use the loop that turns.
        if shell.trio_runner is not self.runner:
            self._trio_runner = shell.trio_runner
            shell.set_trio_runner(self.runner)
        shell.autoawait = True
        self.on = True

    def switch_off(self) -> None:
        """Leave awaits to another runner; the caller sets `loop_runner`.  Thread: cell."""
        self.on = False
        if self.shell.trio_runner is self.runner:
            self.shell.set_trio_runner(self._trio_runner)

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call ``call`` at once, or after the cells that are awaiting.  Thread: cell."""
        if self.awaiting:
            self._when_idle.append(call)
        else:
            call()

    def stay(self) -> None:
        """Forget what was to be called after the cells that are awaiting.  Thread: cell."""
        self._when_idle.clear()

    # ---- in place of the shell's methods

    async def run_ast_nodes(
        self,
        nodelist: list[ast.stmt],
        cell_name: str,
        interactivity: str = "last_expr",
        compiler: Any = compile,
        result: Any = None,
    ) -> bool | None:
        """`InteractiveShell.run_ast_nodes`; an awaiting cell's statements go off.  Thread: cell."""
        own: Callable[..., Coroutine[Any, Any, bool | None]] = self._own("run_ast_nodes")
        text = getattr(getattr(result, "info", None), "transformed_cell", None)  # IPython 9.6
        if text is None or "await" in text or "async" in text:  # most need not be read
            made = self._prepared(nodelist, cell_name, interactivity, compiler)
            if made is not None and made.codes:
                return await self._wait_for(made, cell_name, compiler, result)
        with plain_cell.of_nodes(nodelist, cell_name) as plain:
            context = self._variables.begin()  # `_failures.origin` looks for one of this name
            nested = is_switched()
            try:
                raised = await own(nodelist, cell_name, interactivity, compiler, result)
                plain.raised = bool(raised)
            finally:
                if not nested:
                    put_back()  # a Ctrl-C may have come between
                self._end_cell(current_work().work)
                self._variables.end(context, copy_context())
        return raised and not plain.exited

    async def _wait_for(self, made: Statements, cell_name: str, compiler: Any, result: Any) -> bool:
        """Have statements run in the reactor thread; then our own has their result."""
        source = "" if result is None else result.info.raw_cell
        token = self._send(lambda cell: self._evaluate(cell, made), source)
        try:
            await placeholder.running().wait_quietly()
            code = placeholder.RESULT["single" if made.shows else "exec"]
            if await self.shell.run_code(code, result):
                return True
            own, rest = self._own("run_ast_nodes"), made.rest  # which does not compile, as is shown
            return bool(rest and await own(rest, cell_name, "none", compiler, result))
        finally:
            made.running.end()
            self._forget(token)

    def _prepared(
        self, nodelist: list[ast.stmt], cell_name: str, interactivity: str, compiler: Any
    ) -> Statements | None:
        """What the reactor thread is to run, if the cell awaits and that is our matter."""
        reading = statements.read(nodelist) if self._active() and self.shell.autoawait else None
        if reading is None or not reading.awaits:
            return None
        nodes, shown = statements.split(nodelist, interactivity)
        with compiler.extra_flags(_AWAIT):
            return statements.prepare(nodes, shown, reading.language, cell_name, compiler)

    async def run_code(
        self, code_obj: CodeType, result: Any = None, *, async_: bool = False
    ) -> Any:
        """`run_code`, for a statement after one that switched awaiting on.  Thread: cell."""
        active, own = self._active(), self._own("run_code")
        if not active or not async_ or statements.awaits_magic(code_obj):
            shares = active and not async_  # then nothing is awaited inside
            try:
                with self._statement() if shares else nullcontext():
                    failed = await own(code_obj, result, async_=async_)
            except plain_cell.Exited as exited:
                failed = True
                if result is not None:
                    result.error_in_exec = exited.error
            finally:
                stay_installed()
            if shares and not failed:
                sigint.end_statement()
            cell = plain_cell.current_cell()
            if cell is not None:
                self.after_statement(code_obj, cell.running)
            return failed
        token = self._send(lambda _: placeholder.evaluate_shown(self.shell, code_obj))
        try:
            return await own(placeholder.RUN["single"], result, async_=True)
        finally:
            self._forget(token)

    def safe_execfile(self, fname: Any, *where: Any, **options: Any) -> None:
        """`InteractiveShell.safe_execfile`: ``%run``, and IPython's own FILE.  Thread: cell."""
        run_file(self._own("safe_execfile"), self._statement, fname, *where, **options)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`InteractiveShell.showtraceback`, with the user's frames only.  Thread: cell."""
        sigint.delivered()
        error = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        if isinstance(error, SystemExit):
            plain_cell.show_exit(error, self.showtraceback)
        if isinstance(error, BaseException):
            plain_cell.note_failure()
            mark_shown(error)
            if isinstance(error, KeyboardInterrupt) and placeholder.current.get(None) is None:
                pass_on(error)
            explain_in(self.shell, error)
            tidy(error)
            if exc_tuple is not None:
                exc_tuple = (exc_tuple[0], error, error.__traceback__)
            if is_of_cell(error):
                kwargs["running_compiled_code"] = False
        with turns_of(BRIEF):
            return self._own("showtraceback")(exc_tuple, *args, **kwargs)

    # ---- how it is done

    def _active(self) -> bool:
        """Whether awaits go to the reactor thread: switched on, or our runner runs this cell."""
        return (self.on and not self.left()) or is_blocking()

    def _send(
        self, code: Callable[[AwaitingCell], Coroutine[Any, Any, Any]], source: str = ""
    ) -> Token[AwaitingCell]:
        """Have the statement that stands for the cell run ``code`` there, until `_forget`."""
        thread = reactor_thread()
        main_thread.run()
        self._variables.begin()
        shell = self.shell
        typed = CellInfo(cell_number(shell), source, labels_of(shell))
        cell = AwaitingCell(thread, self.thread_of_cell(), code, self.timeout, typed)
        self.awaiting += 1
        return placeholder.current.set(cell)

    def _forget(self, token: Token[AwaitingCell]) -> None:
        cell = placeholder.current.get()
        self._variables.end(cell.before, cell.context)
        self.awaiting -= 1
        placeholder.current.reset(token)
        while self._when_idle and not self.awaiting:
            self._when_idle.pop(0)()

    async def _evaluate(self, cell: AwaitingCell, made: Statements) -> Any:
        """Run the statements.  Thread: reactor."""
        shell, value = self.shell, None
        for code in made.codes:
            cell.raise_if_ending()
            try:
                value = eval(code, shell.user_global_ns, shell.user_ns)
            except StopIteration as error:
                return cell.fail(error)
            if statements.is_async(code):
                value = await cell.run_statement(value)
            stay_installed()
            self.after_statement(code, made.running)
        return value if made.shows else None
