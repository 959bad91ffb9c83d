"""
What one script has added to the logs of the process; `_scripts.script_log` says why.

Thread: any.

Scrapy's ``configure_logging`` sets the levels of Twisted's logger, of its own and
of a few libraries', and takes off their handlers: how they were is noted before,
to be put back.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, cast
from weakref import WeakSet

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python import log as legacy

from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.handlers import WORK, last_resort

__all__ = ["Loggers", "OwnLog", "logs", "set_by_scrapy"]

_root: Final = logging.getLogger()
# Whose level is put back whoever sets it.
_ALWAYS: Final = ("twisted",)


class OwnLog:
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
        if self.work in logs:
            handler.addFilter(_Filter(self.work))
            setattr(handler, WORK, self.work)
        self._added.append(handler)
        last_resort.stay()

    def removed(self, handler: logging.Handler) -> None:
        """Note a handler that it took off the root logger."""
        if handler in self._added:
            self._added.remove(handler)
        else:
            self._removed.append(handler)

    def is_set_up(self) -> bool:
        """Whether it has added anything."""
        return bool(self._observers or self._added)

    def undo(self, later: Sequence[OwnLog]) -> None:
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
        last_resort.stay()
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
            observer.take_all()
        for handler in self._added:
            for one in [one for one in handler.filters if isinstance(one, _Filter)]:
                handler.removeFilter(one)
                setattr(handler, WORK, None)
            if handler is _scrapys_handler():
                _closed.add(handler)  # what Scrapy itself replaces is not to be put back
        last_resort.stay()

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
        self._takes_all = False
        self._mark(work)
        self._work = work
        self._context = context

    def __call__(self, event: LogEvent) -> None:
        """Take an event of the script's, or of nobody's."""
        work = current_work().work
        if work == self._work or self._takes_all:
            self.own(event)
        elif not work:
            self._context.copy().run(self.own, event)

    def take_all(self) -> None:
        """It is no script's: take what all log."""
        self._takes_all = True
        self._mark(None)

    def _mark(self, work: int | None) -> None:
        legacy_observer = getattr(self.own, "legacyObserver", self.own)
        with suppress(AttributeError):  # a function, or one with slots
            setattr(getattr(legacy_observer, "__self__", legacy_observer), WORK, work)

    def __eq__(self, other: object) -> bool:
        """It is found by the observer that it stands for."""
        return other is self or other == self.own

    def __hash__(self) -> int:
        return hash(self.own)


class _Filter(logging.Filter):
    """Lets a script's own records pass."""

    def __init__(self, work: int) -> None:
        super().__init__()
        self._work = work

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the script's handler takes a record."""
        del record
        return current_work().work == self._work


# By the number of their work: the logs of the scripts that have not ended, the oldest first.
logs: Final[dict[int, OwnLog]] = {}
# Handlers that are not to be put back.
_closed: Final[WeakSet[logging.Handler]] = WeakSet()


def set_by_scrapy() -> Iterable[str]:
    """The names of the loggers that Scrapy (2.13 to 2.19) configures, if it is imported."""
    settings: Any = getattr(sys.modules.get("scrapy.utils.log"), "DEFAULT_LOGGING", {})
    names: Iterable[str] = settings.get("loggers", ())
    return names


class Loggers:
    """
    The loggers that one script changes.

    Args:
        names: of those that it may change at any time.
    """

    def __init__(self, names: Iterable[str]) -> None:
        # By name: the level and the handlers.
        self._before: dict[str, tuple[int, tuple[logging.Handler, ...]]] = {}
        self.note(names)

    def note(self, names: Iterable[str]) -> None:
        """Note how loggers are that are about to be changed, unless they have been before."""
        for name in names:
            if name not in self._before:
                logger = logging.getLogger(name)
                self._before[name] = logger.level, tuple(logger.handlers)

    def put_back(self, later: Sequence[Loggers]) -> None:
        """
        Put back what has changed; handlers that were added stay.

        Args:
            later: those of scripts that began after it, which want the change to last.
        """
        for name, before in self._before.items():
            heir = next((each for each in later if name in each._before), None)
            if heir is None:
                _put_back(logging.getLogger(name), *before)
            else:
                heir._before[name] = before


def _put_back(logger: logging.Logger, level: int, handlers: tuple[logging.Handler, ...]) -> None:
    if logger.level != level:
        logger.setLevel(level)
    for handler in handlers:
        logger.addHandler(handler)  # unless it is there
