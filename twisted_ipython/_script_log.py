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

Any thread.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, Final, cast
from weakref import WeakSet

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, globalLogPublisher
from twisted.python import log as legacy

from twisted_ipython import _numbers
from twisted_ipython._hints import ShellHint
from twisted_ipython._instance import override
from twisted_ipython._loggers import Loggers, set_by_scrapy

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
# Whose level is put back whoever sets it.
_ALWAYS: Final = ("twisted",)


class _Log:
    """
    What one script, or a cell, has added to the logs.

    Args:
        work: its number.
        context: of the script.
    """

    def __init__(self, work: int, context: Context) -> None:
        self.work = work
        self.is_scrapys = False
        self.level: int | None = None
        self.loggers = Loggers(_ALWAYS)
        self._context = context
        self._observers: list[_Observer] = []
        self._added: list[logging.Handler] = []
        self._removed: list[logging.Handler] = []

    def observer(self, own: ILogObserver) -> _Observer:
        """What stands for an observer that it adds."""
        observer = _Observer(own, self.work, self._context)
        self._observers.append(observer)
        return observer

    def added(self, handler: logging.Handler) -> None:
        """Note a handler that it put on the root logger."""
        if self.work in _logs:
            level = _root.level if self.level is None else self.level
            handler.addFilter(_Filter(self.work, level))
        self._added.append(handler)

    def removed(self, handler: logging.Handler) -> None:
        """Note a handler that it took off the root logger."""
        if handler in self._added:
            self._added.remove(handler)
        else:
            self._removed.append(handler)

    def is_set_up(self) -> bool:
        """Whether it has added anything."""
        return bool(self._observers or self._added)

    def undo(self, later: Sequence[_Log]) -> None:
        """Put the logs back; ``later`` are the logs of scripts that began after it."""
        for observer in self._observers:
            own = getattr(observer.own, "legacyObserver", None)
            if own is not None:
                legacy.removeObserver(own)
            globalLogPublisher.removeObserver(cast(ILogObserver, observer))
        self._forget_scrapys()
        for handler in self._added:
            type(_root).removeHandler(_root, handler)
            handler.close()
            _closed.add(handler)
        for handler in self._removed:
            if handler not in _closed:
                type(_root).addHandler(_root, handler)
        if self.level is not None:
            heir = next((log for log in later if log.level is not None), None)
            if heir is None:
                type(_root).setLevel(_root, self.level)
            else:
                heir.level = self.level
        self.loggers.put_back([log.loggers for log in later])

    def give_up(self) -> None:
        """It was no script: what it has added takes what all write."""
        for observer in self._observers:
            observer.takes_all = True
        for handler in self._added:
            for one in [one for one in handler.filters if isinstance(one, _Filter)]:
                handler.removeFilter(one)
            if handler is _scrapys_handler():
                _closed.add(handler)  # what Scrapy itself replaces is not to be put back

    def _forget_scrapys(self) -> None:
        """Have Scrapy forget its handler, or the next crawl of any cell would put it back."""
        if _scrapys_handler() in self._added:
            sys.modules["scrapy.utils.log"]._uninstall_scrapy_root_handler()  # Scrapy 2.13 to 2.19


def _scrapys_handler() -> Any:
    """Scrapy's handler of the root logger, if there is one."""
    scrapys: Any = sys.modules.get("scrapy.utils.log")
    return None if scrapys is None else scrapys.get_scrapy_root_handler()


class _Observer:
    """An observer that a script has added; it writes to the script's cell."""

    def __init__(self, own: Any, work: int, context: Context) -> None:
        self.own = own
        self.takes_all = False
        self._work = work
        self._context = context

    def __call__(self, event: LogEvent) -> None:
        """Take an event, unless another script logs it."""
        work = _numbers.current().work
        if work == self._work or self.takes_all:
            self.own(event)
        elif work not in _logs:
            self._context.copy().run(self.own, event)

    def __eq__(self, other: object) -> bool:
        """It is found by the observer that it stands for."""
        return other is self or other == self.own

    def __hash__(self) -> int:
        return hash(self.own)


class _Filter(logging.Filter):
    """Lets a script's own records pass, and those of others that would be shown without it."""

    def __init__(self, work: int, level: int) -> None:
        super().__init__()
        self._work = work
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the script's handler takes a record."""
        return _numbers.current().work == self._work or record.levelno >= self._level


# By the number of their work: the logs of the scripts that have not ended, the oldest first.
_logs: Final[dict[int, _Log]] = {}
# The numbers of plain cells that run.
_cells: Final[set[int]] = set()
# What Scrapy has set up in cells that were no scripts, until it sets up another.
_of_cells: Final[dict[int, _Log]] = {}
# Handlers of scripts that have ended.
_closed: Final[WeakSet[logging.Handler]] = WeakSet()


def begin(work: int, context: Context) -> None:
    """A script begins."""
    _logs[work] = _Log(work, context)


def begin_cell(work: int) -> None:
    """A plain cell begins, which has a log once it adds something."""
    _cells.add(work)


def end_cell(work: int) -> bool:
    """It has ended; whether `end` is still to come."""
    _cells.discard(work)
    return work in _logs


def is_set_up(work: int) -> bool:
    """Whether a script has set up a log of its own."""
    return work in _logs and _logs[work].is_set_up()


def end(work: int, *, stays: bool) -> None:
    """A script has ended; what it added stays, or is gone."""
    later = list(_logs.values())
    log = _logs.pop(work, None)
    if log is not None and not stays:
        log.undo(later[later.index(log) + 1 :])
    elif log is not None and log.is_scrapys:
        _of_cells[work] = log


def give_up(work: int) -> None:
    """A cell turns out to be no script: what it added is the session's."""
    if work in _logs:
        _logs[work].give_up()


def undo_of_cell() -> None:
    """Take back what Scrapy has set up in this cell, which is no script."""
    log = _of_cells.pop(_numbers.current().work, None)
    if log is not None:
        log.undo(())


def _log_of(*, scrapys: bool) -> _Log | None:
    """Where to note what is done in this context; ``scrapys`` tells whether Scrapy does it."""
    work = _numbers.current().work
    log = _logs.get(work)
    if log is None and work in _cells:
        log = _logs[work] = _Log(work, copy_context())
    elif log is None and scrapys:
        log = _of_cells.get(work) or _Log(work, Context())
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
        elif log.work in _logs:
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

    def remove_handler(hdlr: logging.Handler) -> None:
        log = _log_of(scrapys=False)
        if log is not None and hdlr in _root.handlers:
            log.removed(hdlr)
        remove(hdlr)

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
    scraper, hint = logging.getLogger("scrapy.core.scraper"), ShellHint()
    scraper.addFilter(hint)
    undo.callback(scraper.removeFilter, hint)
    undo.callback(override(_root, _root_methods()))
    return undo.close
