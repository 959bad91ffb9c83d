"""
The log of one crawl, where its settings ask for one; it ends with the crawl.

A handler takes what the code of its crawl logs.  Exceptions that Scrapy or Twisted
logs are left to the reports, but for a file, which has all.

Thread: reactor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.handlers import CrawlLog, last_resort, takers

# The settings that ask for a log.
_ASKS: Final = ("LOG_ENABLED", "LOG_FILE", "LOG_LEVEL")
# Whose exceptions are reported.
_REPORTED: Final = ("scrapy", "twisted")

# The log of the crawl whose code this is.
_own: Final[ContextVar[CrawlLog | None]] = ContextVar("twisted_ipython_crawl_log", default=None)


class _Log(CrawlLog):
    """Gives what its crawl logs to another handler; ``names`` are loggers that are to log it."""

    def __init__(self, target: logging.Handler, names: list[str]) -> None:
        super().__init__(target.level)
        self._target = target
        self._is_file = isinstance(target, logging.FileHandler)
        self.is_on_screen = isinstance(target, logging.StreamHandler) and not self._is_file
        self._levels: dict[logging.Logger, int] = {}
        for logger in map(logging.getLogger, names):
            # Its own: another log, which has changed it, noted that.
            known = (one._levels[logger] for one in _logs() if logger in one._levels)
            self._levels[logger] = next(known, logger.level)

    def let_through(self) -> None:
        """Have its loggers let through what it wants, and what the other logs of crawls want."""
        for logger, own in self._levels.items():
            wanted = [min(one.level, logging.WARNING) for one in _logs() if logger in one._levels]
            logger.setLevel(min(wanted, default=own))

    @property
    def _twisted_ipython_work(self) -> object:
        """`WORK`: it is for its crawl alone; another of the same cell may go on beside it."""
        return current_work().work if _own.get() is self else object()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is its crawl's, and for it."""
        is_reported = record.levelno >= logging.ERROR and bool(record.exc_info)
        is_left = is_reported and record.name.startswith(_REPORTED) and not self._is_file
        return _own.get() is self and not is_left

    def emit(self, record: logging.LogRecord) -> None:
        """Give it on."""
        self._target.handle(record)

    def close(self) -> None:
        """Close the other handler too."""
        self._target.close()
        super().close()


def _logs() -> list[_Log]:
    return [one for one in logging.root.handlers if isinstance(one, _Log)]


def begin_log(settings: Any, spider: str) -> Callable[[], None]:
    """Begin the log of this context's crawl, if settings ask for one; returns its end."""
    if not any(settings.getpriority(name) for name in _ASKS):
        return lambda: None
    target, root = _target(settings), logging.root
    target.setFormatter(logging.Formatter(settings["LOG_FORMAT"], settings["LOG_DATEFORMAT"]))
    target.setLevel(settings["LOG_LEVEL"])
    log = _Log(target, ["scrapy", spider])
    # What the user has set up shows it already.
    if not log.is_on_screen or not takers(root):
        _own.set(log)
    type(root).addHandler(root, log)
    log.let_through()
    last_resort.stay()

    def end() -> None:
        type(root).removeHandler(root, log)
        log.close()
        log.let_through()
        last_resort.stay()

    return end


def _target(settings: Any) -> logging.Handler:
    if settings["LOG_FILE"]:
        mode = "a" if settings.getbool("LOG_FILE_APPEND") else "w"
        return logging.FileHandler(settings["LOG_FILE"], mode, settings["LOG_ENCODING"])
    enabled = settings.getbool("LOG_ENABLED")
    return logging.StreamHandler() if enabled else logging.NullHandler()
