"""
The log of a script: its observers and handlers are its own, and gone when it ends.

The goal.  ``log.startLogging(sys.stdout)`` and Scrapy's ``configure_logging`` set
up the log of a process.  Here they set up that of a script: it goes to the
script's cell, and afterwards the session's log is as it was.

What fails.  ``startLogging`` makes ``sys.stdout`` a log, which takes over every
later ``print``.  Each `CrawlerProcess` adds an observer: after three of them
Twisted's events are logged three times.  Its handler on the root logger, which
then takes every level, writes the records of all other cells.

What we do.  On the instances of Twisted's publisher and of the root logger it
is noted which script adds what.  Standard output is never redirected.

Scrapy also sets the level of some loggers, and takes their handlers off; its
observer comes first, so that is when they are noted.

A plain cell that adds to the logs is a script as far as is known until it ends;
if it was none, what it has added becomes the session's, as it would be without
all this.

What can still go wrong.  What a script itself sets on other loggers stays.

Thread: any.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, Final, cast

from twisted.logger import ILogObserver, globalLogBeginner, globalLogPublisher
from twisted.python import log as legacy

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.handlers import last_resort
from twisted_ipython._scripts.notes import ShellNote
from twisted_ipython._scripts.own_log import OwnLog, logs, set_by_scrapy

__all__ = [
    "attach",
    "begin",
    "begin_cell",
    "end",
    "end_cell",
    "give_up",
    "is_set_up",
    "undo_of_cell",
]

_root: Final = logging.getLogger()


# The numbers of plain cells that run.
_cells: Final[set[int]] = set()
# What Scrapy has set up in cells that were no scripts, until it sets up another.
_of_cells: Final[dict[int, OwnLog]] = {}


def begin(work: int, context: Context) -> None:
    """A script begins."""
    logs[work] = OwnLog(work, context)


def begin_cell(work: int) -> None:
    """A plain cell begins, which has a log once it adds something."""
    _cells.add(work)


def end_cell(work: int) -> bool:
    """It has ended; whether `end` is still to come."""
    _cells.discard(work)
    return work in logs


def is_set_up(work: int) -> bool:
    """Whether a script has set up a log of its own."""
    return work in logs and logs[work].is_set_up()


def end(work: int, *, stays: bool) -> None:
    """A script has ended; what it added stays, or is gone."""
    later = list(logs.values())
    log = logs.pop(work, None)
    if log is not None and not stays:
        log.undo(later[later.index(log) + 1 :])
    elif log is not None and log.is_scrapys:
        _of_cells[work] = log


def give_up(work: int) -> None:
    """A cell turns out to be no script: what it added is the session's."""
    if work in logs:
        logs[work].give_up()


def undo_of_cell() -> None:
    """Take back what Scrapy has set up in this cell, which is no script."""
    log = _of_cells.pop(current_work().work, None)
    if log is not None:
        log.undo(())


def _log_of(*, scrapys: bool) -> OwnLog | None:
    """Where to note what is done in this context; ``scrapys`` tells whether Scrapy does it."""
    work = current_work().work
    log = logs.get(work)
    if log is None and work in _cells:
        log = logs[work] = OwnLog(work, copy_context())
    elif log is None and scrapys:
        log = _of_cells.get(work) or OwnLog(work, Context())
    return log


# ---- the methods


def _begin_logging_to(
    observers: Iterable[ILogObserver], discardBuffer: bool = False, redirectStandardIO: bool = True
) -> None:
    """``globalLogBeginner.beginLoggingTo``: the log has begun, and output is not the log's."""
    del discardBuffer, redirectStandardIO
    for observer in observers:
        globalLogPublisher.addObserver(observer)


def _adding_observers() -> Callable[[ILogObserver], None]:
    """``globalLogPublisher.addObserver``."""
    original = globalLogPublisher.addObserver

    def add_observer(observer: ILogObserver) -> None:
        own = getattr(getattr(observer, "legacyObserver", None), "__self__", None)
        is_scrapys = isinstance(own, legacy.PythonLoggingObserver)
        log = _log_of(scrapys=is_scrapys)
        if is_scrapys:
            assert log is not None
            log.is_scrapys = True
            log.loggers.note(set_by_scrapy())
            # Scrapy itself takes off its handler of before, and nothing else.
            while _of_cells:
                _of_cells.popitem()[1].undo(())
        if log is None:
            original(observer)
        elif log.work in logs:
            original(cast(ILogObserver, log.observer(observer)))
        else:
            _of_cells[log.work] = log
            log.observer(observer)
            original(observer)

    return add_observer


def _root_methods() -> dict[str, Callable[..., None]]:
    """The root logger's methods that change it."""
    add, remove, set_level = _root.addHandler, _root.removeHandler, _root.setLevel

    def add_handler(hdlr: logging.Handler) -> None:
        log = _log_of(scrapys=_is_scrapys(sys._getframe(1)))
        add(hdlr)
        if log is not None:
            log.added(hdlr)
        last_resort.stay()

    def remove_handler(hdlr: logging.Handler) -> None:
        log = _log_of(scrapys=False)
        if log is not None and hdlr in _root.handlers:
            log.removed(hdlr)
        remove(hdlr)
        last_resort.stay()

    def change_level(level: Any) -> None:
        log = _log_of(scrapys=_is_scrapys(sys._getframe(1)))
        if log is not None and log.level is None:
            log.level = _root.level
        set_level(level)

    return {"addHandler": add_handler, "removeHandler": remove_handler, "setLevel": change_level}


def _is_scrapys(caller: FrameType) -> bool:
    return caller.f_globals.get("__name__") == "scrapy.utils.log"


def attach(*, owned: bool) -> Callable[[], None]:
    """
    Set what notes changes on Twisted's log and on the root logger, and a hint on Scrapy's.

    Args:
        owned: whether crochet runs the reactor, and has begun the log.

    Returns:
        What takes it off.
    """
    undo = ExitStack()
    if owned:
        undo.callback(override(globalLogBeginner, {"beginLoggingTo": _begin_logging_to}))
    undo.callback(override(globalLogPublisher, {"addObserver": _adding_observers()}))
    scraper, hint = logging.getLogger("scrapy.core.scraper"), ShellNote()
    scraper.addFilter(hint)
    undo.callback(scraper.removeFilter, hint)
    undo.callback(override(_root, _root_methods()))
    return undo.close
