"""
Scrapy, Agent and treq outside of the reactor thread: refused in one line.

The goal.  ``treq.get(url)`` in a cell that does not await says what to do.

What fails.  These libraries work on what they share with the reactor thread
without any locks.  With every call to the reactor carried, a crawl stopped for
good after 51 of 400 pages, and of 300 ``treq.get().addCallback`` some lost
their callbacks.

What we do.  The first call to the reactor that they make in another thread
raises; who makes it is read from the frames that lead there, up to IPython's.
A connection that Agent has just taken out of its pool goes back.  Scrapy makes
that call after the cell, in a task on the kernel's own loop, where nobody
catches what is raised: the line is printed in the cell, and the crawl is closed
by Scrapy's own means.

What can still go wrong.  Where no loop runs that would step Scrapy's tasks, a
crawl that was not awaited never begins.

Any thread but the reactor's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted_ipython._running import refuse_start
from twisted_ipython._traceback import users_frames_only

__all__ = ["PUT_AWAIT", "refuse"]

PUT_AWAIT: Final = (
    "{library} was started outside of the reactor thread, where it would hang or lose results:"
    " put `await` in front of it, or `%%run_in_reactor` on top of the cell"
)
# By the package or module of their frames.
_LIBRARIES: Final = {"scrapy": "Scrapy", "treq": "treq", "twisted.web.client": "Agent"}
_SCRAPY: Final = _LIBRARIES["scrapy"]
# What runs the cells: frames beyond are not of this cell.
_CELLS: Final = "IPython."
# Turns of the loop within which a crawl that has begun runs.
_TURNS: Final = 1000
_POOL: Final = "twisted.web.client", "getConnection"


def refuse(caller: FrameType) -> None:
    """
    Refuse a call to the reactor that one of the libraries makes.

    Args:
        caller: the frame that makes the call.

    Raises:
        RuntimeError: it is one of them that makes it.
        ReactorAlreadyRunning: it is about to run the reactor.
        Exception: it is a crawl that began before: what Scrapy does not log.
    """
    frames = list(_frames(caller))
    for frame in frames:
        refuse_start(frame)
    # The outermost: it is what the user called.
    libraries = [library for frame in frames if (library := _library(frame)) is not None]
    if not libraries:
        return
    line = PUT_AWAIT.format(library=libraries[-1])
    _put_back_connection(frames)
    if libraries[-1] is _SCRAPY and _close_crawl(frames, line):
        raise _unlogged(frames)(line)
    raise users_frames_only(RuntimeError(line))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frame, and those that called it, within the cell."""
    while frame is not None and not _name(frame).startswith(_CELLS):
        yield frame
        frame = frame.f_back


def _name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _library(frame: FrameType) -> str | None:
    name = _name(frame)
    return _LIBRARIES.get(name) or _LIBRARIES.get(name.partition(".")[0])


def _put_back_connection(frames: list[FrameType]) -> None:
    """Undo what Agent's pool (Twisted 24.10 to 26.10) did before it made the call."""
    for frame in frames:
        names = frame.f_locals
        # The call is the one that cancels the time limit of the connection.
        if (_name(frame), frame.f_code.co_name) == _POOL and (
            names.get("connection") in names["self"]._timeouts
        ):
            names["connections"].insert(0, names["connection"])


def _close_crawl(frames: list[FrameType], line: str) -> bool:
    """Print the line and close the crawl; False if none runs on a loop of this thread."""
    loop = asyncio._get_running_loop()
    engine = next(filter(None, map(_engine, frames)), None)
    if loop is None or engine is None or asyncio.current_task() is None:
        return False
    if engine not in _closing:
        _closing[engine] = loop.create_task(_close(engine))
        print(line, file=sys.stderr)
    return True


def _unlogged(frames: list[FrameType]) -> type[BaseException]:
    """What Scrapy (2.13 to 2.19) takes for the end of what the frames do, not for news."""
    names = {_name(frame) for frame in frames}
    if "scrapy.utils.signal" in names:
        return asyncio.CancelledError
    kind: type[Exception] = sys.modules["scrapy.exceptions"].IgnoreRequest
    return kind


# The crawls that are being closed, by their engines.
_closing: Final[WeakKeyDictionary[Any, asyncio.Task[None]]] = WeakKeyDictionary()


async def _close(engine: Any) -> None:
    """Stop a crawl, once it runs: before, Scrapy (2.19) would go on to start it."""
    for _ in range(_TURNS):
        if engine.running:
            break
        await asyncio.sleep(0)
    await engine.close_async()


def _engine(frame: FrameType) -> Any:
    """The engine of the crawl that the frame works for."""
    one = frame.f_locals.get("self")
    crawler = getattr(one, "crawler", None)
    return getattr(crawler, "_engine", None)
