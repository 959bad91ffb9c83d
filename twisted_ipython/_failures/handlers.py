"""
Who takes a record of Python's logging, and what is shown of those that nobody takes.

One rule holds for all loggers: Python's own last resort, warnings and above to
stderr, unless the user has set up logging.  Handlers that are not for all
records (Scrapy's counter, those of scripts) would switch it off.

An exception that Scrapy logs is shown as a failure.

Thread: any.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Final

from twisted_ipython._base.frames import callers
from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.reports import Reports, reports

LOGGED: Final = "Failure{of_cell}: {text}"
# What an observer or a handler is marked with that only takes what this work logs.
WORK: Final = "_twisted_ipython_work"
# What a handler is marked with that has given Python's log to Twisted's: it shows nothing.
_FEEDS: Final = "_twisted_ipython_feeds"
TWISTED: Final = "twisted"
# The loggers whose exceptions are reported.
_REPORTED: Final = ("scrapy", TWISTED)
_LOGGERS: Final = (logging.root, *map(logging.getLogger, _REPORTED))
# What Twisted says before the failure of a Deferred that nobody handled (24.10 to 26.10).
PRELUDE: Final = "Unhandled error in Deferred:"


class CrawlLog(logging.Handler):
    """A log that shows no exceptions: they are reported beside it."""


def note_feeder(frame: FrameType | None) -> bool:
    """Mark the handler, if one's code logs this event; whether one does.  Thread: any."""
    for one in callers(frame):
        if one.f_code is logging.Handler.handle.__code__:
            setattr(one.f_locals["self"], _FEEDS, True)
            return True
    return False


def _chain_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    """What the records of a logger are given to, as `logging.Logger.callHandlers` finds it."""
    one: logging.Logger | None = logger
    while one is not None:
        yield from one.handlers
        one = one.parent if one.propagate else None


def is_for_all(one: object) -> bool:
    """Whether an observer or a handler takes what the code of this context logs.  Thread: any."""
    return getattr(one, WORK, None) in (None, current_work().work)


def _is_counter(one: logging.Handler) -> bool:
    """Whether it is Scrapy's, which counts records on the root logger during a crawl."""
    return type(one).__name__ == "LogCounterHandler"


def takers(logger: logging.Logger) -> list[logging.Handler]:
    """The handlers that get a record of this context, but ours and a counter.  Thread: any."""
    return [
        one
        for one in _chain_of(logger)
        if is_for_all(one)
        and not (isinstance(one, LastResort) or hasattr(one, _FEEDS) or _is_counter(one))
    ]


def _is_elsewhere(stream: object) -> bool:
    """Whether a stream is the process's own, while what cells print is shown somewhere else."""
    if stream is None or stream not in (sys.__stdout__, sys.__stderr__):
        return False
    # Above a prompt, prompt_toolkit prints on the terminal too.
    return sys.stderr is not stream and not hasattr(sys.stderr, "original_stdout")


def is_shown_by_logging(logger: logging.Logger, level: int) -> bool:
    """Whether logging was set up so that records of this level are shown.  Thread: any."""
    return logger.isEnabledFor(level) and any(
        # A file shows nothing.
        level >= one.level
        and not isinstance(one, (logging.NullHandler, logging.FileHandler, CrawlLog))
        and not _is_elsewhere(getattr(one, "stream", None))
        for one in takers(logger)
    )


def _logged(record: logging.LogRecord) -> BaseException | None:
    """The exception that a record logs as an error, with the traceback that it had then."""
    _, error, found = record.exc_info or (None, None, None)
    if error is None or record.levelno < logging.ERROR:
        return None
    # A Failure may have words only.
    return error.with_traceback(found) if isinstance(found, TracebackType) else error


def _is_failure(record: logging.LogRecord) -> bool:
    """Whether it is one of an observer of Twisted's log, and of a failure or what precedes one."""
    event = getattr(record.msg, "event", {})
    failed = record.levelno >= logging.ERROR and bool({"failure", "log_failure"} & {*event})
    return failed or event.get("log_format") == PRELUDE


class LastResort(logging.Handler):
    """
    Python's last resort, and what reports the exceptions that Scrapy logs and goes on after.

    It is on the loggers of Scrapy and Twisted, to which an observer of the user's may give
    Twisted's log.  While a handler on the root logger is not for all records (Scrapy's counter,
    those of scripts) it is there: Python takes the records of others for handled, and would print
    none.  One in the process, as is the root logger.

    Args:
        reports: what shows failures.
    """

    def __init__(self, reports: Reports) -> None:
        super().__init__(logging.WARNING)
        self._reports = reports

    def stay(self) -> None:
        """Be where it is needed: ``configure_logging`` takes it off.  Thread: any."""
        others = logging.root.handlers
        partial = any(_is_counter(one) or getattr(one, WORK, None) for one in others)
        for logger in _LOGGERS:
            # A record is to come here once.
            apart = self._reports.active and not (partial and logger.propagate)
            needed = partial if logger is logging.root else apart
            if needed != (self in logger.handlers):
                # Not by the root's own method, which notes for whom a handler is.
                method = logging.Logger.addHandler if needed else logging.Logger.removeHandler
                method(logger, self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record that nobody else shows, in the context that logged it.  Thread: any."""
        logger = logging.getLogger(record.name)
        error, is_failure = _logged(record), _is_failure(record)
        is_reported = self._reports.active and record.name.partition(".")[0] in _REPORTED
        if is_reported and (is_failure or error is not None):
            # The observer on Twisted's log shows failures.
            is_shown = is_failure or is_shown_by_logging(logger, record.levelno)
            if error is not None and not is_shown:
                self._reports.report(error, LOGGED.replace("{text}", record.getMessage()))
            return
        is_fed = any(hasattr(one, _FEEDS) for one in _chain_of(logger))
        if logging.lastResort is not None and not (is_fed or takers(logger)):
            logging.lastResort.handle(record)


# Global, since what it stands in for is.
last_resort: Final = LastResort(reports)
