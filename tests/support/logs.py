"""Python's logging as in a fresh session, for a test or a part of one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["fresh_logging"]


@contextmanager
def fresh_logging() -> Iterator[None]:
    """Within, the root logger has no handlers: pytest adds its own before each test."""
    before, logging.root.handlers[:] = [*logging.root.handlers], []
    try:
        yield
    finally:
        logging.root.handlers[:] = before
