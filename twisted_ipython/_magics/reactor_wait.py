"""
The commands of `%reactor` that last: ``wait``, ``output`` and ``profile``.

A profile is made by looking at the reactor thread from the cell thread: nothing is set there, and
code that holds the reactor is seen too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from random import uniform
from time import monotonic, sleep
from types import FrameType
from typing import Any, Final

from IPython.core.error import UsageError
from twisted.internet.defer import Deferred

from twisted_ipython._base import frames
from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.formatting import Report, Table, duration
from twisted_ipython._base.switch_interval import BRIEF, turns_of
from twisted_ipython._magics.reactor_tables import is_idle
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.thread import ReactorThread

COMMANDS: Final = ("cancel", "close", "jobs", "output", "profile", "stack", "wait")
USAGE: Final = (
    "usage: %reactor [jobs | cancel JOB... | cancel all | close PORT | close CELL | close JOB"
    " | output JOB | profile [SECONDS] | wait JOB [SECONDS] | stack]"
)
NO_JOB: Final = "there is no job {word!r}; there are: {names}"
NOT_SECONDS: Final = "{word!r} is not a number of seconds; " + USAGE
STILL_PENDING: Final = "{job} is still pending after {seconds:g} s, and goes on"
NOT_KEPT: Final = "the output of {job} is not kept: only a kernel keeps it, a terminal shows it"
SHOWN_NOTHING: Final = "{job} has shown nothing"
ENDED: Final = "{job} has ended: {state} after {time}"
NOT_HERE: Final = (
    "%reactor profile looks at the reactor thread from outside: run it in a cell of its own, not in"
    " code of the reactor thread"
)
# How many ended jobs an error names.
_NAMED: Final = 5
# Seconds between two samples.
_EVERY: Final = 0.005
# How many lines are shown.
_MOST: Final = 12
# Seconds that a profile takes if nobody says.
_LONG: Final = 5.0


def refuse(thread: ReactorThread, word: str, running: Sequence[str] = ()) -> Any:
    raise UsageError(NO_JOB.format(word=word, names=names_of_jobs(thread, running)))


def names_of_jobs(thread: ReactorThread, running: Sequence[str] = ()) -> str:
    """The latest jobs that have ended, those that have not, and tasks."""
    known = thread.jobs.all()
    old = [job for job in known if job.ended is not None][:-_NAMED]
    names = [str(job) for job in known if job not in old]
    names += [f"crawl {name}" for name in sorted(thread.crawls.spiders())]
    return ", ".join([*names, *(f"task {name}" for name in running)]) or "none"


async def wait_for_job(thread: ReactorThread, line: str) -> EventualResult | None:
    """Do what ``wait JOB [SECONDS]`` or ``output JOB`` says.  Thread: reactor."""
    match line.split():
        case ["wait", word]:
            seconds = None
        case ["wait", word, number]:
            seconds = _seconds(number)
        case ["output", word]:
            await _show_output(thread, thread.jobs.find(word) or refuse(thread, word))
            return None
        case _:
            raise UsageError(USAGE)
    job: Job = thread.jobs.find(word) or refuse(thread, word)
    result = job.result
    if result is None:  # it has ended, and nobody holds its result
        print(ENDED.format(job=job, state=job.state, time=duration(job.seconds)))
    elif await _ends(thread, result, seconds):
        result.mark_seen()  # which `%reactor wait` gives, and the cell shows
    else:
        raise TimeoutError(STILL_PENDING.format(job=job, seconds=seconds or 0))
    return result


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


async def _ends(thread: ReactorThread, result: EventualResult, seconds: float | None) -> bool:
    """Wait for the end of the work, which goes on if this is cancelled; whether it came."""
    ended: Deferred[bool] = Deferred()
    result.when_done(lambda: thread.call(ended.callback, True))
    if seconds is not None:
        ended.addTimeout(seconds, thread.reactor, lambda *_: False)
    return await ended


# ---- profile


def profile(
    thread: ReactorThread,
    words: Sequence[str],
    label: frames.Label,
    show: Callable[[Report], object],
) -> None:
    """Sample for some seconds, or until Ctrl-C, where the reactor thread is.  Thread: cell."""
    if len(words) > 1:
        raise UsageError(USAGE)
    if thread.here():
        raise UsageError(NOT_HERE)
    seconds = _seconds(words[0]) if words else _LONG
    give_back()
    # At which line it was, the innermost of the user's if it has one; None where it was idle.
    seen: Counter[frames.Place | None] = Counter()
    began = monotonic()
    try:
        # A longer turn would end where the reactor thread lets others in: only idle would be seen.
        with turns_of(BRIEF):
            while monotonic() - began < seconds:
                # At uneven times: even ones may fall in with those of a timer.
                sleep(uniform(0, 2 * _EVERY))
                seen[_place(frames.frame_of(thread.ident))] += 1
    finally:
        show(Report(_profile_table(seen, monotonic() - began, label)))


def _place(frame: FrameType | None) -> frames.Place | None:
    if frame is None or is_idle(frame):
        return None
    places = frames.of_frame(frame)
    return next((one for one in places if one.users), places[0] if places else None)


def _profile_table(
    seen: Counter[frames.Place | None], seconds: float, label: frames.Label
) -> Table | str:
    """The lines at which it was seen most, and how long it was idle; or only that."""
    count, idle = seen.total() or 1, seen.pop(None, 0)
    title = f"The reactor thread in {duration(seconds)}: {idle / count:.0%} idle"
    rows = [
        (f"{times / count:.0%}", label(place), place.function, place.text)
        for place, times in seen.most_common(_MOST)
        if place is not None
    ]
    return Table(title, ("time", "place", "function", "line"), rows) if rows else title
