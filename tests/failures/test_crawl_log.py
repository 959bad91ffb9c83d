"""The log of one crawl, with settings as Scrapy has them and a root logger of a fresh session."""

from __future__ import annotations

import logging
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from logs import fresh_logging
from scrapy.settings import Settings

from twisted_ipython._failures.crawl_log import begin_log


def settings_of(**given: Any) -> Settings:
    """Scrapy's settings, some of them set for a crawl."""
    settings = Settings()
    settings.setdict({"LOG_FORMAT": "%(name)s: %(message)s", **given}, priority="spider")
    return settings


@fresh_logging()
def test_without_a_setting() -> None:
    """A crawl that does not ask for a log has none."""
    begin_log(settings_of(), "quiet")()
    assert logging.root.handlers == []


@fresh_logging()
def test_its_own_records_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A log takes what the code of its crawl logs, at the level that is set, until it ends."""
    crawl, other = copy_context(), copy_context()
    file = tmp_path / "log"
    end = crawl.run(begin_log, settings_of(LOG_LEVEL="INFO"), "spider")
    end_other = other.run(begin_log, settings_of(LOG_FILE=str(file)), "other")
    spider = logging.getLogger("spider")
    for context in (crawl, other):
        context.run(spider.info, "page")
        context.run(spider.debug, "detail")
    assert capsys.readouterr().err == "spider: page\n"
    assert file.read_text() == "spider: page\n"
    end()
    crawl.run(spider.info, "too late")
    end_other()
    assert capsys.readouterr().err == ""
    assert (logging.root.handlers, spider.level) == ([], logging.NOTSET)


@fresh_logging()
def test_levels_of_crawls_of_one_spider(tmp_path: Path) -> None:
    """Its logger lets through what any of their logs wants, and then has its own level again."""
    spider = logging.getLogger("spider")
    spider.setLevel("ERROR")
    ends = []
    for level in ("INFO", "DEBUG", "ERROR"):
        settings = settings_of(LOG_FILE=str(tmp_path / level), LOG_LEVEL=level)
        ends.append(copy_context().run(begin_log, settings, "spider"))
    levels = []
    for end in (ends[1], ends[0], ends[2]):
        levels.append(spider.level)
        end()
    assert levels == [logging.DEBUG, logging.INFO, logging.WARNING]
    assert spider.level == logging.ERROR
    spider.setLevel("NOTSET")


@fresh_logging()
def test_what_is_shown_already(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the user has set up logging, that shows the records, once."""
    logging.root.addHandler(logging.StreamHandler())
    end = copy_context().run(begin_log, settings_of(LOG_LEVEL="INFO"), "spider")
    logging.getLogger("spider").info("page")
    assert capsys.readouterr().err == "page\n"
    end()
    assert len(logging.root.handlers) == 1


@fresh_logging()
def test_exceptions_are_reported_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is shown leaves Scrapy's exceptions to the reports; a file has all."""
    file = tmp_path / "log"
    ends = []
    for given in ({"LOG_LEVEL": "INFO"}, {"LOG_FILE": str(file)}):
        context = copy_context()
        ends.append(context.run(begin_log, settings_of(**given), "spider"))
        try:
            raise ValueError("x")
        except ValueError:
            context.run(logging.getLogger("scrapy.core").exception, "in a spider")
    for end in ends:
        end()
    assert capsys.readouterr().err == ""
    assert "ValueError: x" in file.read_text()
