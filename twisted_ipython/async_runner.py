"""``twisted_ipython.async_runner.twisted_runner``: the runner, by its name in version 2."""

from __future__ import annotations

from twisted_ipython._magics.runner import Runner
from twisted_ipython.config import config

twisted_runner = Runner(lambda: config.timeout)
