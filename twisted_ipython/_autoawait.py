"""
The cut through IPython's way of running a cell, and the runner.

Events, history, compiling, display and tracebacks stay where IPython does them.
Only the user's statements go to the reactor thread, all in one hop: in
`run_ast_nodes`, two statements of ours stand for them: one waits, the other has
the cell's value or raises what the cell raised.  `run_code` is looked up for each
statement, so that a wrapper there takes effect in the cell that loads the
extension.

Everything here runs in the thread in which IPython runs the cell, except
`AutoAwait._evaluate` and `_evaluate_shown`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import CodeType
from typing import Any, Final, TypeVar

from IPython.core.async_helpers import _asyncio_runner
from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._awaiting import AwaitingCell
from twisted_ipython._errands import run_later_calls, show_at_home
from twisted_ipython._home import BlockingHome, home, is_blocking, run_blocking
from twisted_ipython._instance import override
from twisted_ipython._language import Statements, is_async, prepare, read
from twisted_ipython._reactor import ReactorThread, start
from twisted_ipython._report import mark_shown
from twisted_ipython._sigint import pass_on
from twisted_ipython._stack import labels_of
from twisted_ipython._traceback import STUB, explain, is_of_cell, tidy
from twisted_ipython._turns import BRIEF, turns_of
from twisted_ipython._waited import Typed

__all__ = ["AutoAwait", "Runner", "runner"]

_T = TypeVar("_T")

IN_REACTOR_THREAD: Final = (
    "Code that awaits was run in the reactor thread (by run_cell() in a statement of an awaiting"
    " cell), which would then wait for itself for ever. From such a cell, say:"
    " await in_main_thread(get_ipython().run_cell, code)"
)

_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_running: ContextVar[AwaitingCell] = ContextVar("twisted_ipython_running")


def running() -> AwaitingCell:
    """The awaiting cell whose statements ours stand for.  In the home's thread."""
    return _running.get()


def _stub(source: str, *modes: str) -> dict[str, CodeType]:
    source = source.format("__import__('twisted_ipython._autoawait')._autoawait.running()")
    return {mode: compile(source, STUB, mode, flags=_AWAIT, dont_inherit=True) for mode in modes}


# What stands for a cell's statements: it has their value, or raises what they
# raised.  `AutoAwait.run_code` waits for them before it runs this, which does not
# await: a StopIteration that left a coroutine would become a RuntimeError.
_RESULT: Final = _stub("{}.result()", "exec", "single")
# For one statement of a cell.
_RUN: Final = _stub("await {}.run()", "single")


class AutoAwait:
    """
    Awaiting cells of one shell.

    Args:
        shell: the shell.
        timeout: gives the time limit of a cell in seconds, or None.
    """

    def __init__(self, shell: InteractiveShell, timeout: Callable[[], float | None]) -> None:
        self.shell = shell
        self.timeout = timeout
        self.on = False
        self.awaiting = 0
        self._when_idle: list[Callable[[], None]] = []
        self._trio_runner: Any = None
        self._run_ast_nodes: Callable[..., Coroutine[Any, Any, bool | None]] = shell.run_ast_nodes
        self._run_code: Callable[..., Coroutine[Any, Any, bool]] = shell.run_code
        self._showtraceback = shell.showtraceback

    # ---- on the shell, and off it

    def methods(self) -> dict[str, Callable[..., Any]]:
        """What takes the place of the shell's own methods, on this instance."""
        return {
            "run_ast_nodes": self.run_ast_nodes,
            "run_code": self.run_code,
            "showtraceback": self.showtraceback,
        }

    def switch_on(self) -> None:
        """Have top-level awaits run in the reactor thread."""
        shell = self.shell
        # ipykernel keeps its loop turning during a cell for asyncio's runner only;
        # `run_ast_nodes` decides where the cell runs.
        in_kernel = getattr(shell, "kernel", None) is not None
        shell.loop_runner = _asyncio_runner if in_kernel else runner
        # In spite of its name this is what runs every cell of run_cell(), even one
        # that IPython does not recognize as awaiting.  In a kernel that is a nested
        # cell, which cannot use the loop that turns.
        if shell.trio_runner is not runner:
            self._trio_runner = shell.trio_runner
            shell.set_trio_runner(runner)
        shell.autoawait = True
        self.on = True

    def switch_off(self) -> None:
        """Leave awaits to another runner; the shell's `loop_runner` is the caller's to set."""
        self.on = False
        if self.shell.trio_runner is runner:
            self.shell.set_trio_runner(self._trio_runner)

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call ``call`` at once, or after the cells that are awaiting."""
        if self.awaiting:
            self._when_idle.append(call)
        else:
            call()

    def stay(self) -> None:
        """Forget what was to be called after the cells that are awaiting."""
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
        """`InteractiveShell.run_ast_nodes`, with the statements of an awaiting cell sent off."""
        own = self._run_ast_nodes
        reading = read(nodelist) if self._active() and self.shell.autoawait else None
        if reading is None or not reading.awaits:
            return await own(nodelist, cell_name, interactivity, compiler, result)
        thread = _elsewhere()
        nodes, shown = _split(nodelist, interactivity)
        with compiler.extra_flags(_AWAIT):
            made = prepare(nodes, shown, reading.language, cell_name, compiler)
        if not made.codes:
            return await own(nodelist, cell_name, interactivity, compiler, result)
        stand_in = _StandIn(compiler)
        nodes = [stand_in.node, *made.rest]
        interactivity = "last" if made.shows else "none"
        source = "" if result is None else result.info.raw_cell
        token = self._send(thread, lambda cell: self._evaluate(cell, made), source)
        try:
            return await own(nodes, cell_name, interactivity, stand_in, result)
        finally:
            self._forget(token)

    async def run_code(
        self, code_obj: CodeType, result: Any = None, *, async_: bool = False
    ) -> Any:
        """
        `InteractiveShell.run_code`, with an awaiting statement sent off by itself.

        That is for the rest of a cell whose earlier statement switched
        awaiting on: IPython was running it by then.  Magics and commands inside
        of such a statement run in the reactor thread too.
        """
        if code_obj is _RESULT["single"] or code_obj is _RESULT["exec"]:
            await running().wait_quietly()
            async_ = False
        if not async_ or not self._active():
            return await self._run_code(code_obj, result, async_=async_)
        token = self._send(_elsewhere(), lambda _: _evaluate_shown(self.shell, code_obj))
        try:
            return await self._run_code(_RUN["single"], result, async_=True)
        finally:
            self._forget(token)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`InteractiveShell.showtraceback`, with the user's frames only."""
        error = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        if isinstance(error, BaseException):
            mark_shown(error)
            if isinstance(error, KeyboardInterrupt) and _running.get(None) is None:
                pass_on()
            explain(error)
            tidy(error)
            if exc_tuple is not None:
                exc_tuple = (exc_tuple[0], error, error.__traceback__)
            if is_of_cell(error):
                kwargs["running_compiled_code"] = False
        with turns_of(BRIEF):
            return self._showtraceback(exc_tuple, *args, **kwargs)

    # ---- how it is done

    def _active(self) -> bool:
        """Whether awaits go to the reactor thread: switched on, or our runner runs this cell."""
        return self.on or is_blocking()

    def _send(
        self,
        thread: ReactorThread,
        code: Callable[[AwaitingCell], Coroutine[Any, Any, Any]],
        source: str = "",
    ) -> Token[AwaitingCell]:
        """Have the statement that stands for the cell run ``code`` there, until `_forget`."""
        run_later_calls()
        shell = self.shell
        typed = Typed(shell.displayhook.prompt_count, source, labels_of(shell))
        cell = AwaitingCell(thread, home(), code, self.timeout(), typed)
        self.awaiting += 1
        return _running.set(cell)

    def _forget(self, token: Token[AwaitingCell]) -> None:
        self.awaiting -= 1
        _running.reset(token)
        while self._when_idle and not self.awaiting:
            self._when_idle.pop(0)()

    async def _evaluate(self, cell: AwaitingCell, made: Statements) -> Any:
        """Run the statements; in the reactor thread."""
        shell = self.shell
        value = None
        for code in made.codes:
            cell.check()
            try:
                value = eval(code, shell.user_global_ns, shell.user_ns)
            except StopIteration as error:
                return cell.fail(error)
            if is_async(code):
                value = await value
        return value if made.shows else None


async def _evaluate_shown(shell: InteractiveShell, code: CodeType) -> Any:
    """Run a statement that displays values, but return the last one; in the reactor thread."""
    thread = start()
    shown: list[object] = []
    before = sys.displayhook

    def displayhook(value: object) -> None:
        if thread.here():
            shown.append(value)
        else:
            before(value)

    sys.displayhook = displayhook
    try:
        await eval(code, shell.user_global_ns, shell.user_ns)
    finally:
        if sys.displayhook is displayhook:
            sys.displayhook = before
    for value in shown[:-1]:
        await show_at_home(value)
    return shown[-1] if shown else None


class _StandIn:
    """A compiler that gives our statement for its node, and IPython's code for the rest."""

    def __init__(self, compiler: Any) -> None:
        self.node = ast.Expr(ast.Constant(None), lineno=1, col_offset=0)
        self._compiler = compiler
        self.extra_flags = compiler.extra_flags

    def __call__(self, tree: Any, name: str, mode: str) -> CodeType:
        if tree.body[0] is self.node:
            return _RESULT[mode]
        code: CodeType = self._compiler(tree, name, mode)
        return code


_ASSIGNMENTS: Final = (ast.Assign, ast.AugAssign, ast.AnnAssign)


def _split(
    nodes: Sequence[ast.stmt], interactivity: str
) -> tuple[Sequence[ast.stmt], Sequence[ast.stmt]]:
    """The statements to run, and those after them to display, as IPython divides them."""
    if not nodes or interactivity == "none":
        return nodes, []
    if interactivity == "all":
        return [], nodes
    last = nodes[-1]
    if interactivity == "last_expr_or_assign" and isinstance(last, _ASSIGNMENTS):
        targets = last.targets if isinstance(last, ast.Assign) else [last.target]
        if len(targets) == 1 and isinstance(targets[0], ast.Name):
            name = ast.Expr(ast.Name(targets[0].id, ast.Load()))
            return nodes, [ast.fix_missing_locations(ast.copy_location(name, last))]
    if interactivity == "last" or isinstance(last, ast.Expr):
        return nodes[:-1], [last]
    return nodes, []


def _elsewhere() -> ReactorThread:
    """The reactor thread, for a caller in any other."""
    thread = start()
    if thread.here():
        raise RuntimeError(IN_REACTOR_THREAD)
    return thread


class Runner:
    """
    IPython's way to run a coroutine, with its awaits in the reactor thread.

    This is what ``%autoawait twisted`` sets, and what ``IPython.embed(using=...)``
    takes: `twisted_ipython.runner`.  The reactor is chosen and started with the
    first coroutine, or with the extension: what imports
    ``twisted.internet.reactor`` before that chooses it.

    Args:
        timeout: gives the time limit, in seconds or None, of a coroutine that
            is no cell's; a cell has its shell's.
    """

    def __init__(self, timeout: Callable[[], float | None] = lambda: None) -> None:
        self._timeout = timeout

    def __call__(self, coro: Coroutine[Any, Any, _T]) -> _T:
        """
        Run ``coro`` to its end, blocking.  Any thread but the reactor's.

        A coroutine of ``run_cell`` stays in this thread, but for the cell's
        statements; any other one runs in the reactor thread.

        Raises:
            RuntimeError: in the reactor thread, or the reactor was stopped.
            KeyboardInterrupt: Ctrl-C, which cancels what is awaited.
            BaseException: what the coroutine raises.
        """
        shell = _shell_of(coro)
        if shell is None:
            try:
                thread = _elsewhere()
            except RuntimeError:
                coro.close()
                raise
            cell = AwaitingCell(thread, BlockingHome(), lambda _: coro, self._timeout())
            value: _T = run_blocking(cell.run())
            return value
        if _is_cut(shell):
            return run_blocking(coro)
        with _cut(shell, self._timeout):
            return run_blocking(coro)

    def __str__(self) -> str:
        return "twisted"

    def __repr__(self) -> str:
        return "twisted_ipython.runner"


runner: Final = Runner()


def _shell_of(coro: Coroutine[Any, Any, Any]) -> InteractiveShell | None:
    """The shell whose cell this is, not begun; None if it is no cell."""
    code, frame = getattr(coro, "cr_code", None), getattr(coro, "cr_frame", None)
    if code is None or frame is None or code.co_name != "run_cell_async":
        return None
    shell = frame.f_locals.get("self")
    return shell if isinstance(shell, InteractiveShell) else None


def _is_cut(shell: InteractiveShell) -> bool:
    return isinstance(getattr(shell.run_ast_nodes, "__self__", None), AutoAwait)


@contextmanager
def _cut(shell: InteractiveShell, timeout: Callable[[], float | None]) -> Iterator[None]:
    """Within, the awaiting cells of a shell without the extension go to the reactor thread."""
    undo = override(shell, AutoAwait(shell, timeout).methods())
    try:
        yield
    finally:
        undo()
