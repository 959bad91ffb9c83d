"""
The log of a script: its observers and handlers are its own, and gone when it ends.

The goal.  ``log.startLogging(sys.stdout)`` and Scrapy's ``configure_logging`` set
up the log of a process.  Here they set up that of a script: it goes to the
script's cell, and afterwards the session's log is as it was.

What fails.  ``startLogging`` makes ``sys.stdout`` a log.  Each `CrawlerProcess` adds
an observer: after three of them Twisted's events are logged three times.  Its
handler on the root logger writes the records of all other cells.

What we do.  On the instances of Twisted's publisher and of the root logger it
is noted who adds what; a script's gets what the script logs.  How loggers are is
noted before they change, and put back when nobody who changed them is left:
Scrapy adds its observer before it changes any.  Standard output is never
redirected.  What an ordinary cell adds is the session's; what Scrapy sets up
there, or where a cell awaits, lasts until it sets up the next.

What can still go wrong.  What a script itself sets on other loggers stays.  Thread: any.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from contextvars import copy_context
from logging import Logger
from typing import Any, Final, cast

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogPublisher,
    globalLogBeginner,
    globalLogPublisher,
)
from twisted.python import log as legacy

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.handlers import WORK, last_resort
from twisted_ipython._private.scrapy import forget_root_handler, loggers_it_sets, root_handler

__all__ = ["Logs"]

# The methods of its class note nothing.
_root: Final = logging.getLogger()
_SCRAPY: Final = "scrapy"


class _Added:
    """
    What was added: an observer, for which it stands, or a handler, whose records it filters.

    Args:
        own: the observer or handler; `_failures.logs` asks for it.
        work: the number of the work that added it.
        only: the number of the work whose logs it takes; None: it takes all.
    """

    def __init__(self, own: Any, work: int, only: int | None) -> None:
        self.own = own
        self.work = work
        self._context = copy_context()
        self.take_only(only)

    def take_only(self, work: int | None) -> None:
        """Take what this work logs; None: take all."""
        self._only = work
        function = getattr(self.own, "legacyObserver", self.own)
        with suppress(AttributeError):  # one with slots
            setattr(getattr(function, "__self__", function), WORK, work)

    def takes(self, _: object = None) -> bool:
        """Whether it takes what this context logs."""
        return self._only in (None, current_work().work)

    def __call__(self, event: LogEvent) -> None:
        """Give the observer an event of its own, or of nobody's."""
        if self.takes():
            self.own(event)
        elif not current_work().work:
            self._context.copy().run(self.own, event)

    def __eq__(self, other: object) -> bool:
        return other is self or other == self.own

    __hash__ = object.__hash__

    def take_off(self) -> None:
        """Take it off."""
        if isinstance(self.own, logging.Handler):
            if self.own is root_handler():
                forget_root_handler()  # or the next crawl of any cell would put it back
            Logger.removeHandler(_root, self.own)
            self.own.close()
        else:
            legacy.removeObserver(getattr(self.own, "legacyObserver", None))
            globalLogPublisher.removeObserver(cast(ILogObserver, self))


class Logs:
    """
    What was added to the logs, and what they were before.

    Args:
        is_script: whether work with that number is a script, or may be one.
    """

    def __init__(self, is_script: Callable[[int], bool]) -> None:
        self._is_script = is_script
        self._added: list[_Added] = []
        # The names of the loggers that were changed, by the work that changed the logs.
        self._changed: dict[int, set[str]] = {}
        # Their levels and handlers; of the root's handlers those that were taken off.
        self._before: dict[str, tuple[int, list[logging.Handler]]] = {}
        # The work whose log lasts, since Scrapy has set it up.
        self._lasting = 0

    def has_changed(self, work: int) -> bool:
        """Whether this work has changed the logs.  Thread: any."""
        return work in self._changed

    def end(self, work: int, *, stays: bool, shared: bool) -> None:
        """
        A script has ended.

        Args:
            work: the number of its work.
            stays: whether what it added to the logs stays.
            shared: whether that takes what all log from now on.

        Thread: any.
        """
        if not stays:
            self._undo(work)
            return
        lasts = _SCRAPY in self._changed.get(work, ())
        for one in self._of(work):
            if shared:
                one.take_only(None)
            if not lasts:
                self._added.remove(one)
        if lasts:
            self._undo(self._lasting)
            self._lasting = work
        else:
            for name in self._changed.pop(work, ()):
                self._before.pop(name, None)
        last_resort.stay()

    def undo_of_cell(self) -> None:
        """Take back what Scrapy has set up in this cell, which is no script.  Thread: any."""
        if self._lasting == current_work().work:
            self._undo(self._lasting)

    def _of(self, work: int) -> list[_Added]:
        return [one for one in self._added if one.work == work]

    def _undo(self, work: int) -> None:
        """Take off what some work has added, and put back what only that has changed."""
        for one in self._of(work):
            self._added.remove(one)
            one.take_off()
        names = self._changed.pop(work, set())
        for name in names.difference(*self._changed.values()):
            if name in self._before:
                level, handlers = self._before.pop(name)
                _put_back(logging.getLogger(name), level, handlers)
        last_resort.stay()

    def _note(self, work: int, *names: str) -> None:
        """Some work is about to change the logs, and these loggers."""
        self._changed.setdefault(work, set()).update(names)
        for name in names:
            logger = logging.getLogger(name)
            self._before.setdefault(name, (logger.level, logger.handlers[:] if name else []))

    def _note_added(self, own: Any, work: int) -> _Added:
        self._added.append(_Added(own, work, work if self._is_script(work) else None))
        return self._added[-1]

    # ---- what is set on the instances

    def _add_observer(self, observer: ILogObserver) -> None:
        """``globalLogPublisher.addObserver``."""
        work = current_work().work
        is_script = self._is_script(work)
        own = getattr(getattr(observer, "legacyObserver", None), "__self__", None)
        is_scrapys = isinstance(own, legacy.PythonLoggingObserver)
        if is_scrapys:
            self._undo(self._lasting)  # of which Scrapy itself only takes off the handler
            if not is_script:
                self._lasting = work
            self._note(work, "", _SCRAPY, *loggers_it_sets())
        if is_script or is_scrapys:
            self._note(work)
            observer = cast(ILogObserver, self._note_added(observer, work))
        LogPublisher.addObserver(globalLogPublisher, observer)

    def _add_handler(self, hdlr: logging.Handler) -> None:
        """``addHandler`` of the root logger."""
        work = current_work().work
        Logger.addHandler(_root, hdlr)
        if self._is_script(work):
            self._note(work, "")
            hdlr.addFilter(self._note_added(hdlr, work).takes)
        elif hdlr is root_handler() and self._lasting in self._changed:
            self._note_added(hdlr, self._lasting)
        last_resort.stay()

    def _remove_handler(self, hdlr: logging.Handler) -> None:
        """``removeHandler`` of the root logger."""
        work = current_work().work
        added = next((one for one in self._added if one == hdlr), None)
        if added is not None:
            if hdlr is root_handler() and not added.takes():
                return  # Scrapy replaces that of another script, which crawls too
            self._added.remove(added)
        elif self._is_script(work) and hdlr in _root.handlers and hdlr is not root_handler():
            self._note(work, "")
            self._before[""][1].append(hdlr)
        Logger.removeHandler(_root, hdlr)
        last_resort.stay()

    def _set_level(self, level: Any) -> None:
        """``setLevel`` of the root logger."""
        if self._is_script(current_work().work):
            self._note(current_work().work, "")
        Logger.setLevel(_root, level)

    def attach(self, *, owned: bool) -> Callable[[], None]:
        """
        Set what notes changes on the instances of Twisted's log and of the root logger.

        Args:
            owned: whether crochet runs the reactor, and has begun the log.

        Returns:
            What takes it off.

        Thread: any.
        """
        methods = {
            "addHandler": self._add_handler,
            "removeHandler": self._remove_handler,
            "setLevel": self._set_level,
        }
        undo = ExitStack()
        undo.callback(override(_root, methods))
        undo.callback(override(globalLogPublisher, {"addObserver": self._add_observer}))
        if owned:
            undo.callback(override(globalLogBeginner, {"beginLoggingTo": _begin_logging_to}))
        return undo.close


def _put_back(logger: Logger, level: int, handlers: list[logging.Handler]) -> None:
    if logger.level != level:
        Logger.setLevel(logger, level)
    for handler in handlers:
        Logger.addHandler(logger, handler)  # unless it is there


def _begin_logging_to(
    observers: Iterable[ILogObserver], discardBuffer: bool = False, redirectStandardIO: bool = True
) -> None:
    """``globalLogBeginner.beginLoggingTo``: the log has begun, and output is not the log's."""
    del discardBuffer, redirectStandardIO
    for observer in observers:
        globalLogPublisher.addObserver(observer)
