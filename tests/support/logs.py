"""Python's logging as in a fresh session, for a test or a part of one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["fresh_logging"]


_LOGGERS = (logging.root, logging.getLogger("scrapy"), logging.getLogger("twisted"))


@contextmanager
def fresh_logging() -> Iterator[None]:
    """Within, no logger has handlers: pytest adds its own before each test, a session ours."""
    before = [[*logger.handlers] for logger in _LOGGERS]
    for logger in _LOGGERS:
        logger.handlers[:] = []
    try:
        yield
    finally:
        for logger, handlers in zip(_LOGGERS, before, strict=True):
            logger.handlers[:] = handlers
