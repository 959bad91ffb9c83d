"""
A cell of ``%%run_in_reactor``: its options, its function, and the job that it becomes.

Thread: cell, where it is read and compiled; it begins in any.
"""

from __future__ import annotations

import keyword
import unicodedata
from argparse import Namespace
from collections.abc import Callable
from contextvars import Context, copy_context
from types import FunctionType
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from twisted.internet.threads import deferToThreadPool

from twisted_ipython._base.tracebacks import of_cell
from twisted_ipython._base.work_id import cell_number, set_work
from twisted_ipython._bridge.ending import of_generator
from twisted_ipython._cells.cell_function import CellFunction, Kind, rewrite
from twisted_ipython._cells.source import ends_quietly, parse
from twisted_ipython._cells.statements import await_magics
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import Job, first_line
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.notes import LocalNames

RUN_USAGE: Final = (
    "usage: %%run_in_reactor [NAME] [--wait] [--replace] [--thread | --process] [--global]"
)
NOT_A_NAME: Final = "{name!r} cannot be the name of a result; " + RUN_USAGE
ONE_PLACE: Final = (
    "--process cannot stand beside --{other}: the cell runs in a process of its own, whose names"
    " end with it; " + RUN_USAGE
)
REPLACE_WHAT: Final = "--replace needs the NAME whose result is to be replaced; " + RUN_USAGE


class Background:
    """The background cells of one shell; ``parse_line`` reads the line of one."""

    def __init__(self, shell: InteractiveShell, parse_line: Callable[[str], Namespace]) -> None:
        self._shell = shell
        self._parse_line = parse_line

    def options(self, line: str) -> Namespace:
        """The arguments in a line, that itself, and whether the cell ``waits``.  Thread: any."""
        try:
            run = self._parse_line(line)
        except (UsageError, ValueError) as error:
            raise UsageError(f"{error}; {RUN_USAGE}") from None
        run.line, run.waits = line, run.wait or run.replace
        if run.in_process and (run.in_thread or run.as_script):
            raise UsageError(ONE_PLACE.format(other="thread" if run.in_thread else "global"))
        if run.name is None:
            if run.replace:
                raise UsageError(REPLACE_WHAT)
            return run
        # As Python reads it in code: another spelling would be another key.
        name = unicodedata.normalize("NFKC", run.name)
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UsageError(NOT_A_NAME.format(name=run.name))
        run.name = name
        return run

    def prepare(self, run: Namespace, cell: str) -> Callable[[], EventualResult]:
        """Compile the cell; gives what starts it as a job and binds its name.  Thread: any."""
        try:
            function = self._compile(run, cell)
        except SyntaxError as error:
            raise of_cell(error) from None  # to be shown without a traceback
        number = cell_number(self._shell)
        names = self._shell.user_ns
        bound = function.bind(names)
        if run.in_process:
            function, bound = _in_process(function, bound)
        context = copy_context()

        def begin() -> EventualResult:
            job = current().jobs.new(run.name, number, first_line(cell), in_thread=run.in_thread)
            result = start_job(current(), job, bound, function, context)
            if run.name is not None:
                names[run.name] = result
            return result

        return begin

    async def finish(self, run: Namespace, cell: str, begin: Callable[[], EventualResult]) -> Any:
        """Stop what is replaced, begin, and wait if that is asked.  Thread: reactor."""
        names = self._shell.user_ns
        if run.replace and run.name is not None and run.name in names:
            from twisted_ipython._magics.replace import stop

            await stop(current(), run.name, names[run.name])
        result = begin()
        return await result if run.wait else shown(cell, result)

    def _compile(self, run: Namespace, cell: str) -> CellFunction:
        """The cell as a function; a SyntaxError has the lines of the cell as typed."""
        shell = self._shell
        heading = f"%%run_in_reactor {run.line}".rstrip() + "\n"
        # A line in front, or IPython drops blank lines and dedents strings.
        text = shell.transform_cell("#\n" + cell).removeprefix("#\n")
        number = cell_number(shell)
        name = shell.compile.cache(heading + text, number, raw_code=heading + cell)
        flags = shell.compile.flags
        tree = parse(text, filename=name, first_line=2, flags=flags)
        tree = shell.transform_ast(tree)
        return rewrite(
            await_magics(tree) if "_magic(" in text else tree,
            filename=name,
            source=heading + cell,
            flags=flags,
            quiet=ends_quietly(text),
            top_level_global=run.as_script,
            blocking="--process" if run.in_process else "--thread" if run.in_thread else "",
        )


def _in_process(
    function: CellFunction, bound: Callable[[], Any]
) -> tuple[CellFunction, Callable[[], Any]]:
    """A coroutine function in place of a cell's function; it is the job.  Thread: any."""
    from twisted_ipython._process.job import ProcessJob, pickled

    assert isinstance(bound, FunctionType)  # it is no script
    cell = pickled(bound)
    return function._replace(kind=Kind.COROUTINE), lambda: ProcessJob(current().reactor, cell).run()


def shown(cell: str, result: EventualResult) -> EventualResult | None:
    """What a cell shows that does not wait: its result, unless it ends in ``;``.  Thread: any."""
    return None if ends_quietly(cell) else result


def start_job(
    thread: ReactorThread,
    job: Job,
    function: Callable[[], Any],
    cell: CellFunction,
    context: Context,
) -> EventualResult:
    """A job, begun in the reactor thread: ``function``, which ``cell`` became.  Thread: any."""
    context.run(set_work, job.work_id)
    thread.of(LocalNames).note(cell.codes, job.cell)

    def begin() -> Any:
        if job.in_thread:
            reactor = thread.reactor
            pool = reactor.getThreadPool()
            run = context.copy().run
            return context.run(lambda: deferToThreadPool(reactor, pool, run, function))
        if cell.kind is Kind.COROUTINE:
            return thread.deferred(job.follow(function()), context)
        if cell.kind is Kind.GENERATOR:
            return of_generator(job.follow(function()), context)
        from twisted_ipython._scripts.greenlet_script import GreenletScript

        script = GreenletScript(str(job), job.work_id, context, thread, function, cell.codes)
        return job.follow(script).begin()

    # What the reactor runs carries the job's work id from its first step on.
    result = context.copy().run(thread.run, begin)
    thread.jobs.add(job, result)
    return result
