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
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python import log as legacy

from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.handlers import WORK, is_for_all, last_resort
from twisted_ipython._private.scrapy import forget_root_handler, loggers_it_sets, root_handler
from twisted_ipython._reactor.overrides import Table

_root: Final = logging.getLogger()


@dataclass
class _Log:
    """
    What one piece of work has changed in the logs.

    Attributes:
        own: whether what it adds takes only what the work logs.
        is_scrapys: whether Scrapy has set it up.
        added: observers of Twisted's log, and handlers of the root logger.
        removed: handlers of the root logger that were there before.
        before: what the loggers that it changed had, by name: the level and, but for the
            root logger, the handlers.
    """

    own: bool
    is_scrapys: bool = False
    added: list[Any] = field(default_factory=list)
    removed: list[logging.Handler] = field(default_factory=list)
    before: dict[str, tuple[int, list[logging.Handler]]] = field(default_factory=dict)

    def note(self, *names: str) -> None:
        """Note how loggers are that are about to be changed, unless they have been before."""
        for name in names:
            logger = logging.getLogger(name)
            self.before.setdefault(name, (logger.level, logger.handlers[:] if name else []))


class _Observer:
    """
    What stands for an observer of a script's: it takes what the script or nobody logs.

    Args:
        own: the observer; `_failures.logs` asks for it, and it is found by it.
        work: the number of the script's work.
    """

    def __init__(self, own: Any, work: int) -> None:
        self.own = own
        self._context = copy_context()
        _mark(self, work)

    def __call__(self, event: LogEvent) -> None:
        if is_for_all(self):
            self.own(event)
        elif not current_work().work:
            self._context.copy().run(self.own, event)

    def __eq__(self, other: object) -> bool:
        return other is self or other == self.own

    def __hash__(self) -> int:
        return hash(self.own)


def _mark(one: Any, work: int | None) -> None:
    """Mark an observer or a handler as one for what this work logs; None: for all."""
    own = getattr(one, "own", one)
    function = getattr(own, "legacyObserver", own)
    for marked in (one, getattr(function, "__self__", function)):
        with suppress(AttributeError):  # one with slots
            setattr(marked, WORK, work)


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
        return work in self._logs and bool(self._logs[work].added)

    def give_up(self, work: int) -> None:
        """A cell turns out to be no script: what it added is the session's.  Thread: any."""
        log = self._logs.get(work)
        if log is not None:
            log.own = False
            for one in log.added:
                _mark(one, None)
            last_resort.stay()

    def end(self, work: int, *, stays: bool) -> None:
        """
        A script has ended.

        Args:
            work: the number of its work.
            stays: whether what it added to the logs stays; what Scrapy set up stays until
                it does so again.

        Thread: any.
        """
        log = self._logs.get(work)
        if log is None or (stays and log.is_scrapys):
            return
        works = list(self._logs)
        after = works[works.index(work) + 1 :]
        del self._logs[work]
        if not stays:
            _undo(log, [self._logs[one] for one in after if self._is_script(one)])
            last_resort.stay()
        elif log.before:
            self._keep_level()

    def _of_caller(self) -> _Log | None:
        """The log of the script or cell whose context this is."""
        work = current_work().work
        if work not in self._logs and self._is_script(work):
            self._logs[work] = _Log(own=True)
        return self._logs.get(work)

    # ---- the methods

    def _add_observer(self, add: Callable[[Any], None], observer: ILogObserver) -> None:
        """``globalLogPublisher.addObserver``."""
        work = current_work().work
        own = getattr(getattr(observer, "legacyObserver", None), "__self__", None)
        if isinstance(own, legacy.PythonLoggingObserver):  # Scrapy begins to set up a log
            for one in list(self._logs):
                if not self._is_script(one):
                    self.end(one, stays=False)  # Scrapy itself only takes off the handler
            log = self._logs.setdefault(work, _Log(own=self._is_script(work)))
            log.is_scrapys = True
            log.note("", *loggers_it_sets())
        elif not self._is_script(work):
            add(observer)
            return
        log = self._logs.setdefault(work, _Log(own=True))
        added = _Observer(observer, work) if log.own else observer
        log.added.append(added)
        add(added)

    def _add_handler(self, add: Callable[[Any], None], hdlr: logging.Handler) -> None:
        """``addHandler`` of the root logger."""
        log = self._of_caller()
        add(hdlr)
        if log is not None and log.own:
            _mark(hdlr, current_work().work)
            hdlr.addFilter(lambda _: is_for_all(hdlr))
        if log is not None and (log.own or hdlr is root_handler()):
            log.added.append(hdlr)
        last_resort.stay()

    def _remove_handler(self, remove: Callable[[Any], None], hdlr: logging.Handler) -> None:
        """``removeHandler`` of the root logger."""
        if hdlr is root_handler() and not is_for_all(hdlr):
            return  # Scrapy replaces that of another script, which crawls too
        log = self._of_caller()
        if log is not None and hdlr in log.added:
            log.added.remove(hdlr)
        elif log is not None and log.own and hdlr in _root.handlers and hdlr is not root_handler():
            log.removed.append(hdlr)
        remove(hdlr)
        last_resort.stay()

    def _set_level(self, change: Callable[[Any], None], level: Any) -> None:
        """``setLevel`` of the root logger."""
        log = self._of_caller()
        if log is None:
            self._keep_level()
        elif self._is_script(current_work().work):
            log.note("")
        change(level)

    def _keep_level(self) -> None:
        """The level of the root logger is the session's own now: no script puts another back."""
        for log in self._logs.values():
            log.before.pop("", None)

    def overrides(self) -> Iterator[tuple[object, Table]]:
        """What is set on the instances of Twisted's log and of the root logger.  Thread: any."""
        for instance, name, method in (
            (globalLogPublisher, "addObserver", self._add_observer),
            (_root, "addHandler", self._add_handler),
            (_root, "removeHandler", self._remove_handler),
            (_root, "setLevel", self._set_level),
        ):
            yield instance, {name: [partial(partial, method)]}


def _undo(log: _Log, later: list[_Log]) -> None:
    """Put the logs back; levels that scripts which began later set as well are theirs."""
    for one in log.added:
        if isinstance(one, logging.Handler):
            type(_root).removeHandler(_root, one)
            one.close()
            if one is root_handler():
                forget_root_handler()  # or the next crawl of any cell would put it back
        else:
            legacy.removeObserver(getattr(getattr(one, "own", one), "legacyObserver", None))
            globalLogPublisher.removeObserver(one)
    for handler in log.removed:
        type(_root).addHandler(_root, handler)
    for name, (level, handlers) in log.before.items():
        heir = next((one for one in later if name in one.before), None)
        logger = logging.getLogger(name)
        if heir is not None:
            heir.before[name] = level, handlers
            continue
        if logger.level != level:
            type(logger).setLevel(logger, level)
        for handler in handlers:
            logger.addHandler(handler)  # unless it is there


def begin_logging_to(observers: Iterable[ILogObserver], *_: object, **__: object) -> None:
    """``globalLogBeginner.beginLoggingTo``: the log has begun, and output is not the log's."""
    for observer in observers:
        globalLogPublisher.addObserver(observer)
