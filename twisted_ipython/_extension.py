"""
The pieces, hung on one shell, and taken off it.

Runs in the thread that runs the shell's cells.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import copy_context
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from IPython.core.completer import CompletionContext, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

from twisted_ipython import _results as results
from twisted_ipython._base.frames import labels_of
from twisted_ipython._base.instance import override
from twisted_ipython._base.running_loop import loop_of_thread
from twisted_ipython._base.work_id import CellNumbers
from twisted_ipython._cells.await_magics import AddAwaits
from twisted_ipython._display import figures
from twisted_ipython._display.late_output import is_for_program, telling_on
from twisted_ipython._failures import asyncio_errors, namespace
from twisted_ipython._failures.handlers import last_resort
from twisted_ipython._failures.reports import GRACE, reports
from twisted_ipython._failures.show import showing_on
from twisted_ipython._magics import sockets
from twisted_ipython._magics.awaitable import awaitable
from twisted_ipython._magics.magics import TwistedMagics, give_body
from twisted_ipython._magics.runner import runner
from twisted_ipython._magics.settings import Settings
from twisted_ipython._plain import sharing
from twisted_ipython._reactor import lifecycle
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts import reactor_run
from twisted_ipython._scripts.registry import Scripts
from twisted_ipython._waiting import stdin
from twisted_ipython._waiting.calls import main_thread

# The shells that have the extension, for who loads it again, which `%load_ext` allows.
_loaded: WeakKeyDictionary[InteractiveShell, _Extension] = WeakKeyDictionary()


def load(shell: InteractiveShell) -> None:
    """Start the reactor thread, put the extension on a shell; twice is as once.  Thread: cell."""
    extension = _loaded.get(shell)
    if extension is not None:
        extension.magics.auto.stay()
        return
    extension = _loaded[shell] = _Extension(shell)
    thread = lifecycle.current()
    sharing.attach(thread, on=extension.magics.share_reactor)
    if thread.remark:
        print(thread.remark)
    if extension.magics.autoawait:
        extension.magics.switch_autoawait("twisted")


def attach(thread: ReactorThread) -> None:
    """Set on the reactor what all shells share; a second time changes nothing.  Thread: any."""
    thread.attach()
    thread.attach_also(reactor_run.attach)
    thread.attach_also(thread.crawls.attach)
    thread.attach_also(sockets.attach)


def unload(shell: InteractiveShell) -> None:
    """Put a shell back as it was; if one of its cells awaits, after that cell.  Thread: cell."""
    extension = _loaded.get(shell)
    if extension is None:
        return

    def close() -> None:
        thread = lifecycle.started()
        if _loaded.pop(shell, None) is not None:
            if not _loaded and thread is not None:
                thread.of(Scripts).end_and_wait()
            extension.close()
            for line in thread.jobs.pending_lines() if thread is not None else ():
                print(line)
        if not _loaded and thread is not None:
            sharing.detach(thread)
            thread.detach()

    extension.magics.auto.when_idle(close)


def settings_of_last_load() -> Settings | None:
    """The settings of the shell that loaded the extension last.  Thread: any."""
    return next((one.magics for one in [*_loaded.values()][::-1]), None)


class _Extension:
    """What the extension put on one shell; `close` takes it off."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        with ExitStack() as undo:
            self._undo = undo
            others = _async_kernel_of(shell)
            if others is not None:
                undo.callback(others.prepare(shell))
            undo.callback(_remove_configurables, shell.configurables)
            self.magics = TwistedMagics(shell)
            attach(lifecycle.start(self.magics.reactor))
            self._register_magics()
            for name in ("loop_runner", "autoawait", "trio_runner"):
                undo.callback(setattr, shell, name, getattr(shell, name))
            auto = self.magics.auto
            undo.callback(setattr, auto, "on", False)
            undo.callback(override(lifecycle.current(), {"label": labels_of(shell)}))
            own: dict[str, Any] = auto.methods()
            own["loop_runner_map"] = {**(shell.loop_runner_map or {}), "twisted": (runner, True)}
            undo.callback(override(shell, own))
            self._kernel = getattr(shell, "kernel", None)
            if others is not None:
                self._kernel = others.attach(shell, auto, lifecycle.current(), undo)
            for event in ("pre_execute", "post_execute"):
                self._on(event, main_thread.run)
            self._show_failures()
            self._append(shell.input_transformers_post, give_body)
            awaits = AddAwaits(awaitable(self.magics), lambda: auto.on and shell.autoawait)
            self._append(shell.input_transformers_post, awaits)
            self._append(shell.Completer.custom_matchers, _complete)
            self._reach_main_thread()
            undo.callback(results.attach(shell))
            self._attach_to_kernel()
            self.close = undo.pop_all().close

    def _on(self, event: str, call: Callable[..., Any]) -> None:
        self._shell.events.register(event, call)
        self._undo.callback(self._shell.events.unregister, event, call)

    def _show_failures(self) -> None:
        """Show what fails in the background."""
        thread = lifecycle.current()
        show = showing_on(self._shell, getattr(self._kernel, "publish", None))
        self._undo.callback(last_resort.stay)
        self._undo.callback(reports.add(show, telling_on(self._shell)))
        watch = namespace.Watch(self._shell, reports, thread.loop, thread.call, thread.later)
        self._undo.callback(reports.at_end(watch.check_all))
        self.magics.auto.after_statement = watch.check_statement
        if (loop := loop_of_thread()) is not None:
            self._undo.callback(asyncio_errors.attach(loop, reports, ours=False))
        last_resort.stay()
        numbers = CellNumbers(self._shell)

        def begin_cell(info: ExecutionInfo) -> None:
            last_resort.stay()
            numbers.begin(counted=info.store_history)
            reports.latest = copy_context()

        def end_cell(result: ExecutionResult) -> None:
            watch.check_cell(result)
            if is_for_program(self._shell) and not thread.here():
                with suppress(NotInTime, RuntimeError):  # the reactor is stuck, or has stopped
                    thread.run(reports.show_now).wait(GRACE)
            numbers.end()

        self._undo.callback(numbers.end)
        self._on("pre_run_cell", begin_cell)
        self._on("post_run_cell", end_cell)

    def _append(self, hooks: list[Any], hook: Any) -> None:
        hooks.append(hook)
        self._undo.callback(hooks.remove, hook)

    def _register_magics(self) -> None:
        manager = self._shell.magics_manager
        ours = self.magics.magics
        for kind, table in manager.magics.items():
            for name in ours[kind]:
                # IPython 9.18 keeps placeholders until a magic is looked for.
                found = manager.find(kind, name) if hasattr(manager, "find") else None
                before = found or table.get(name)
                self._undo.callback(_put_back, table, name, before, ours[kind][name])
        self._undo.callback(manager.registry.pop, "TwistedMagics", None)
        manager.register(self.magics)

    def _reach_main_thread(self) -> None:
        """Have the main thread run what waits for it while the shell idles."""
        loop = getattr(self._kernel, "io_loop", None)
        application = getattr(getattr(self._shell, "pt_app", None), "app", None)
        if loop is not None:
            self._undo.callback(main_thread.woken_by(lambda: loop.add_callback(main_thread.run)))
        elif application is not None:
            draws = application.before_render
            draws.add_handler(_run_later_calls_soon)  # at each prompt too, so that none is missed
            self._undo.callback(draws.remove_handler, _run_later_calls_soon)
            self._undo.callback(main_thread.woken_by(application.invalidate))

    def _attach_to_kernel(self) -> None:
        """Have a kernel's messages belong to the cell that asked, and its questions be asked."""
        shell, kernel, undo, thread = self._shell, self._kernel, self._undo, lifecycle.current()
        undo.callback(figures.attach(shell))
        undo.callback(stdin.attach(kernel))
        if kernel is None:
            return
        from twisted_ipython._display import kernel_messages
        from twisted_ipython._kernels.ipykernel import NO_ANSWER, answers
        from twisted_ipython._kernels.ipykernel import attach as attach_to_ipykernel

        undo.callback(kernel_messages.attach(shell, kernel, thread.works_here, thread.loop))
        for attach_to in (attach_to_ipykernel, sharing.attach_to_kernel):
            undo.callback(attach_to(kernel))
        if not answers(kernel):
            print(NO_ANSWER)


def _async_kernel_of(shell: InteractiveShell) -> ModuleType | None:
    """What joins async-kernel, which is imported for its shells only."""
    if not hasattr(shell, "transform_cell_async"):
        return None
    from twisted_ipython._kernels import async_kernel

    return async_kernel


@context_matcher(identifier="twisted_ipython")  # type: ignore[untyped-decorator]  # a partial
def _complete(context: CompletionContext) -> SimpleMatcherResult:
    """What `_magics.completion` offers, which the first Tab imports.  Thread: cell."""
    from twisted_ipython._magics.completion import complete

    return complete(context)


def _run_later_calls_soon(application: Any) -> None:
    """After the drawing, in the prompt's loop."""
    application.loop.call_soon(main_thread.run)


def _remove_configurables(configurables: list[Any]) -> None:
    configurables[:] = [one for one in configurables if not isinstance(one, TwistedMagics)]


def _put_back(table: dict[str, Any], name: str, before: Any, ours: Any) -> None:
    """Put back the magic that was there; one that somebody registered later stays."""
    if table.get(name) is not ours:
        return
    if before is None:
        del table[name]
    else:
        table[name] = before
