"""
Crawls that begin outside of the reactor thread: refused before they have begun.

The goal.  ``CrawlerRunner().crawl(Spider)`` in a cell that does not await says
at once what to do, fails, and leaves nothing behind.

What fails.  Scrapy gives its work to asyncio's loop of the thread that it is
called in.  In a kernel that is the kernel's own: the crawl gets as far as its
first call to the reactor.  At a terminal nobody runs that loop: the crawl never
begins, never ends, and nothing is said.

What we do.  A crawl first makes its extensions and middlewares, and asks a
logger whether anybody reads which.  There it is refused, by a method on that
one logger: what is raised becomes the failure of its Deferred, or of its task.
`AsyncCrawlerRunner` only makes a task.  Where nobody runs the loop, the task is
found after the cell, and the loop is run for as long as the refusal takes.

What can still go wrong.  In these turns the loop runs what else is due on it.
The crawl of a `CrawlerProcess` begins: it is ``start()`` that is refused, and
what waits of the crawl is cancelled then.

Seen in Scrapy 2.13 to 2.19.  Any thread but the reactor's.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from twisted_ipython._callers import any_is_refused, is_of_refused
from twisted_ipython._instance import override
from twisted_ipython._refused import PUT_AWAIT
from twisted_ipython._report import mark_shown
from twisted_ipython._traceback import users_frames_only

__all__ = ["attach", "look"]

# Modules, and the names of their loggers.
_MIDDLEWARE: Final = "scrapy.middleware"
_CRAWLER: Final = "scrapy.crawler"
_ENGINE: Final = "scrapy.core.engine"
_BEGIN: Final = {"crawl", "crawl_async"}
# One in which the task is refused, and one in which Scrapy is told so.
_TURNS: Final = 2

_logger: Final = logging.getLogger(_MIDDLEWARE)
# What tells whether this is the reactor thread, while crawls in others are refused.
_here: Final[list[Callable[[], bool]]] = []


def attach(here: Callable[[], bool]) -> Callable[[], None]:
    """
    Refuse crawls that begin in other threads than the reactor's.

    Args:
        here: whether the caller is in the reactor thread.

    Returns:
        What has them begin again.
    """
    own = _logger.isEnabledFor

    def is_enabled_for(level: int) -> bool:
        if not here():
            _refuse(sys._getframe(1))
        return own(level)

    take_off = override(_logger, {"isEnabledFor": is_enabled_for})
    _here.append(here)

    def undo() -> None:
        take_off()
        _here.remove(here)

    return undo


def _refuse(logs: FrameType) -> None:
    """Refuse a crawl that begins, if it is that which leads to a frame that logs."""
    frames = list(_of_crawler(logs))
    owners = [frame.f_locals.get("self") for frame in frames]
    if all(frame.f_code.co_name not in _BEGIN for frame in frames) or any(map(_is_process, owners)):
        return
    if asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None and _owner(task)[0] == _CRAWLER:
            task.add_done_callback(_look_at)
    line = PUT_AWAIT.format(library="Scrapy")
    print(line, file=sys.stderr)
    error = users_frames_only(RuntimeError(line))
    mark_shown(error)
    raise error


def _of_crawler(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of runners and crawlers among a frame and those that called it."""
    while frame is not None:
        if frame.f_globals.get("__name__") == _CRAWLER:
            yield frame
        frame = frame.f_back


def _is_process(one: object) -> bool:
    """Whether it is a process of Scrapy's, and no runner or crawler."""
    return hasattr(one, "start")


def _owner(task: Task[Any]) -> tuple[str, Any]:
    """The module and the object whose coroutine a task runs; of Scrapy's, or nothing."""
    frame: FrameType | None = getattr(task.get_coro(), "cr_frame", None)
    module = "" if frame is None else str(frame.f_globals.get("__name__"))
    if frame is None or module not in (_CRAWLER, _ENGINE):
        return "", None
    return module, frame.f_locals.get("self")


def _look_at(task: Task[Any]) -> None:
    """Look at a task's failure, or asyncio would tell of it again."""
    if not task.cancelled():
        task.exception()


# ---- where nobody runs the loop


def look(_: object = None) -> None:
    """
    After a cell: end the crawls that cannot go on, on the loop that this thread has.

    Those of a `CrawlerProcess` that was refused are cancelled.  Where nobody runs
    the loop, crawls that wait on it are refused too.  In the home thread; does
    nothing if Scrapy is not imported.
    """
    if not _here or _CRAWLER not in sys.modules or _here[-1]():
        return
    loop = asyncio._get_running_loop() or _loop_of_thread()
    if loop is None or loop.is_closed() or (loop.is_running() and not any_is_refused()):
        return
    ending = [task for task in asyncio.all_tasks(loop) if _ends(task)]
    if ending and not loop.is_running():
        for _turn in range(_TURNS):
            loop.call_soon(loop.stop)
            loop.run_forever()


def _ends(task: Task[Any]) -> bool:
    """Whether a task of Scrapy's ends in the next turn of its loop."""
    module, owner = _owner(task)
    if is_of_refused(getattr(owner, "crawler", owner)):
        return task.cancel()
    # It is refused when it begins.
    return module == _CRAWLER and not _is_process(owner)


def _loop_of_thread() -> AbstractEventLoop | None:
    """The loop that `asyncio.get_event_loop` would give, if there is one."""
    if sys.version_info >= (3, 14):
        with suppress(RuntimeError):
            return asyncio.get_event_loop()
        return None
    # That would make one on Python 3.11, and warn of it on 3.12 and 3.13.
    local = getattr(asyncio.get_event_loop_policy(), "_local", None)
    loop: AbstractEventLoop | None = getattr(local, "_loop", None)
    return loop
