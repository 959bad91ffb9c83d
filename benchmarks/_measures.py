"""
What is measured, on what sides, and how much more than the other side ours may take.

The two sides take turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from time import perf_counter
from typing import Final

from benchmarks._kernel import kernel
from benchmarks._subjects import Subject, Subjects
from benchmarks._table import Comparison

__all__ = ["MEASURES"]

# What a side answers in one turn: a number for each name.
_Answer = dict[str, float]
_Side = Callable[[], _Answer]
# Starts what will answer, and ends it.
_Start = Callable[[], AbstractContextManager[_Side]]
_Limits = Mapping[str, float | None]


def _in_turn(starts: Sequence[_Start], *, processes: int, turns: int) -> list[list[_Answer]]:
    """
    Let sides take turns.

    Args:
        starts: the sides.
        processes: how often all are started anew.
        turns: how often they then answer, after a first time that does not count.

    Returns:
        the answers of each.
    """
    answers: list[list[_Answer]] = [[] for _ in starts]
    for _ in range(processes):
        with ExitStack() as stack:
            sides = [stack.enter_context(start()) for start in starts]
            for _ in range(1 + turns):
                for side, taken in zip(sides, answers, strict=True):
                    taken.append(side())
            for taken in answers:
                del taken[-1 - turns]
    return answers


def _compared(
    title: str,
    against: str,
    starts: Sequence[_Start],
    limits: _Limits,
    *,
    processes: int,
    turns: int,
) -> list[Comparison]:
    """
    Let ours and the other side take turns.

    Args:
        title: what is measured.
        against: the other side's name.
        starts: ours and the other side.
        limits: for each name in the answers, the most that the ratio may be.
        processes: how often both sides are started anew.
        turns: how often they then answer, after a first time that does not count.

    Returns:
        one comparison for each name.
    """
    ours, other = _in_turn(starts, processes=processes, turns=turns)
    return [
        Comparison(
            f"{title}: {name}",
            against,
            ours=[answer[name] for answer in ours],
            other=[answer[name] for answer in other],
            limit=limit,
            turns=turns,
        )
        for name, limit in limits.items()
    ]


# ---- against version 2.0.0

_PREPARATION: Final = """
%load_ext twisted_ipython
%autoawait twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
def later():
    deferred = Deferred()
    reactor.callLater(0, deferred.callback, 1)
    return deferred
"""
_CELLS: Final = {"plain": "succeed(1)", "fired": "await succeed(1)", "pending": "await later()"}


def in_kernel(subjects: Subjects) -> list[Comparison]:
    """Cells seen by the client of a real kernel, each 300 times."""

    @contextmanager
    def side(subject: Subject) -> Iterator[_Side]:
        with kernel(subject) as running:
            running.run(_PREPARATION)
            for _ in range(10):
                running.run(_CELLS["pending"])
            yield lambda: {name: running.run(code) for name, code in _CELLS.items()}

    starts = [partial(side, subject) for subject in (subjects.ours, subjects.peer)]
    limits = {"fired": 1.0, "pending": 1.0, "plain": None}
    return _compared("cell of a kernel", "peer", starts, limits, processes=5, turns=60)


def in_process(subjects: Subjects) -> list[Comparison]:
    """What an awaiting cell takes longer than a plain one."""

    @contextmanager
    def side(subject: Subject) -> Iterator[_Side]:
        with subject.serving("cells") as answer:
            yield lambda: _over_plain(answer())

    starts = [partial(side, subject) for subject in (subjects.ours, subjects.peer)]
    limits = {"fired": 1.4, "pending": 1.4, "a plain one itself": None}
    return _compared("awaiting cell over plain", "peer", starts, limits, processes=5, turns=15)


def grown(subjects: Subjects) -> list[Comparison]:
    """Cells beside 1,000 names and 1,000 jobs that have ended, against a new session's."""
    ours = subjects.ours.serving
    starts = [partial(ours, "cells", "grown"), partial(ours, "cells")]
    limits = {"plain": 1.02, "fired": 1.02, "pending": 1.02}
    return _compared("cell of a long session", "a new one", starts, limits, processes=5, turns=15)


def _over_plain(seconds: _Answer) -> _Answer:
    plain = seconds["plain"]
    over = {name: seconds[name] - plain for name in ("fired", "pending")}
    return over | {"a plain one itself": plain}


# Options of Python where modules have compiled files, and where no library has any.
_FILES: Final = {"": (), ", nothing compiled": ("-B", "-X", "pycache_prefix=nowhere")}


def load(subjects: Subjects) -> list[Comparison]:
    """Loading the extension in a fresh IPython: by itself, and the whole process."""

    def answer(subject: Subject) -> _Answer:
        taken: _Answer = {}
        for files, options in _FILES.items():
            began = perf_counter()
            taken[f"%load_ext{files}"] = subject.program("load", options=options)
            taken[f"whole process{files}"] = perf_counter() - began
        return taken

    @contextmanager
    def side(subject: Subject) -> Iterator[_Side]:
        yield lambda: answer(subject)

    starts = [partial(side, subject) for subject in (subjects.ours, subjects.peer)]
    limits = {f"{what}{files}": 1.0 for files in _FILES for what in ("%load_ext", "whole process")}
    return _compared("load", "peer", starts, limits, processes=3, turns=5)


def magic(subjects: Subjects) -> list[Comparison]:
    """``%%run_in_reactor``, from the magic's call to its return."""
    starts = [partial(subject.serving, "magic") for subject in (subjects.ours, subjects.peer)]
    limits = {"one line": 1.0, "20 lines": 1.0}
    return _compared("%%run_in_reactor", "peer", starts, limits, processes=5, turns=15)


# ---- against the bare libraries

# Who runs a crawl.
_CRAWLS: Final = ("cell", "job", "process")


def awaits(subjects: Subjects) -> list[Comparison]:
    """Many awaits, against Twisted's and asyncio's own drivers on an untouched reactor."""
    ours, bare = subjects.ours.serving, subjects.bare.serving
    limits = {
        "sequential": 1.1,
        "failing": 1.15,
        "nested": 1.1,
        "fired": 1.1,
        "at once": 1.25,
        "coroutines at once": 1.25,
    }
    deferreds = [partial(ours, "awaits_ours"), partial(bare, "bare")]
    rows = _compared("awaits", "bare Twisted", deferreds, limits, processes=3, turns=5)
    sleep = "asyncio.sleep"
    sleeps = [partial(ours, "awaits_ours", sleep), partial(bare, "awaits_asyncio")]
    return rows + _compared("awaits", "asyncio.run", sleeps, {sleep: 1.3}, processes=3, turns=15)


def timers(subjects: Subjects) -> list[Comparison]:
    """20,000 timers of the reactor thread's, on the reactor that a shell has loaded."""
    ours, bare = subjects.ours.serving, subjects.bare.serving
    limits = {"one after another": 1.1, "at once": 1.25}
    sides = [partial(ours, "loaded", "timers", "asyncio"), partial(bare, "bare", "timers")]
    return _compared("callLater", "bare Twisted", sides, limits, processes=3, turns=10)


def on_uvloop(subjects: Subjects) -> list[Comparison]:
    """20,000 timers and 5,000 echoes on a reactor with uvloop's loop, against epoll's."""
    ours, bare = subjects.ours.serving, subjects.bare.serving
    limits = {"one after another": 0.7, "at once": 0.7, "echoes": 1.15}
    sides = [partial(ours, "loaded", "echoes", "uvloop"), partial(bare, "bare", "echoes", "epoll")]
    return _compared("uvloop", "bare epoll", sides, limits, processes=3, turns=5)


def borrow(subjects: Subjects) -> list[Comparison]:
    """1,000 calls of the reactor by a plain cell and by a pool thread, against a hop for each."""
    ours, bare = subjects.ours.serving, subjects.bare.serving
    limits = {"plain cell": 0.2, "another thread": 1.25}
    sides = [partial(ours, "borrow", "plainly"), partial(bare, "borrow", "hop")]
    return _compared("callLater", "a hop each", sides, limits, processes=3, turns=5)


def tasks(subjects: Subjects) -> list[Comparison]:
    """20,000 tasks that await a Deferred each, against as many coroutines of Twisted's."""
    name = "tasks at once"

    @contextmanager
    def bare() -> Iterator[_Side]:
        with subjects.bare.serving("bare") as answer:
            yield lambda: {name: answer()["coroutines at once"]}

    starts: list[_Start] = [partial(subjects.ours.serving, "awaits_ours", name), bare]
    return _compared("awaits", "ensureDeferred", starts, {name: 1.1}, processes=1, turns=5)


def of_asyncio(subjects: Subjects) -> list[Comparison]:
    """200,000 tasks that await nothing, 100,000 puts and gets, 3,000 round trips of streams."""
    ours, bare = subjects.ours.serving, subjects.bare.serving
    limits = {
        "tasks of nothing": 1.25,
        "TaskGroup": 1.25,
        "timeouts": 1.25,
        "queue": 1.1,
        "streams": 1.05,
    }
    starts = [partial(ours, "tasks", "ours"), partial(bare, "tasks")]
    return _compared("asyncio", "asyncio.run", starts, limits, processes=3, turns=5)


def progress(subjects: Subjects) -> list[Comparison]:
    """CPU time of 10,000 awaitables with a bar, against gathering them without."""
    ours = subjects.ours.serving
    starts = [partial(ours, "progress", "bar"), partial(ours, "progress")]
    limits = {"Deferreds": 1.05, "coroutines": 1.05}
    return _compared("progress", "gathered", starts, limits, processes=3, turns=15)


def crawl(subjects: Subjects) -> list[Comparison]:
    """CPU time of a crawl of 200 pages with 2,000 items, with its line, against the bare one."""
    ours = subjects.ours.serving
    starts = [partial(ours, "crawl", "crawl"), partial(ours, "crawl")]
    limits = {"200 pages": 1.02}
    return _compared("crawl", "CrawlerRunner", starts, limits, processes=3, turns=10)


def linked_crawl(subjects: Subjects) -> list[Comparison]:
    """CPU time of a crawl of 2,000 linked pages of another process, by what runs it."""
    turns, pages = 4, "2,000 pages"
    others = {"runspider": ("scrapy runspider", 1.05), "crochet": ("bare crochet", 1.03)}
    starts = {who: partial(subjects.ours.serving, "crawls", who) for who in _CRAWLS}
    starts |= {who: partial(subjects.bare.serving, "crawls", who) for who in others}
    answers = _in_turn(list(starts.values()), processes=2, turns=turns)
    taken = {
        who: [answer[pages] for answer in ours] for who, ours in zip(starts, answers, strict=True)
    }
    return [
        Comparison(
            f"crawl in a {who}: {pages}",
            against,
            ours=taken[who],
            other=taken[other],
            limit=limit,
            turns=turns,
        )
        for who in _CRAWLS
        for other, (against, limit) in others.items()
    ]


def web(subjects: Subjects) -> list[Comparison]:
    """CPU time of 20,000 requests served, of 2,000 of treq's at once, and of httpx's."""
    starts = [
        partial(subjects.ours.serving, "loaded", "web", "asyncio"),
        partial(subjects.bare.serving, "under_crochet", "web"),
    ]
    limits = {"server": 1.03, "treq": 1.03, "httpx": 1.03}
    return _compared("web", "bare crochet", starts, limits, processes=3, turns=2)


def connections(subjects: Subjects) -> list[Comparison]:
    """5,000 lines that a client and a server of Twisted's send each other."""
    starts = [
        partial(subjects.ours.serving, "loaded", "lines", "asyncio"),
        partial(subjects.bare.serving, "under_crochet", "lines"),
    ]
    return _compared("web", "bare crochet", starts, {"echoes": 1.03}, processes=3, turns=15)


# ---- against a bound


def latency(subjects: Subjects) -> list[Comparison]:
    """How late the reactor calls while two cells of ``--process`` compute, against 5 ms."""
    late = [float(subjects.ours.program("latency")) for _ in range(3)]
    title = "latency beside two --process cells"
    return [Comparison(title, "5 ms", late, [0.005] * len(late), limit=1.0)]


# ---- against what could be held


def memory(subjects: Subjects) -> list[Comparison]:
    """What memory grows by, against the sum of the results, which nobody holds."""
    rows = _growth(subjects.ours, "job", 10_000, 10_000)
    for name in ("port", "LoopingCall", "pooled connection"):
        rows += _growth(subjects.ours, name, 1000, 1_000_000)
    return rows


def _growth(subject: Subject, name: str, cells: int, size: int) -> list[Comparison]:
    """Growth by so many cells whose results have that many bytes."""
    grown: dict[str, float] = subject.program("memory", name, str(cells), str(size))
    title = f"{cells:,} {name} cells"
    return [
        Comparison(
            f"{title}: {kind}", "all results", [growth], [cells * size], limit=0.01, unit="byte"
        )
        for kind, growth in grown.items()
    ]


MEASURES: Final[dict[str, Callable[[Subjects], list[Comparison]]]] = {
    "kernel": in_kernel,
    "cell": in_process,
    "grown": grown,
    "awaits": awaits,
    "timers": timers,
    "uvloop": on_uvloop,
    "tasks": tasks,
    "asyncio": of_asyncio,
    "borrow": borrow,
    "progress": progress,
    "crawl": crawl,
    "linked": linked_crawl,
    "web": web,
    "connections": connections,
    "load": load,
    "magic": magic,
    "memory": memory,
    "latency": latency,
}
