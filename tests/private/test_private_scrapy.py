"""Scrapy has the names that are used; a crawl that uses them is in `reactor/test_crawls.py`."""

from __future__ import annotations

import importlib

import pytest
import scrapy

from twisted_ipython._private import scrapy as private

SEEN = f"2.19.0 has it, so look for its new name, for {private.__file__}"
NAMES = [
    f"{private.ENGINE}:ExecutionEngine.{private.WAITS_IN}",
    f"{private.ENGINE}:ExecutionEngine.stop_async",
    "scrapy.core.downloader:Downloader.close",
    "scrapy.signals:engine_started",
    "scrapy.signals:engine_stopped",
    "scrapy.signals:spider_closed",
    "scrapy.signals:spider_error",
    "scrapy.signals:item_error",
    "scrapy.signalmanager:SignalManager.send_catch_log_async",
    "scrapy.crawler:CrawlerProcess." + private.SETS_UP[1],
    "scrapy.crawler:CrawlerProcess.start",
    "scrapy.crawler:AsyncCrawlerProcess.start",
    "scrapy.cmdline:execute",
    ":".join(private.PROMPT),
    f"{private.LOG}:configure_logging",
    f"{private.SCRAPER}:Scraper",
    f"{private.LOG}:{private.LOGGING}",
    f"{private.LOG}:{private.FORGET}",
    f"{private.LOG}:get_scrapy_root_handler",
]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    """Each of Scrapy's names that is used is there."""
    module, _, path = name.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    assert found is not None, f"Scrapy {scrapy.__version__} has no {name}: {SEEN}"
