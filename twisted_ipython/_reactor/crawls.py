"""
Crawls of Scrapy's, known by the cell that started them, and closed with it.

Scrapy tells of each crawl of the process by a signal of PyDispatcher's, in the
context of the cell or job that started it.  A first stop closes a crawl as
Scrapy's own first Ctrl-C does: requests in flight are finished.  A second one
drops them: the tasks of the crawl are cancelled, and its extensions are told
that it is over.

Scrapy's engine swallows the cancellation of whoever awaits the
crawl, which would go on unseen to its last page.  So the task that runs it is
watched: when it has ended before the engine, the crawl is closed.

What can still go wrong.  The tasks of two crawls of one cell are not told
apart: what drops the requests of one drops those of the other.  On a reactor
without an asyncio loop there are no tasks, and requests in flight are finished.

Scrapy's names stand in `_private.scrapy`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextvars import copy_context
from time import time
from types import FrameType
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred

from twisted_ipython._base.formatting import Table, duration, say
from twisted_ipython._base.frames import frames_of_coroutine, is_our_frame
from twisted_ipython._base.work_id import WorkId, current_work, work_in
from twisted_ipython._private import scrapy
from twisted_ipython._private.asyncio import context_of

CLOSING: Final = (
    "Closing the crawl of {spider!r} when its requests are done ({requests} in flight). A second"
    " Ctrl-C, or `%reactor cancel {spider}`, drops them."
)
# How often the tasks of a crawl are cancelled, and the seconds that its end may take then.
_ROUNDS: Final = 3
_PATIENCE: Final = 0.8
_HEADINGS: Final = ("spider", "cell", "state", "pages", "items", "errors", "age")


class _Crawl:
    """
    One crawl, from the start of its engine to its end.

    Args:
        thread: the reactor thread.
        crawler: Scrapy's.
        forget: is called when its tasks did not end in time.

    Attributes:
        work_id: of the cell or job that started it.
        spider: the name of its spider.
        state: ``running``, ``closing``, ``ending`` when its requests are dropped, or ``ended``.
        errors: how many exceptions its spider and its pipelines raised.
    """

    def __init__(self, thread: Any, crawler: Any, forget: Callable[[Any], object]) -> None:
        self.work_id = current_work()
        self.spider: str = crawler.spider.name
        self.state = "running"
        self.errors = 0
        self._thread = thread
        self._crawler = crawler
        self._forget = forget
        self._began = time()
        self._context = copy_context()
        self._closing: Any = None
        self._dropping: Any = None
        self._over: list[Deferred[None]] = []
        # Closed when the task that runs it has ended before it.
        for task, frames in self._tasks():
            if any(scrapy.runs_engine(frame, crawler) for frame in frames):
                task.add_done_callback(lambda _: self.close_if_running())

    def row(self) -> tuple[object, ...]:
        """Its row in `%reactor`.  Thread: any."""
        pages, items, gave_up = scrapy.counts(self._crawler)
        age = duration(time() - self._began)
        errors = self.errors + gave_up
        return self.spider, self.work_id.cell or "", self.state, pages, items, errors, age

    def close(self, *, quietly: bool = False) -> None:
        """Close it; the second time, drop its requests.  Thread: reactor."""
        if self.state == "running":
            self.state = "closing"
            if not quietly:
                requests = scrapy.requests_in_flight(self._crawler)
                say(CLOSING.format(spider=self.spider, requests=requests))
            self._closing = self._begin(scrapy.close(self._crawler))
        elif self.state == "closing":
            self.state = "ending"
            self._dropping = self._begin(self._drop())

    def close_if_running(self, *, quietly: bool = False) -> None:
        """Close it once.  Thread: reactor."""
        if self.state == "running":
            self.close(quietly=quietly)

    def _begin(self, coro: Coroutine[Any, Any, None]) -> Any:
        loop = self._thread.loop
        # What the spider prints meanwhile belongs to the cell that started the crawl.
        begin = ensureDeferred if loop is None else loop.create_task
        return self._context.copy().run(begin, coro)

    async def _drop(self) -> None:
        """Cancel its tasks, and tell its extensions that it is over."""
        self._thread.later(_PATIENCE, self._forget, self._crawler)
        self._closing.cancel()
        for _ in range(_ROUNDS):  # what ends may begin the next of a queue
            tasks = [task for task, frames in self._tasks() if self._is_scrapys(task, frames)]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_PATIENCE / 2 / _ROUNDS)
        await scrapy.end(self._crawler)

    def _tasks(self) -> Iterator[tuple[asyncio.Task[Any], list[FrameType]]]:
        """The tasks of the reactor's loop, with their frames."""
        loop = self._thread.loop
        for task in set() if loop is None else asyncio.all_tasks(loop):
            yield task, list(frames_of_coroutine(task.get_coro()))

    def _is_scrapys(self, task: asyncio.Task[Any], frames: list[FrameType]) -> bool:
        """Whether a task is Scrapy's, and of its cell or job."""
        # Not a cell or job, which is cancelled as such, nor what closes the crawl.
        if not frames or is_our_frame(frames[0]) or not any(map(scrapy.is_scrapys, frames)):
            return False
        return work_in(context_of(task)) == self.work_id

    def when_over(self) -> Deferred[None]:
        """A Deferred that fires at its end; cancelling it is one more `close`.  Thread: reactor."""
        over: Deferred[None] = Deferred(lambda _: self.close())
        self._over.append(over)
        return over

    def end(self) -> None:
        """It is over.  Thread: reactor."""
        self.state = "ended"
        for one in self._over:
            if not one.called:
                one.callback(None)


class Crawls:
    """The crawls that have not ended."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread
        self._crawls: dict[Any, _Crawl] = {}
        self._refused: set[WorkId] = set()
        self._undo: Callable[[], None] | None = None

    # ---- what others ask

    def table(self) -> Table:
        """The table of `%reactor`.  Thread: any."""
        return Table("Crawls", _HEADINGS, [crawl.row() for crawl in self._all()])

    def of(self, crawler: Any) -> _Crawl | None:
        """The crawl of a crawler, while its engine runs.  Thread: reactor."""
        return self._crawls.get(crawler)

    def spiders(self, besides: Collection[WorkId] = ()) -> set[str]:
        """The names of the spiders that crawl, but for those of some cells.  Thread: any."""
        return {crawl.spider for crawl in self._all() if crawl.work_id not in besides}

    def close(self, work_id: WorkId) -> None:
        """Close the crawls of a cell or job; again, drop their requests.  Thread: reactor."""
        for crawl in self._all(work_id):
            crawl.close()

    def close_spider(self, name: str) -> None:
        """Close the crawls of the spider ``name``; again, drop their requests.  Thread: reactor."""
        for crawl in self._all():
            if crawl.spider == name:
                crawl.close()

    def drop(self, work_id: WorkId) -> None:
        """End the crawls of a cell or job without finishing their requests.  Thread: reactor."""
        for crawl in self._all(work_id):
            crawl.close(quietly=True)
            crawl.close()

    def refuse(self, work_id: WorkId) -> None:
        """Close what a refused cell crawls, also when it has yet to begin.  Thread: any."""
        self._refused.add(work_id)
        for crawl in self._all(work_id):
            crawl.close_if_running(quietly=True)

    def when_closed(self, work_id: WorkId) -> Deferred[Any]:
        """
        A Deferred that fires at the end of the crawls that are being closed.

        Cancelling it drops their requests.

        Args:
            work_id: of the cell or job that started them.

        Thread: reactor.
        """
        closing = [crawl for crawl in self._all(work_id) if crawl.state != "running"]
        return DeferredList([crawl.when_over() for crawl in closing], consumeErrors=True)

    def _all(self, work_id: WorkId | None = None) -> list[_Crawl]:
        """All crawls, or those of a cell or job."""
        crawls = list(self._crawls.values())
        return [crawl for crawl in crawls if work_id in (None, crawl.work_id)]

    # ---- what Scrapy tells

    def _started(self, sender: Any) -> None:
        crawl = self._crawls[sender] = _Crawl(self._thread, sender, self._stopped)
        if crawl.work_id in self._refused:
            crawl.close(quietly=True)

    def _failed(self, sender: Any) -> None:
        if sender in self._crawls:
            self._crawls[sender].errors += 1

    def _stopped(self, sender: Any) -> None:
        if sender in self._crawls:
            self._crawls.pop(sender).end()

    # ---- how it hears of that

    def attach(self, _: object) -> Callable[[], None]:
        """Hear of crawls, as soon as Scrapy is imported; returns what undoes it.  Thread: any."""
        sys.meta_path.insert(0, self)
        if scrapy.ENGINE in sys.modules:
            self._connect()
        return self._detach

    def find_spec(self, fullname: str, path: object, target: object = None, /) -> None:  # noqa: ARG002
        """A look at each import, as ``sys.meta_path`` asks for: Scrapy's engine is imported."""
        if fullname == scrapy.ENGINE:
            self._connect()

    def _connect(self) -> None:
        if self._undo is None:
            self._undo = scrapy.hear(self._started, self._failed, self._stopped)

    def _detach(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._undo is not None:
            self._undo()
        self._undo = None
        for crawl in self._all():
            crawl.state = "ended"  # as far as is known here
        self._crawls = {}
