"""
How loggers are before a script changes them, to be put back.

Scrapy's ``configure_logging`` sets the levels of Twisted's logger, of its own
and of a few libraries', and takes off their handlers.

Any thread.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Loggers", "set_by_scrapy"]


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
