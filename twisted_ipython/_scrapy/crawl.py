"""
One crawl that a cell has begun: its items as they come, its end, and its line.

The items are taken where Scrapy asks its log formatter for the line of each, on
that one instance: a receiver of the signal ``item_scraped`` would cost a task for
each item.  The crawl belongs to the cell or job that begins it, which closes it
as `_reactor.crawls` says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import Any, Final

from IPython.core.getipython import get_ipython
from scrapy import signals
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_ipython._base.formatting import duration
from twisted_ipython._base.instance import override
from twisted_ipython._bridge.ending import Ending, is_cancellation
from twisted_ipython._failures.crawl_log import begin_log
from twisted_ipython._private.scrapy import counts
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._scrapy.items import Items, count, name_of
from twisted_ipython._scrapy.line import Line
from twisted_ipython._waiting.calls import waiting_cell

NOT_HERE: Final = (
    "{what} outside of the reactor thread, where Scrapy cannot work: run `%autoawait twisted`"
    " before the cell that awaits it"
)
# Seconds after which the line of a crawl is drawn again.
_REDRAW_INTERVAL: Final = 0.25


class Crawl:
    """
    A crawl that has begun: ``await`` it, or iterate over its items by ``async for``.

    Args:
        crawler: Scrapy's Crawler, which crawls nothing yet.
        args: for its spider.
        kwargs: likewise.

    Attributes:
        crawler: Scrapy's Crawler.
        items: what was scraped so far.
        ended: whether it is over.
    """

    def __init__(self, crawler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.crawler = crawler
        self.items = Items(crawler)
        self.ended = False
        self._thread = current()
        self._began = monotonic()
        self._errors = 0
        self._closes = False
        self._waiters: list[Deferred[None]] = []
        self._undo = ExitStack()
        self._ending = Ending(self._close)
        self._line = Line()
        self._line.draw(self._text())
        begin = partial(copy_context().run, self._begin, args, kwargs)
        self._result = self._thread.run(begin)

    def close(self) -> None:
        """Close the spider, as Scrapy's first Ctrl-C does.  Thread: any."""
        self._thread.call(self._close)

    def __await__(self) -> Generator[Any, Any, Items]:
        """
        Wait until the crawl is over, any number of times.

        Returns:
            the items.

        Raises:
            KeyboardInterrupt: Ctrl-C, which closes the spider; ``items`` of the exception and
                the ``_`` of the next cell are what was gathered.
            Exception: the spider could not begin.

        Thread: any.
        """
        with self._keeping():
            yield from self._result.__await__()
        return self.items

    def __aiter__(self) -> AsyncIterator[Any]:
        if not self._thread.here():
            raise RuntimeError(NOT_HERE.format(what="The items of a crawl are iterated over"))
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Any]:
        """The items as they come; dropping it before their end closes the spider."""
        given = 0
        try:
            while given < len(self.items) or not self.ended:
                if given < len(self.items):
                    given += 1
                    yield self.items[given - 1]
                else:
                    waiter: Deferred[None] = Deferred()
                    self._waiters.append(waiter)
                    with self._keeping():
                        await waiter
            await self  # raises what it failed with
        finally:
            if not self.ended:
                self.close()

    def __repr__(self) -> str:
        pending = "" if self.ended else ", pending"
        return f"<Crawl of {self._text(ended=self.ended)}{pending}>"

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Within, what ends the wait has what was gathered; so has ``_``."""
        try:
            yield
        except BaseException as error:
            shell = get_ipython()
            stopped = isinstance(error, KeyboardInterrupt) or is_cancellation(error)
            if stopped and shell is not None and waiting_cell(any_cell=False) is not None:
                error.items = self.items  # type: ignore[attr-defined]
                shell.displayhook.update_user_ns(self.items)
            raise

    # ---- in the reactor thread

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Deferred[Any]:
        crawler, told = self.crawler, self.crawler.signals
        told.connect(self._opened, signals.spider_opened)
        told.connect(self._failed, signals.spider_error)
        told.connect(self._failed, signals.item_error)
        self._undo.callback(begin_log(crawler.settings, name_of(crawler)))
        self._redraw()
        crawler.crawl(*args, **kwargs).addBoth(self._end)
        return self._ending

    def _opened(self) -> None:
        # A receiver of the signal would cost a task for each item.
        formatter = self.crawler.logformatter
        scraped = formatter.scraped

        def take(item: Any, *args: Any, **kwargs: Any) -> Any:
            self.items.append(item)
            self._wake()
            return scraped(item, *args, **kwargs)

        self._undo.callback(override(formatter, {"scraped": take}))

    def _failed(self) -> None:
        self._errors += 1

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)

    def _redraw(self) -> None:
        """Show how far it is, from time to time."""
        if self.ended:
            return
        if self._closes:  # it had not begun
            self._close()
        self._line.draw(self._text())
        self._thread.later(_REDRAW_INTERVAL, self._redraw)

    def _close(self) -> None:
        self._closes = True
        found = self._thread.crawls.of(self.crawler)
        if found is not None and found.state == "running":
            found.close(quietly=True)

    def _end(self, result: Any) -> None:
        self._undo.close()
        self._seconds = monotonic() - self._began
        self.ended = True
        self._line.draw(self._text(ended=True), last=True)
        failed = isinstance(result, Failure)
        self._ending.callback(result if failed else self.items)
        self._wake()

    def _text(self, *, ended: bool = False) -> str:
        seconds = self._seconds if ended else monotonic() - self._began
        stats = None
        with suppress(RuntimeError):  # Scrapy 2.19 has no stats before the start
            stats = self.crawler.stats
        pages, _, gave_up = (0, 0, 0) if stats is None else counts(self.crawler)
        done = [(pages, "page"), (len(self.items), "item"), (self._errors + gave_up, "error")]
        words = ", ".join(count(number, word) for number, word in done)
        rate = f"{pages / max(seconds, 1e-3):,.1f} pages/s"
        name = name_of(self.crawler)
        if not ended:
            return f"{name}: {words}, {rate}"
        reason = None if stats is None else stats.get_value("finish_reason")
        return f"{name}: {words} in {duration(seconds)}, {rate}, {reason or 'failed'}"
