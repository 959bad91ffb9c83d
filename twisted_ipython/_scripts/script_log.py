"""
The log of a script: its observers and handlers are its own, and gone when it ends.

The goal.  ``log.startLogging(sys.stdout)`` and Scrapy's ``configure_logging`` set
up the log of a process.  Here they set up that of a script: it goes to the
script's cell, and afterwards the session's log is as it was.

What fails.  ``startLogging`` makes ``sys.stdout`` a log.  Each `CrawlerProcess` adds
an observer: after three of them Twisted's events are logged three times.  Its
handler on the root logger writes the records of all other cells.

What we do.  On the instances of Twisted's publisher and of the root logger it
is noted which script adds what.  Standard output is never redirected.  Scrapy
also sets the level of some loggers, and takes their handlers off: its observer
comes first, so that is when these are noted.

A plain cell that adds to the logs is a script until it ends; if it was none, what it
added becomes the session's, as what Scrapy sets up in other cells, until the next.

What can still go wrong.  What a script itself sets on other loggers stays.  Thread: any.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, globalLogPublisher
from twisted.python import log as legacy

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.handlers import WORK, last_resort
from twisted_ipython._private.scrapy import forget_root_handler, loggers_it_sets, root_handler

_root: Final = logging.getLogger()


class _Log:
    """
    What one script has added to the logs, and how the loggers were that it changed.

    Args:
        work: the number of its work.
        own: whether it takes only what the script logs.

    Attributes:
        is_scrapys: whether Scrapy has set it up.
        lasts: whether the script has ended, and the next that Scrapy sets up takes its place.
    """

    def __init__(self, work: int, *, own: bool) -> None:
        self.work = work
        self.is_scrapys = False
        self.lasts, self._own = not own, own
        self._context = copy_context()
        self.observers: list[Any] = []
        self.added: list[logging.Handler] = []
        self._removed: list[logging.Handler] = []
        # By name; the root's handlers are noted one by one.
        self._before: dict[str, tuple[int, Sequence[logging.Handler]]] = {}

    def note(self, *names: str) -> None:
        """Note how loggers are that are about to be changed, unless they have been before."""
        for name in names:
            logger = logging.getLogger(name)
            self._before.setdefault(name, (logger.level, logger.handlers[:] if name else ()))

    def observer(self, observer: Any) -> Any:
        """Note an observer that it adds; gives what is added in its place."""
        if self._own:
            _mark(observer, self.work)
            observer = _Observer(self._give, observer)
        self.observers.append(observer)
        return observer

    def _give(self, observer: Callable[[LogEvent], object], event: LogEvent) -> None:
        """Give its observer an event of its own, or of nobody's."""
        work = current_work().work
        if work == self.work or not self._own:
            observer(event)
        elif not work:
            self._context.copy().run(observer, event)

    def add(self, handler: logging.Handler) -> None:
        """Note a handler that it has put on the root logger; of another cell, Scrapy's."""
        if self._own:
            _mark(handler, self.work)
            handler.addFilter(lambda _: not self._own or current_work().work == self.work)
        if self._own or handler is root_handler():
            self.added.append(handler)

    def remove(self, handler: logging.Handler) -> None:
        """Note a handler that it takes off the root logger; Scrapy itself replaces its own."""
        if handler in self.added:
            self.added.remove(handler)
        elif self._own and handler is not root_handler():
            self._removed.append(handler)

    def give_up(self) -> None:
        """It was no script's: what it has added takes what all log."""
        self._own = False
        for one in (*self.added, *(observer.own for observer in self.observers)):
            _mark(one, None)

    def undo(self, later: Sequence[_Log]) -> None:
        """Put the logs back; levels that scripts which began later set as well are theirs."""
        for observer in self.observers:
            own = getattr(observer, "own", observer)
            legacy.removeObserver(getattr(own, "legacyObserver", None))
            globalLogPublisher.removeObserver(observer)
        for handler in self.added:
            type(_root).removeHandler(_root, handler)
            handler.close()
        if root_handler() in self.added:
            forget_root_handler()  # or the next crawl of any cell would put it back
        for handler in self._removed:
            type(_root).addHandler(_root, handler)
        for name, before in self._before.items():
            heir = next((log for log in later if name in log._before), None)
            if heir is None:
                _put_back(logging.getLogger(name), *before)
            else:
                heir._before[name] = before


def _mark(one: Any, work: int | None) -> None:
    """Mark an observer or a handler with the work that it is for; None: for all."""
    function = getattr(one, "legacyObserver", one)
    with suppress(AttributeError):  # a function, or one with slots
        setattr(getattr(function, "__self__", function), WORK, work)


def _put_back(logger: logging.Logger, level: int, handlers: Sequence[logging.Handler]) -> None:
    if logger.level != level:
        type(logger).setLevel(logger, level)
    for handler in handlers:
        logger.addHandler(handler)  # unless it is there


class _Observer(partial[None]):
    """What stands for an observer of a script's, and is found by it."""

    @property
    def own(self) -> Any:
        """The observer; `_failures.logs` asks for it."""
        return self.args[0]

    def __eq__(self, other: object) -> bool:
        return other is self or other == self.own

    def __hash__(self) -> int:
        return hash(self.own)


class Logs:
    """
    The logs of scripts, and those that Scrapy has set up in other cells.

    Args:
        is_script: whether work with that number is a script, or may be one.
    """

    def __init__(self, is_script: Callable[[int], bool]) -> None:
        self._is_script = is_script
        # By the number of their work, the oldest first.
        self._logs: dict[int, _Log] = {}

    def is_noted(self, work: int) -> bool:
        """Whether a script has changed the logs.  Thread: any."""
        return work in self._logs

    def is_set_up(self, work: int) -> bool:
        """Whether a script has set up a log of its own.  Thread: any."""
        return work in self._logs and bool(self._logs[work].observers or self._logs[work].added)

    def give_up(self, work: int) -> None:
        """A cell turns out to be no script: what it added is the session's.  Thread: any."""
        if work in self._logs:
            self._logs[work].give_up()
            last_resort.stay()

    def end(self, work: int, *, stays: bool) -> None:
        """
        A script has ended.

        Args:
            work: the number of its work.
            stays: whether what it added to the logs stays.

        Thread: any.
        """
        log = self._logs.get(work)
        if log is not None:
            log.lasts = stays and log.is_scrapys
            if not stays:
                self._undo(log)
            elif not log.lasts:
                del self._logs[work]

    def undo_of_cell(self) -> None:
        """Take back what Scrapy has set up in this cell, which is no script.  Thread: any."""
        log = self._logs.get(current_work().work)
        if log is not None and log.lasts:
            self._undo(log)

    def _undo(self, log: _Log) -> None:
        logs = list(self._logs.values())
        del self._logs[log.work]
        log.undo([one for one in logs[logs.index(log) + 1 :] if not one.lasts])
        last_resort.stay()

    def _of_caller(self) -> _Log | None:
        """The log of the script or cell whose context this is."""
        work = current_work().work
        if work not in self._logs and self._is_script(work):
            self._logs[work] = _Log(work, own=True)
        return self._logs.get(work)

    # ---- the methods

    def _add_observer(self, add: Callable[[Any], None], observer: ILogObserver) -> None:
        """``globalLogPublisher.addObserver``."""
        log = self._of_caller()
        own = getattr(getattr(observer, "legacyObserver", None), "__self__", None)
        if isinstance(own, legacy.PythonLoggingObserver):  # Scrapy begins to set up a log
            for one in [one for one in self._logs.values() if one.lasts]:
                self._undo(one)  # of which Scrapy itself only takes off the handler
            if log is None or log.lasts:
                log = self._logs[current_work().work] = _Log(current_work().work, own=False)
            log.is_scrapys = True
            log.note("", *loggers_it_sets())
        elif log is not None and log.lasts:
            log = None
        add(observer if log is None else log.observer(observer))

    def _add_handler(self, add: Callable[[Any], None], hdlr: logging.Handler) -> None:
        """``addHandler`` of the root logger."""
        log = self._of_caller()
        add(hdlr)
        if log is not None:
            log.add(hdlr)
        last_resort.stay()

    def _remove_handler(self, remove: Callable[[Any], None], hdlr: logging.Handler) -> None:
        """``removeHandler`` of the root logger."""
        if hdlr is root_handler() and getattr(hdlr, WORK, None) not in (None, current_work().work):
            return  # Scrapy replaces that of another script, which crawls too
        log = self._of_caller()
        if log is not None and hdlr in _root.handlers:
            log.remove(hdlr)
        remove(hdlr)
        last_resort.stay()

    def _set_level(self, change: Callable[[Any], None], level: Any) -> None:
        """``setLevel`` of the root logger."""
        log = self._of_caller()
        if log is not None and not log.lasts:
            log.note("")
        change(level)

    def attach(self, *, owned: bool) -> Callable[[], None]:
        """
        Set what notes changes on the instances of Twisted's log and of the root logger.

        Args:
            owned: whether crochet runs the reactor, and has begun the log.

        Returns:
            What takes it off.

        Thread: any.
        """
        undo = ExitStack()
        if owned:
            undo.callback(override(globalLogBeginner, {"beginLoggingTo": _begin_logging_to}))
        for instance, name, method in (
            (globalLogPublisher, "addObserver", self._add_observer),
            (_root, "addHandler", self._add_handler),
            (_root, "removeHandler", self._remove_handler),
            (_root, "setLevel", self._set_level),
        ):
            own = partial(method, getattr(instance, name))
            undo.callback(override(instance, {name: own}))
        return undo.close


def _begin_logging_to(
    observers: Iterable[ILogObserver], discardBuffer: bool = False, redirectStandardIO: bool = True
) -> None:
    """``globalLogBeginner.beginLoggingTo``: the log has begun, and output is not the log's."""
    del discardBuffer, redirectStandardIO
    for observer in observers:
        globalLogPublisher.addObserver(observer)
