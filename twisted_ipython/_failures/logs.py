"""
Twisted's log in Python's logging, where it was logged; failures in a log are shown.

crochet gives Twisted's log to Python's logging in a thread of its own, where
neither the thread nor the context is that of the code that logged.  `attach`
puts an observer in its place that does so at once.  The root logger is left
alone.

A failure in Twisted's log, or an exception in Scrapy's, is shown as a failure,
unless Python's logging is set up to show it.  Any thread.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any, Final, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure

from twisted_ipython._base.frames import is_user_frame
from twisted_ipython._base.work_id import NO_WORK, current_work
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._failures.origin import context_of
from twisted_ipython._failures.reports import Reports

__all__ = ["ScrapyLog", "attach", "is_shown_by_logging"]

# What Twisted says before the failure of a Deferred that nobody handled (24.10 to 26.10).
_PRELUDE: Final = ("twisted.internet.defer", "Unhandled error in Deferred:")
UNHANDLED: Final = "Unhandled error in a Deferred{of_cell}:"
LOGGED: Final = "Failure{of_cell}: {text}"
UNNAMED: Final = "Failure{of_cell}:"
# What Twisted, and we in its place, say before a failure without saying whose it is.
_SAYS_NOTHING: Final = re.compile("|while (handling timed call|calling from thread).*", re.DOTALL)
# What calls the user's functions, by the module and the name of a frame that leads there.
_CALLERS: Final = {
    ("twisted_ipython._reactor.delayed_calls", "_run"): "a timer's {function}()",
    ("twisted.internet.base", "runUntilCurrent"): "a timer's {function}()",
    ("twisted.internet.task", "__call__"): "a LoopingCall's {function}()",
    ("twisted_ipython._reactor.thread_pool", "_noted"): "the thread pool's {function}()",
}
# The loggers whose records this module sees.
_TWISTED: Final = "twisted"
_SCRAPY: Final = "scrapy"

_LEVELS: Final = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.INFO,
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.CRITICAL,
}


# ---- Python's logging


def _chain_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    """What the records of a logger are given to, as `logging.Logger.callHandlers` finds it."""
    one: logging.Logger | None = logger
    while one is not None:
        yield from one.handlers
        one = one.parent if one.propagate else None


def _is_users(one: logging.Handler) -> bool:
    """Whether somebody set it up to show or to send records; a file shows nothing."""
    if isinstance(one, (logging.NullHandler, logging.FileHandler, ScrapyLog)):
        return False
    # Scrapy counts records on the root logger during a crawl.
    return type(one).__name__ != "LogCounterHandler"


def is_shown_by_logging(logger: logging.Logger, level: int) -> bool:
    """Whether the user set Python's logging up so that records of this level are shown."""
    return logger.isEnabledFor(level) and any(
        level >= one.level and _is_users(one) for one in _chain_of(logger)
    )


def _logged(record: logging.LogRecord) -> BaseException | None:
    """The exception of a record, with the traceback that it was logged with."""
    _, error, found = record.exc_info or (None, None, None)
    if error is not None and isinstance(found, TracebackType):  # a Failure may have words only
        return error.with_traceback(found)
    return error


# ---- Twisted's log


class TwistedLog:
    """
    An observer that gives Twisted's log to Python's logging, and failures to be shown.

    Args:
        reports: what shows failures.
        logger: of Python's logging.
    """

    def __init__(self, reports: Reports, logger: logging.Logger) -> None:
        self._reports = reports
        self._logger = logger

    def __call__(self, event: LogEvent) -> None:
        """Take one event, in the thread and context in which it was logged."""
        level = _LEVELS.get(event.get("log_level", LogLevel.info), logging.INFO)
        # The second is what `twisted.python.log.err` says.
        failure = event.get("log_failure", event.get("failure"))
        is_failure = isinstance(failure, Failure) and level >= logging.ERROR
        is_prelude = (event.get("log_namespace"), event.get("log_format")) == _PRELUDE
        if (is_failure or is_prelude) and not self._is_shown_otherwise(level):
            if is_failure:
                self._report(event, failure)
            if not self._logger.hasHandlers():
                return  # Python's last resort would show it again
        if "log_format" in event and not _others_give_to_logging():
            self._log(event, level, failure)

    def _is_shown_otherwise(self, level: int) -> bool:
        """Whether a log that the user set up shows what is logged at this level."""
        if not self._reports.active or is_shown_by_logging(self._logger, level):
            return True
        if _others_give_to_logging() and not self._logger.hasHandlers():
            return True  # by Python's last resort
        return any(map(_writes_to_user, legacy.theLogPublisher.observers))

    def _report(self, event: LogEvent, failure: Any) -> None:
        is_collected = event.get("log_namespace") == _PRELUDE[0]
        # Found in any context, by the garbage collector; or in none, by the reactor.
        lost = is_collected or current_work() == NO_WORK
        context = context_of(failure) if lost else None
        if is_collected:
            head = UNHANDLED
        else:
            is_new = "log_failure" in event
            text = formatEvent(event) if is_new else str(event.get("why") or "")
            if _SAYS_NOTHING.fullmatch(text):
                text = _whose(failure)
            head = LOGGED.replace("{text}", text) if text else UNNAMED
        self._reports.report(exception_of(failure), head, context)

    def _log(self, event: LogEvent, level: int, failure: Any) -> None:
        if not self._logger.isEnabledFor(level):
            return
        info = None
        if isinstance(failure, Failure) and "log_failure" in event:  # else it is in the text
            info = failure.type, failure.value, failure.getTracebackObject()
        frame = _caller(sys._getframe(1))
        code = frame.f_code
        record = self._logger.makeRecord(
            self._logger.name,
            level,
            code.co_filename,
            frame.f_lineno,
            _Text(event),
            (),
            info,  # type: ignore[arg-type]  # a Failure's own words for its traceback
            code.co_name,
        )
        self._logger.handle(record)


class _Text:
    """The text of an event, which is made when somebody reads it."""

    def __init__(self, event: LogEvent) -> None:
        self._event = event

    def __str__(self) -> str:
        return formatEvent(self._event)


def _whose(failure: Failure) -> str:
    """The user's function that failed, and what called it, in words; nothing if none is known."""
    caller = "{function}()"
    for frame, _ in walk_tb(failure.getTracebackObject()):
        module = str(frame.f_globals.get("__name__", ""))
        if is_user_frame(frame):
            return caller.format(function=frame.f_code.co_qualname)
        caller = _CALLERS.get((module, frame.f_code.co_name), caller)
    return ""


_OF_LOG: Final = (
    "twisted.logger",
    "twisted.python.context",
    "twisted.python.log",
    "twisted.python.threadable",
    __name__,
)


def _caller(frame: FrameType) -> FrameType:
    """The frame that logged: the first one outside of Twisted's logger."""
    while str(frame.f_globals.get("__name__", "")).startswith(_OF_LOG) and frame.f_back:
        frame = frame.f_back
    return frame


def _others_give_to_logging() -> bool:
    """Whether another observer gives Twisted's log to Python's logging, as Scrapy's does."""
    return any(
        isinstance(getattr(one, "__self__", None), legacy.PythonLoggingObserver)
        for one in legacy.theLogPublisher.observers
    )


def _writes_to_user(observer: Any) -> bool:
    """Whether ``twisted.python.log.startLogging`` was asked to write what the user sees."""
    own = getattr(observer, "__self__", None)
    if not isinstance(own, legacy.FileLogObserver):
        return False
    # Not by its `write`, which IPython replaces on streams while a cell runs.
    stream = getattr(own.flush, "__self__", None)
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return stream in streams or hasattr(stream, "parent_header")  # ipykernel's


def attach(reports: Reports, replaced: type) -> Callable[[], None]:
    """
    Put a `TwistedLog` in the place of crochet's observer; where there is none, do nothing.

    A program that set crochet up without logging has its own.  Any thread.

    Args:
        reports: what shows failures.
        replaced: the class of crochet's observer.

    Returns:
        what puts crochet's observer back.
    """
    before = [one for one in legacy.theLogPublisher.observers if isinstance(one, replaced)]
    observer = cast(ILogObserver, TwistedLog(reports, logging.getLogger(_TWISTED)))
    if before:
        globalLogPublisher.addObserver(observer)
    for one in before:
        legacy.theLogPublisher.removeObserver(one)

    def undo() -> None:
        for one in before:
            legacy.theLogPublisher.addObserver(one)
        globalLogPublisher.removeObserver(observer)

    return undo


# ---- Scrapy's log


class ScrapyLog(logging.Handler):
    """
    Shows what Scrapy logs of exceptions in spiders, pipelines and signal handlers.

    Scrapy goes on after those, and logs them.  During a crawl a counter on the
    root logger keeps Python from printing them as a last resort.

    Args:
        reports: what shows failures.
    """

    def __init__(self, reports: Reports) -> None:
        super().__init__(logging.WARNING)
        self._reports = reports
        self._logger = logging.getLogger(_SCRAPY)

    def stay(self) -> None:
        """Be on Scrapy's logger, whose handlers its own ``configure_logging`` takes off."""
        if self not in self._logger.handlers:
            self._logger.addHandler(self)

    def leave(self) -> None:
        """Leave Scrapy's logger."""
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record that nobody else shows; in the thread and context that logged it."""
        if is_shown_by_logging(logging.getLogger(record.name), record.levelno):
            return
        error = _logged(record)
        if error is not None and record.levelno >= logging.ERROR:
            self._reports.report(error, LOGGED.replace("{text}", record.getMessage()))
        elif logging.lastResort is not None and self._would_print(record):
            logging.lastResort.handle(record)

    def _would_print(self, record: logging.LogRecord) -> bool:
        """Whether Python's last resort shows it: an error always, which Scrapy's counter hides."""
        others = [one for one in _chain_of(logging.getLogger(record.name)) if one is not self]
        return record.levelno >= logging.ERROR or not others
