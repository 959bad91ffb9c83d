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

from twisted_ipython._base.work_id import current_work
from twisted_ipython._failures.reports import Reports, reports

LOGGED: Final = "Failure{of_cell}: {text}"
# What an observer or a handler is marked with that only takes what this work logs.
WORK: Final = "_twisted_ipython_work"
# The loggers whose exceptions are shown.
_SCRAPY: Final = "scrapy"
TWISTED: Final = "twisted"
# What Twisted says before the failure of a Deferred that nobody handled (24.10 to 26.10).
PRELUDE: Final = "Unhandled error in Deferred:"


class CrawlLog(logging.Handler):
    """A log that shows no exceptions: they are reported beside it."""


def note_feeder(frame: FrameType | None) -> bool:
    """Note the handler, if one's code logs this event; whether one does.  Thread: any."""
    while frame is not None:
        if frame.f_code is logging.Handler.handle.__code__:
            reports.feeders.add(type(frame.f_locals["self"]))
            return True
        frame = frame.f_back
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
        and not (isinstance(one, (LastResort, ScrapyLog, *reports.feeders)) or _is_counter(one))
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
    """The exception of a record, with the traceback that it was logged with."""
    _, error, found = record.exc_info or (None, None, None)
    if error is not None and isinstance(found, TracebackType):  # a Failure may have words only
        return error.with_traceback(found)
    return error


def _is_failure(record: logging.LogRecord) -> bool:
    """Whether it is one of an observer of Twisted's log, and of a failure or what precedes one."""
    event = getattr(record.msg, "event", {})
    failed = record.levelno >= logging.ERROR and bool({"failure", "log_failure"} & {*event})
    return failed or event.get("log_format") == PRELUDE


class ScrapyLog(logging.Handler):
    """
    Shows what Scrapy logs of exceptions in spiders, pipelines and signal handlers.

    Scrapy goes on after those, and logs them.  The same of what an observer of the user's gives
    of Twisted's log to Python's logging, which would show it by its last resort.

    Args:
        reports: what shows failures.
    """

    def __init__(self, reports: Reports) -> None:
        super().__init__(logging.WARNING)
        self._reports = reports
        self._loggers = [logging.getLogger(name) for name in (_SCRAPY, TWISTED)]

    def stay(self) -> None:
        """Be on the loggers: ``configure_logging`` takes handlers off.  Thread: any."""
        for logger in self._loggers:
            if self not in logger.handlers:
                logger.addHandler(self)

    def leave(self) -> None:
        """Leave the loggers.  Thread: any."""
        for logger in self._loggers:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record that nobody else shows, in the context that logged it.  Thread: any."""
        if is_shown_by_logging(logging.getLogger(record.name), record.levelno):
            return
        if record.name == TWISTED and _is_failure(record):
            return  # the observer on Twisted's log shows it
        error = _logged(record)
        if error is not None and record.levelno >= logging.ERROR:
            self._reports.report(error, LOGGED.replace("{text}", record.getMessage()))
        elif not any(
            isinstance(one, (LastResort, *reports.feeders))
            for one in _chain_of(logging.getLogger(record.name))
        ):
            last_resort.handle(record)


class LastResort(logging.Handler):
    """
    Python's last resort, where a handler on the root logger is not for all records.

    Such are Scrapy's counter and those of scripts: Python takes the records of
    others for handled, and would print none.  One in the process, as is the root logger.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record that nobody takes, in the context that logged it.  Thread: any."""
        logger = logging.getLogger(record.name)
        is_reported = record.levelno >= logging.ERROR and _logged(record) is not None
        if any(isinstance(one, ScrapyLog) for one in _chain_of(logger)) and is_reported:
            return
        if logging.lastResort is not None and not takers(logger):
            logging.lastResort.handle(record)

    def stay(self) -> None:
        """Be on the root logger while it is needed there.  Thread: any."""
        root = logging.root
        # Not by the instance's method, which notes for whom a handler is.
        method = type(root).addHandler if any(map(_is_partial, root.handlers)) else None
        (method or type(root).removeHandler)(root, self)


def _is_partial(one: logging.Handler) -> bool:
    return _is_counter(one) or getattr(one, WORK, None) is not None


# Global, since what it stands in for is.
last_resort: Final = LastResort(logging.WARNING)
