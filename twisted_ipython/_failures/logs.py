"""
Twisted's log in Python's logging, where it was logged; failures in a log are shown.

crochet gives Twisted's log to Python's logging in a thread of its own, where
neither the thread nor the context is that of the code that logged.  `attach`
puts an observer in its place that does so at once.  The root logger is left
alone.

A failure in Twisted's log is shown as a failure, unless Python's logging is set
up to show it.

Thread: any.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from traceback import walk_tb
from typing import Any, Final, cast

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    STDLibLogObserver,
    formatEvent,
    globalLogPublisher,
)
from twisted.python import log as legacy
from twisted.python.failure import Failure

from twisted_ipython._base.frames import callers, is_user_frame, module_of
from twisted_ipython._base.work_id import NO_WORK, current_work
from twisted_ipython._bridge.deferred_failure import exception_of
from twisted_ipython._failures.handlers import (
    LOGGED,
    PRELUDE,
    TWISTED,
    is_for_all,
    is_shown_by_logging,
    note_feeder,
    takers,
)
from twisted_ipython._failures.origin import context_of
from twisted_ipython._failures.reports import Reports
from twisted_ipython._private.twisted import log_observers

# Where Twisted says what comes before such a failure, and that.
_PRELUDE: Final = ("twisted.internet.defer", PRELUDE)
UNHANDLED: Final = "Unhandled error in a Deferred{of_cell}{ago}: {text}"
UNNAMED: Final = "Failure{of_cell} in Twisted's log:"
# What Twisted, and we in its place, say before a failure without saying whose it is.
_SAYS_NOTHING: Final = re.compile("|while (handling timed call|calling from thread).*", re.DOTALL)
# What calls the user's functions, by the module and the name of a frame that leads there.
_CALLERS: Final = {
    ("twisted_ipython._reactor.delayed_calls", "_run"): "a timer's {function}()",
    ("twisted.internet.base", "runUntilCurrent"): "a timer's {function}()",
    ("twisted.internet.task", "__call__"): "a LoopingCall's {function}()",
    ("twisted_ipython._reactor.thread_pool", "_run"): "the thread pool's {function}()",
}

# The modules that an event comes through.
_OF_LOG: Final = (
    "twisted.logger",
    "twisted.python.context",
    "twisted.python.log",
    "twisted.python.threadable",
    __name__,
)


class TwistedLog:
    """An observer that gives Twisted's log to Python's logging, and failures to be shown."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._logger = logging.getLogger(TWISTED)

    def __call__(self, event: LogEvent) -> None:
        """Take one event, in the thread and context in which it was logged."""
        level: int = getattr(logging, event.get("log_level", LogLevel.info).name.upper())
        # The second is what `twisted.python.log.err` says.
        failure = event.get("log_failure", event.get("failure"))
        is_failure = isinstance(failure, Failure) and level >= logging.ERROR
        is_prelude = (event.get("log_namespace"), event.get("log_format")) == _PRELUDE
        if note_feeder(sys._getframe(1)):
            return  # Python's logging has it
        is_shown = self._is_shown_otherwise(level)
        if is_failure and not is_shown:
            self._report(event, failure)
        if (is_failure or is_prelude) and not takers(self._logger):
            return  # Python's last resort would show it again
        if "log_format" in event and not _others_give_to_logging():
            self._log(event, level)
        if is_failure and is_shown and not self._is_shown_otherwise(level):
            self._report(event, failure)  # what took it has only given it back

    def _is_shown_otherwise(self, level: int) -> bool:
        """Whether a log that the user set up shows what is logged at this level."""
        if not self._reports.active or is_shown_by_logging(self._logger, level):
            return True
        return any(map(_writes_to_user, legacy.theLogPublisher.observers))

    def _report(self, event: LogEvent, failure: Any) -> None:
        is_collected = event.get("log_namespace") == _PRELUDE[0]
        # Found in any context, by the garbage collector; or in none, by the reactor.
        lost = is_collected or current_work() == NO_WORK
        context = context_of(failure) if lost else None
        if is_collected:
            when = self._reports.ago(failure.count)
            head = UNHANDLED.replace("{ago}", when and f", which failed {when}")
            head = head.replace("{text}", _whose(failure)).rstrip()
        else:
            is_new = "log_failure" in event
            text = formatEvent(event) if is_new else str(event.get("why") or "")
            if _SAYS_NOTHING.fullmatch(text):
                text = _whose(failure, event.get("call"))
            head = LOGGED.replace("{text}", text) if text else UNNAMED
        self._reports.report(exception_of(failure), head, context)

    def _log(self, event: LogEvent, level: int) -> None:
        if not self._logger.isEnabledFor(level):
            return
        failure = event.get("log_failure")  # that of `twisted.python.log.err` is in the text
        info: Any = None  # a Failure's own words for its traceback
        if isinstance(failure, Failure):
            info = failure.type, failure.value, failure.getTracebackObject()
        # Not by `Logger.log`: crochet's observer has set where that says a record comes from.
        frame = next(
            one for one in callers(sys._getframe()) if not module_of(one).startswith(_OF_LOG)
        )
        place = frame.f_code.co_filename, frame.f_lineno
        text, name = formatEvent(event), frame.f_code.co_name
        record = self._logger.makeRecord(TWISTED, level, *place, text, (), info, name)
        self._logger.handle(record)


def _whose(failure: Failure, call: Any = None) -> str:
    """The user's function that failed, and what called it, in words; else a timer's, if known."""
    caller = "{function}()"
    for frame, _ in walk_tb(failure.getTracebackObject()):
        # A LoopingCall calls by `maybeDeferred`, where the traceback begins.
        if (outer := frame.f_back) is not None:
            caller = _CALLERS.get((module_of(outer), outer.f_code.co_name), caller)
        if is_user_frame(frame):
            return caller.format(function=frame.f_code.co_qualname)
    name = getattr(getattr(call, "func", None), "__qualname__", None)
    return f"a timer's {name}()" if name else ""


def _others_give_to_logging() -> bool:
    """Whether another observer gives Twisted's log to Python's logging, as Scrapy's does."""
    # One that a cell added is behind one of `_scripts.script_log`.
    new = [getattr(one, "own", one) for one in log_observers(globalLogPublisher)]
    old = [getattr(one, "__self__", None) for one in legacy.theLogPublisher.observers]
    return any(
        isinstance(one, (STDLibLogObserver, legacy.PythonLoggingObserver)) and is_for_all(one)
        for one in (*new, *old)
    )


def _writes_to_user(observer: Any) -> bool:
    """Whether ``twisted.python.log.startLogging`` was asked to write what the user sees."""
    own = getattr(observer, "__self__", None)
    if not isinstance(own, legacy.FileLogObserver) or not is_for_all(own):
        return False
    # Not by its `write`, which IPython replaces on streams while a cell runs.
    stream = getattr(own.flush, "__self__", None)
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return stream in streams or hasattr(stream, "parent_header")  # ipykernel's


def attach(reports: Reports, replaced: type) -> Callable[[], None]:
    """Put a `TwistedLog` in place of crochet's observer, if that is there; returns the undo."""
    before = [one for one in legacy.theLogPublisher.observers if isinstance(one, replaced)]
    undo = ExitStack()
    if before:
        observer = cast(ILogObserver, TwistedLog(reports))
        globalLogPublisher.addObserver(observer)
        undo.callback(globalLogPublisher.removeObserver, observer)
    for one in before:
        legacy.theLogPublisher.removeObserver(one)
        undo.callback(legacy.theLogPublisher.addObserver, one)
    return undo.close
