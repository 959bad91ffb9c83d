"""Who takes a record of Python's logging, and what is shown of those that nobody takes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
from logs import fresh_logging

from twisted_ipython._failures.handlers import (
    WORK,
    CrawlLog,
    LastResort,
    is_for_all,
    is_shown_by_logging,
    last_resort,
    note_feeder,
    takers,
)
from twisted_ipython._failures.reports import Reports


class LogCounterHandler(logging.NullHandler):
    """Stands for Scrapy's."""


class Feeds(logging.Handler):
    """Gives what it gets to Twisted's log."""

    def emit(self, _: logging.LogRecord) -> None:
        """Log an event."""
        assert note_feeder(sys._getframe())


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own."""
    logger = logging.getLogger("twisted_ipython.tests.handlers")
    yield logger
    logger.handlers.clear()


@fresh_logging()
def test_takers(logger: logging.Logger) -> None:
    """Neither ours nor Scrapy's counter, and none that only takes another work's records."""
    own, other, user = logging.NullHandler(), logging.NullHandler(), logging.StreamHandler()
    setattr(other, WORK, object())
    for one in (own, other, user, LogCounterHandler(), LastResort(Reports())):
        logger.addHandler(one)
    assert takers(logger) == [own, user]
    assert not is_for_all(other)


@fresh_logging()
def test_one_that_feeds_twisteds_log(logger: logging.Logger) -> None:
    """It shows nothing, which is known once it has."""
    feeds = Feeds()
    logger.addHandler(feeds)
    assert takers(logger) == [feeds]
    logger.error("x")
    assert takers(logger) == []
    assert not note_feeder(sys._getframe())


@pytest.mark.parametrize(
    ("handler", "shows"),
    [
        (logging.StreamHandler(), True),
        (logging.NullHandler(), False),
        (CrawlLog(), False),
    ],
)
@fresh_logging()
def test_shown_by_logging(logger: logging.Logger, handler: logging.Handler, shows: bool) -> None:
    """By what the user set up, at its level; a file and a crawl's own log show nothing."""
    logger.addHandler(handler)
    assert is_shown_by_logging(logger, logging.ERROR) is shows
    handler.setLevel(logging.CRITICAL)
    assert not is_shown_by_logging(logger, logging.ERROR)
    handler.setLevel(logging.NOTSET)


@fresh_logging()
def test_last_resort(capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in while a handler that is not for all is on the root logger."""
    last_resort.stay()
    assert logging.root.handlers == []
    logging.root.addHandler(LogCounterHandler())
    last_resort.stay()
    logging.getLogger("somebody's").warning("seen")
    logging.getLogger("somebody's").info("not seen")
    assert capsys.readouterr().err == "seen\n"
    logging.root.addHandler(logging.NullHandler())  # the user has set up logging
    logging.getLogger("somebody's").warning("taken")
    assert capsys.readouterr().err == ""
    logging.root.handlers.clear()


@fresh_logging()
def test_what_scrapy_logs(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception is a failure; what is none is Python's last resort's; each is shown once."""
    shown: list[tuple[str, str]] = []
    reports = Reports()
    reports.attach(lambda call, *args: call(*args), lambda _seconds, _call: None, lambda _: "")
    undo = reports.add(lambda error, head: shown.append((repr(error), head)))
    log, scrapy = LastResort(reports), logging.getLogger("scrapy")
    for kind in (ValueError, KeyError):
        if counted := kind is KeyError:
            # Not by the root's own method, which a session has set.
            logging.Logger.addHandler(logging.root, LogCounterHandler())
        log.stay()
        log.stay()
        assert (log in scrapy.handlers, log in logging.root.handlers) == (not counted, counted)
        try:
            raise kind("x")
        except kind:
            scrapy.exception("in a spider")
        scrapy.warning("only said")
    logging.root.handlers[:] = [log]
    undo()
    log.stay()
    heads = [("ValueError('x')", "Failure: in a spider"), ("KeyError('x')", "Failure: in a spider")]
    assert shown == heads
    assert capsys.readouterr().err == "only said\nonly said\n"
    assert log not in scrapy.handlers
    assert logging.root.handlers == []
