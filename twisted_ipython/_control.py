"""What `%reactor` does: show the reactor, and handle jobs and tasks."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from twisted.internet.defer import Deferred

from twisted_ipython._display import Report
from twisted_ipython._eventual import EventualResult
from twisted_ipython._inspect import Label, jobs_table, overview, stack_table, tasks
from twisted_ipython._jobs import Job, jobs
from twisted_ipython._reactor import ReactorThread
from twisted_ipython._stack import Place

__all__ = ["command", "wait_for", "waits"]

USAGE: Final = "usage: %reactor [jobs | cancel JOB... | cancel all | wait JOB [SECONDS] | stack]"
NO_JOB: Final = "there is no job or task {word!r}; there are: {names}"
NOT_SECONDS: Final = "{word!r} is not a number of seconds; " + USAGE
STILL_PENDING: Final = "{job} is still pending after {seconds:g} s, and goes on"
# Seconds that the reactor gets to say which tasks there are.
_BOUND: Final = 0.8


def waits(line: str) -> bool:
    """Whether this is a `%reactor` that waits.  Any thread."""
    return line.split()[:1] == ["wait"]


def command(shell: InteractiveShell, thread: ReactorThread, line: str) -> None:
    """
    Do what a `%reactor` that does not wait says.  In the home thread.

    Raises:
        UsageError: there is no such command, job or task.
    """
    match line.split():
        case []:
            display(overview(thread, _label(shell)))
        case ["jobs"]:
            display(Report(jobs_table(_label(shell))))
        case ["stack"]:
            display(Report(stack_table(thread, _label(shell))))
        case ["cancel", *words] if words:
            _cancel(thread, words)
        case _:
            raise UsageError(USAGE)


def _label(shell: InteractiveShell) -> Label:
    """How this shell writes a place in the code: cells by their numbers."""

    def label(place: Place) -> str:
        name = shell.compile.format_code_name(place.file)
        return f"{' '.join(name) if name else place.file}, line {place.line}"

    return label


def _cancel(thread: ReactorThread, words: list[str]) -> None:
    """Cancel jobs, by number or name, and tasks, by name; nothing if one is unknown."""
    if words == ["all"]:
        chosen: list[Job | asyncio.Task[Any]] = [*jobs.pending()]
    else:
        named = {task.get_name(): task for task in thread.run(lambda: tasks(thread)).wait(_BOUND)}
        chosen = [jobs.find(word) or named.get(word) or _unknown(word, named) for word in words]
    for one in chosen:
        if isinstance(one, Job):
            jobs.cancel(thread, one)
        else:
            thread.call(one.cancel)


def _unknown(word: str, named: dict[str, Any]) -> Any:
    known = [str(job.number) + (f" ({job.name})" if job.name else "") for job in jobs.all()]
    names = ", ".join([*known, *named]) or "none"
    raise UsageError(NO_JOB.format(word=word, names=names))


async def wait_for(thread: ReactorThread, line: str) -> EventualResult | None:
    """
    Wait for the job that ``wait JOB [SECONDS]`` names.  In the reactor thread.

    Returns:
        its result, if it was pending.

    Raises:
        UsageError: there is no such job, or the line is not of that form.
        TimeoutError: it is still pending after the seconds; it goes on.
    """
    match line.split():
        case ["wait", word]:
            seconds = None
        case ["wait", word, number]:
            seconds = _seconds(number)
        case _:
            raise UsageError(USAGE)
    job = jobs.find(word) or _unknown(word, {})
    result = jobs.result(job)
    if result is not None and not await _ends(thread, result, seconds):
        assert seconds is not None
        raise TimeoutError(STILL_PENDING.format(job=f"job {job.number}", seconds=seconds))
    return result


def _seconds(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(NOT_SECONDS.format(word=word)) from None


async def _ends(thread: ReactorThread, result: EventualResult, seconds: float | None) -> bool:
    """Wait for the end of the work, which goes on if this is cancelled; whether it came."""
    ended: Deferred[bool] = Deferred()

    def end(came: bool) -> None:
        if not ended.called:
            ended.callback(came)

    result.when_done(lambda: thread.call(end, True))
    if seconds is not None:
        thread.reactor.callLater(seconds, end, False)
    return await ended
