"""What `%reactor` does: show the reactor, and handle jobs and tasks.  Thread: cell."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from math import isfinite
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from twisted.internet.defer import Deferred

from twisted_ipython._base.formatting import Report, duration
from twisted_ipython._base.frames import labels_of
from twisted_ipython._magics.reactor_tables import (
    ask,
    jobs_table,
    overview,
    stack_table,
    tasks,
    threads_table,
)
from twisted_ipython._magics.sockets import KINDS, Socket, living, name_of, opener, sockets
from twisted_ipython._reactor.eventual_result import EventualResult, NotInTime
from twisted_ipython._reactor.jobs import THREAD_GOES_ON, Job
from twisted_ipython._reactor.thread import ReactorThread

__all__ = ["COMMANDS", "command", "must_wait", "wait_for_job"]

COMMANDS: Final = ("cancel", "close", "jobs", "output", "stack", "wait")
USAGE: Final = (
    "usage: %reactor [jobs | cancel JOB... | cancel all | close PORT | close CELL | close JOB"
    " | output JOB | wait JOB [SECONDS] | stack]"
)
NO_COMMAND: Final = "there is no %reactor {word}; " + USAGE
NO_JOB: Final = "there is no job {word!r}; there are: {names}"
STUCK: Final = "the reactor does not answer, so its tasks are not known; jobs: {names}"
NOTHING_OPEN: Final = "{word!r} is no port that is open, nor a cell or job that has one: {open}"
BOTH: Final = (
    "{word} is a cell and a job, and both have opened something: write %reactor close cell {word},"
    " or job {word}"
)
NO_ANSWER: Final = "the reactor does not answer, so it can close nothing; %reactor stack shows why"
CLOSED: Final = "closed {things} of {opener}"
NOT_SECONDS: Final = "{word!r} is not a number of seconds; " + USAGE
STILL_PENDING: Final = "{job} is still pending after {seconds:g} s, and goes on"
CANCELLED: Final = "cancelled {what}{time}: {code}"
NO_PENDING: Final = "no job is pending: nothing was cancelled"
NOT_KEPT: Final = "the output of {job} is not kept: only a kernel keeps it, a terminal shows it"
SHOWN_NOTHING: Final = "{job} has shown nothing"
ENDED: Final = "{job} has ended: {state} after {time}"
# How many ended jobs an error names.
_NAMED: Final = 5


def must_wait(line: str) -> bool:
    """Whether this is a `%reactor` that waits.  Thread: any."""
    return line.split()[:1] in (["wait"], ["output"])


def command(shell: InteractiveShell, thread: ReactorThread, line: str) -> None:
    """
    Do what a `%reactor` that does not wait says.

    Args:
        shell: the shell.
        thread: the reactor thread.
        line: what follows the magic's name.

    Raises:
        UsageError: there is no such command, job or task.

    Thread: cell.
    """
    match line.split():
        case []:
            _show(shell, overview(thread, labels_of(shell)))
        case ["jobs"]:
            others = thread.crawls.table(), threads_table(thread, labels_of(shell))
            shown = [table for table in others if table.rows]
            _show(shell, Report(jobs_table(thread, labels_of(shell)), *shown))
        case ["stack"]:
            _show(shell, Report(stack_table(thread, labels_of(shell))))
        case ["cancel", *words] if words:
            _cancel(thread, words)
        case ["close", *words] if words:
            _close(thread, words)
        case [word, *_]:
            raise UsageError(USAGE if word in COMMANDS else NO_COMMAND.format(word=word))


def _show(shell: InteractiveShell, report: Report) -> None:
    """`IPython.display.display` on this shell, which need not be the one of the process."""
    assert shell.display_formatter is not None
    data, metadata = shell.display_formatter.format(report)
    shell.display_pub.publish(data=data, metadata=metadata)


# ---- cancel


def _cancel(thread: ReactorThread, words: list[str]) -> None:
    """Cancel jobs, by number or name, tasks and crawls, by name; nothing if one is unknown."""
    found = {"all": _all(thread)} if words == ["all"] else _named(thread, words)
    if found == {"all": []}:
        print(NO_PENDING)
    for named in found.values():
        pending = [one for one in named if not isinstance(one, Job) or one.ended is None]
        for one in pending or named[-1:]:
            if not isinstance(one, str):  # a crawl says itself that it is closed
                print(_cancelled(one))
        for one in named:
            if isinstance(one, Job):
                thread.jobs.cancel(one)
            elif isinstance(one, str):
                thread.call(thread.crawls.close_spider, one)
            else:
                thread.call(one.cancel)


def _all(thread: ReactorThread) -> list[Any]:
    """All pending jobs, and the spiders of crawls that belong to none of them."""
    pending = thread.jobs.pending()
    return [*pending, *thread.crawls.spiders(besides={job.work_id for job in pending})]


def _cancelled(one: Job | asyncio.Task[Any]) -> str:
    """What is cancelled, in a line."""
    if not isinstance(one, Job):
        return CANCELLED.format(
            what=f"task {one.get_name()}", time="", code=name_of(one.get_coro())
        )
    if one.ended is not None:
        return ENDED.format(job=one, state=one.state, time=duration(one.seconds))
    if one.in_thread:
        return THREAD_GOES_ON.format(job=one)
    time = f", after {duration(one.seconds)}"
    return CANCELLED.format(what=f"{one} of cell {one.cell}", time=time, code=one.code)


def _named(thread: ReactorThread, words: list[str]) -> dict[str, list[Any]]:
    """For each word its crawl and all jobs of that number or name; else all tasks."""
    spiders = thread.crawls.spiders()
    found = {word: [*_jobs_of(thread, word), *({word} & spiders)] for word in words}
    if not all(found.values()):
        running = _running(thread)
        for word, named in found.items():
            named += [] if named else [task for task in running if task.get_name() == word]
            if not named:
                _refuse(thread, word, [task.get_name() for task in running])
    return found


def _jobs_of(thread: ReactorThread, word: str) -> list[Job]:
    return [job for job in thread.jobs.all() if word in (str(job.number), job.name)]


def _running(thread: ReactorThread) -> list[asyncio.Task[Any]]:
    try:
        return ask(thread, lambda: tasks(thread))
    except NotInTime:
        raise UsageError(STUCK.format(names=_names(thread, []))) from None


def _refuse(thread: ReactorThread, word: str, running: Sequence[str]) -> Any:
    raise UsageError(NO_JOB.format(word=word, names=_names(thread, running)))


def _names(thread: ReactorThread, running: Sequence[str]) -> str:
    """The latest jobs that have ended, those that have not, and tasks."""
    known = thread.jobs.all()
    old = [job for job in known if job.ended is not None][:-_NAMED]
    names = [str(job) for job in known if job not in old]
    names += [f"crawl {name}" for name in sorted(thread.crawls.spiders())]
    return ", ".join([*names, *(f"task {name}" for name in running)]) or "none"


# ---- close


def _close(thread: ReactorThread, words: list[str]) -> None:
    """Close a port with its connections, or what a cell or job has opened; wait until it is."""
    from twisted_ipython._magics.replace import stop

    found = living(*KINDS)  # out of the reactor's way
    try:
        chosen = _chosen(thread, ask(thread, lambda: sockets(thread, found)), words)
    except NotInTime:
        raise UsageError(NO_ANSWER) from None
    ports = [one for one in chosen if one.port]
    # A port closes what it has accepted; a server of asyncio's has a row for each address.
    first = {id(one.one): one.one for one in (*ports, *chosen)}
    closing = thread.run(lambda: stop(thread, " ".join(words), list(first.values())))
    if not thread.here():
        closing.wait()
    for line in _closed(chosen):
        print(line)


def _chosen(thread: ReactorThread, found: list[Socket], words: list[str]) -> list[Socket]:
    """The port with its connections, or what the cell or job has opened."""
    kind, word = words if len(words) == 2 and words[0] in ("cell", "job") else ("", words[0])
    if len(words) > 1 and not kind:
        raise UsageError(USAGE)
    ports = [one.one for one in found if one.port == word and not kind]
    if ports:
        return [one for one in found if one.one in ports or one.accepted_by in ports]
    works = {job.work_id for job in _jobs_of(thread, word)}
    of_job = [one for one in found if one.work_id in works and kind != "cell"]
    of_cell = [one for one in found if str(one.work_id.cell or "") == word and kind != "job"]
    if of_job and of_cell and of_job != of_cell:
        raise UsageError(BOTH.format(word=word))
    if not (of_job or of_cell):
        names = (f"{one.port} ({one.what}) of {opener(one.work_id)}" for one in found if one.port)
        raise UsageError(NOTHING_OPEN.format(word=word, open=", ".join(names) or "none is open"))
    return of_job or of_cell


def _closed(chosen: list[Socket]) -> Iterator[str]:
    """What was closed, a line for each cell or job."""
    for work_id in dict.fromkeys(one.work_id for one in chosen):
        own = [one for one in chosen if one.work_id == work_id]
        things = [f"port {one.port} ({one.what})" for one in own if one.port]
        count = len(own) - len(things)
        things += [f"{count} connection{'s' * (count != 1)}"] if count else []
        yield CLOSED.format(things=", ".join(things), opener=opener(work_id))


# ---- wait


def wait_for_job(thread: ReactorThread, line: str) -> Coroutine[Any, Any, EventualResult | None]:
    """
    What waits for the job that ``wait JOB [SECONDS]`` or ``output JOB`` names.

    Args:
        thread: the reactor thread.
        line: what follows the magic's name.

    Returns:
        a coroutine for the reactor thread. That of ``wait`` gives the job's
        result; None if the job had ended and nobody holds its result. It raises
        TimeoutError if the job is still pending after the seconds; it goes on.

    Raises:
        UsageError: there is no such job, or the line is not of that form.

    Thread: any.
    """
    match line.split():
        case ["wait", word]:
            seconds = None
        case ["wait", word, number]:
            seconds = _seconds(number)
        case ["output", word]:
            return _show_output(thread, thread.jobs.find(word) or _refuse(thread, word, []))
        case _:
            raise UsageError(USAGE)
    return _wait(thread, thread.jobs.find(word) or _refuse(thread, word, []), seconds)


async def _show_output(thread: ReactorThread, job: Job) -> None:
    """Show what a job has shown, and what it shows until its end."""
    if job.output is None:
        raise UsageError(NOT_KEPT.format(job=job))
    result = job.result
    await job.output.show(None if result is None else _ends(thread, result, None))
    if not job.output:
        print(SHOWN_NOTHING.format(job=job))


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1
    if not (isfinite(seconds) and seconds >= 0):
        raise UsageError(NOT_SECONDS.format(word=word))
    return seconds


async def _wait(thread: ReactorThread, job: Job, seconds: float | None) -> EventualResult | None:
    result = job.result
    if result is None:
        print(ENDED.format(job=job, state=job.state, time=duration(job.seconds)))
    elif await _ends(thread, result, seconds):
        result.mark_seen()  # which `%reactor wait` gives, and the cell shows
    else:
        raise TimeoutError(STILL_PENDING.format(job=job, seconds=seconds or 0))
    return result


async def _ends(thread: ReactorThread, result: EventualResult, seconds: float | None) -> bool:
    """Wait for the end of the work, which goes on if this is cancelled; whether it came."""
    ended: Deferred[bool] = Deferred()

    def end(came: bool) -> None:
        if not ended.called:
            ended.callback(came)

    result.when_done(lambda: thread.call(end, True))
    timer = None if seconds is None else thread.reactor.callLater(seconds, end, False)
    try:
        return await ended
    finally:
        if timer is not None and timer.active():
            timer.cancel()
