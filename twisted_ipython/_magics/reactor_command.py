"""What `%reactor` does: show the reactor, and handle jobs and tasks.  Thread: cell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython._base.formatting import Report, duration
from twisted_ipython._base.frames import labels_of
from twisted_ipython._magics import reactor_tables as tables
from twisted_ipython._magics import reactor_wait as waits
from twisted_ipython._magics.sockets import KINDS, Socket, living, name_of, opener, sockets
from twisted_ipython._reactor.eventual_result import NotInTime
from twisted_ipython._reactor.jobs import THREAD_GOES_ON, Job
from twisted_ipython._reactor.thread import ReactorThread

NO_COMMAND: Final = "there is no %reactor {word}; " + waits.USAGE
STUCK: Final = "the reactor does not answer, so its tasks are not known; jobs: {names}"
NOTHING_OPEN: Final = "{word!r} is no port that is open, nor a cell or job that has one: {open}"
BOTH: Final = (
    "{word} is a cell and a job, and both have opened something: write %reactor close cell {word},"
    " or job {word}"
)
NO_ANSWER: Final = "the reactor does not answer, so it can close nothing; %reactor stack shows why"
CLOSED: Final = "closed {things} of {opener}"
CANCELLED: Final = "cancelled {what}{time}: {code}"
NO_PENDING: Final = "no job is pending: nothing was cancelled"


def command(shell: InteractiveShell, thread: ReactorThread, line: str) -> None:
    """Do what a `%reactor` that does not wait says, or raise a UsageError.  Thread: cell."""
    label = labels_of(shell)
    match line.split():
        case []:
            _show(shell, tables.overview(thread, label))
        case ["jobs"]:
            others = thread.crawls.table(), tables.threads_table(thread, label)
            shown = [table for table in others if table.rows]
            _show(shell, Report(tables.jobs_table(thread, label), *shown))
        case ["stack"]:
            _show(shell, Report(tables.stack_table(thread, label)))
        case ["profile", *words]:
            waits.profile(thread, words, label, lambda report: _show(shell, report))
        case ["cancel", *words] if words:
            _cancel(thread, words)
        case ["close", *words] if words:
            _close(thread, words)
        case [word, *_]:
            raise UsageError(
                waits.USAGE if word in waits.COMMANDS else NO_COMMAND.format(word=word)
            )


def _show(shell: InteractiveShell, report: Report) -> None:
    """`IPython.display.display` on this shell, which need not be the one of the process."""
    assert shell.display_formatter is not None
    data, metadata = shell.display_formatter.format(report)
    shell.display_pub.publish(data=data, metadata=metadata)


# ---- cancel


def _cancel(thread: ReactorThread, words: list[str]) -> None:
    """Cancel jobs, by number or name, tasks and crawls, by name; nothing if one is unknown."""
    jobs = thread.jobs.pending()
    crawls = thread.crawls.spiders(besides={job.work_id for job in jobs})
    every: list[Any] = [*jobs, *crawls]
    found = {"all": every} if words == ["all"] else _named(thread, words)
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


def _cancelled(one: Job | asyncio.Task[Any]) -> str:
    """What is cancelled, in a line."""
    if not isinstance(one, Job):
        return CANCELLED.format(
            what=f"task {one.get_name()}", time="", code=name_of(one.get_coro())
        )
    if one.ended is not None:
        return waits.ENDED.format(job=one, state=one.state, time=duration(one.seconds))
    if one.in_thread:
        return THREAD_GOES_ON.format(job=one)
    time = f", after {duration(one.seconds)}"
    return CANCELLED.format(what=f"{one} of cell {one.cell}", time=time, code=one.code)


def _named(thread: ReactorThread, words: list[str]) -> dict[str, list[Any]]:
    """For each word its crawl and all jobs of that number or name; else all tasks."""
    spiders = thread.crawls.spiders()
    found = {word: [*_jobs_of(thread, word), *({word} & spiders)] for word in words}
    if not all(found.values()):
        try:
            running = tables.ask(thread, lambda: tables.tasks(thread))
        except NotInTime:
            raise UsageError(STUCK.format(names=waits.names_of_jobs(thread))) from None
        for word, named in found.items():
            named += [] if named else [task for task in running if task.get_name() == word]
            if not named:
                waits.refuse(thread, word, [task.get_name() for task in running])
    return found


def _jobs_of(thread: ReactorThread, word: str) -> list[Job]:
    return [job for job in thread.jobs.all() if word in (str(job.number), job.name)]


# ---- close


def _close(thread: ReactorThread, words: list[str]) -> None:
    """Close a port with its connections, or what a cell or job has opened; wait until it is."""
    from twisted_ipython._magics.replace import stop

    found = living(*KINDS)  # out of the reactor's way
    try:
        chosen = _chosen(thread, tables.ask(thread, lambda: sockets(thread, found)), words)
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
        raise UsageError(waits.USAGE)
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
