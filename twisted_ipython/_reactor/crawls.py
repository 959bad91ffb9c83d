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
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from contextvars import copy_context
from time import time
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
        crawls: the table that it is in.
        crawler: Scrapy's.

    Attributes:
        work_id: of the cell or job that started it.
        spider: the name of its spider.
        state: ``running``, ``closing``, or ``ending`` when its requests are dropped.
        errors: how many exceptions its spider and its pipelines raised.
    """

    def __init__(self, crawls: Crawls, crawler: Any) -> None:
        self.work_id = current_work()
        self.spider: str = crawler.spider.name
        self.state = "running"
        self.errors = 0
        self._crawls = crawls
        self._crawler = crawler
        self._began = time()
        self._context = copy_context()
        self._closing: Any = None
        self._dropping: Any = None
        self._over: list[Deferred[None]] = []

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

    def _begin(self, coro: Coroutine[Any, Any, None]) -> Any:
        # What the spider prints meanwhile belongs to the cell that started the crawl.
        return self._context.copy().run(self._crawls.begin, coro)

    async def _drop(self) -> None:
        """Cancel its tasks, and tell its extensions that it is over."""
        self._crawls.later(_PATIENCE, self._crawls.remove, self)
        self._closing.cancel()
        for _ in range(_ROUNDS):  # what ends may begin the next of a queue
            tasks = set(self._tasks())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_PATIENCE / 2 / _ROUNDS)
        await scrapy.end(self._crawler)

    def _tasks(self) -> Iterator[asyncio.Task[Any]]:
        """The tasks of Scrapy's that its cell or job began, but for the one that closes it."""
        for task in self._crawls.tasks():
            frames = list(frames_of_coroutine(task.get_coro()))
            # Not a cell or job, which is cancelled as such, nor what closes the crawl.
            if not frames or is_our_frame(frames[0]) or not any(map(scrapy.is_scrapys, frames)):
                continue
            if work_in(context_of(task)) == self.work_id:
                yield task

    def watch(self) -> None:
        """Close it when the task that runs it has ended before it."""
        for task in self._crawls.tasks():
            frames = frames_of_coroutine(task.get_coro())
            if any(scrapy.runs_engine(frame, self._crawler) for frame in frames):
                task.add_done_callback(self._close_if_left)

    def _close_if_left(self, _: object) -> None:
        if self in self._crawls and self.state == "running":
            self.close()

    def when_over(self) -> Deferred[None]:
        """A Deferred that fires at its end; cancelling it is one more `close`.  Thread: reactor."""
        over: Deferred[None] = Deferred(lambda _: self.close())
        self._over.append(over)
        return over

    def end(self) -> None:
        """It is over.  Thread: reactor."""
        over, self._over = self._over, []
        for one in over:
            if not one.called:
                one.callback(None)


class Crawls:
    """The crawls that have not ended."""

    def __init__(self) -> None:
        self._crawls: dict[Any, _Crawl] = {}
        self._refused: set[WorkId] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._undo: Callable[[], None] | None = None

    def __contains__(self, crawl: _Crawl) -> bool:
        return crawl in self._crawls.values()

    # ---- what others ask

    def table(self) -> Table:
        """The table of `%reactor`.  Thread: any."""
        return Table("Crawls", _HEADINGS, [crawl.row() for crawl in list(self._crawls.values())])

    def of(self, crawler: Any) -> _Crawl | None:
        """The crawl of a crawler, while its engine runs.  Thread: reactor."""
        return self._crawls.get(crawler)

    def spiders(self, besides: Collection[WorkId] = ()) -> set[str]:
        """The names of the spiders that crawl, but for those of some cells.  Thread: any."""
        crawls = list(self._crawls.values())
        return {crawl.spider for crawl in crawls if crawl.work_id not in besides}

    def close(self, work_id: WorkId) -> None:
        """
        Close the crawls of a cell or job; the second time, drop their requests.

        Args:
            work_id: of the cell or job.

        Thread: reactor.
        """
        self._close(crawl for crawl in self._crawls.values() if crawl.work_id == work_id)

    def close_spider(self, name: str) -> None:
        """Close the crawls of the spider ``name``; again, drop their requests.  Thread: reactor."""
        self._close(crawl for crawl in self._crawls.values() if crawl.spider == name)

    def _close(self, found: Iterable[_Crawl]) -> None:
        for crawl in list(found):
            crawl.close()

    def drop(self, work_id: WorkId) -> None:
        """End the crawls of a cell or job without finishing their requests.  Thread: reactor."""
        for crawl in list(self._crawls.values()):
            if crawl.work_id == work_id:
                crawl.close(quietly=True)
                crawl.close()

    def refuse(self, work_id: WorkId) -> None:
        """Close what a refused cell crawls, also when it has yet to begin.  Thread: any."""
        self._refused.add(work_id)
        for crawl in list(self._crawls.values()):
            if crawl.work_id == work_id and crawl.state == "running":
                crawl.close(quietly=True)

    def when_closed(self, work_id: WorkId) -> Deferred[Any]:
        """
        Wait for the crawls of a cell or job that are being closed.

        Args:
            work_id: of the cell or job.

        Returns:
            a Deferred that fires at their end; cancelling it drops their requests.

        Thread: reactor.
        """
        mine = [crawl for crawl in self._crawls.values() if crawl.work_id == work_id]
        return DeferredList(
            [crawl.when_over() for crawl in mine if crawl.state != "running"], consumeErrors=True
        )

    # ---- what Scrapy tells

    def _started(self, sender: Any) -> None:
        crawl = self._crawls[sender] = _Crawl(self, sender)
        crawl.watch()
        if crawl.work_id in self._refused:
            crawl.close(quietly=True)

    def _failed(self, sender: Any) -> None:
        if sender in self._crawls:
            self._crawls[sender].errors += 1

    def _stopped(self, sender: Any) -> None:
        if sender in self._crawls:
            self.remove(self._crawls[sender])

    def remove(self, crawl: _Crawl) -> None:
        """Note the end of a crawl.  Thread: reactor."""
        self._crawls = {key: one for key, one in self._crawls.items() if one is not crawl}
        crawl.end()

    # ---- what a crawl needs of the reactor

    def begin(self, coro: Any) -> Any:
        """A task, or without a loop a Deferred, of a coroutine.  Thread: reactor."""
        return ensureDeferred(coro) if self._loop is None else self._loop.create_task(coro)

    def tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks of the reactor's loop.  Thread: reactor."""
        return set() if self._loop is None else asyncio.all_tasks(self._loop)

    def attach(self, thread: Any) -> Callable[[], None]:
        """
        Hear of crawls, as soon as Scrapy is imported.

        Args:
            thread: the reactor thread.

        Returns:
            What undoes it.

        Thread: any.
        """
        self._loop = thread.loop
        self.later: Callable[..., object] = thread.later
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
        self._crawls = {}
