"""``twisted_ipython.async_runner.twisted_runner``: the runner, by the name that version 2 gave it."""

from __future__ import annotations

from twisted_ipython._autoawait import Runner
from twisted_ipython.config import config

__all__ = ["twisted_runner"]

twisted_runner = Runner(lambda: config.timeout)
