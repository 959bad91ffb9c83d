"""Threads that stand still in code of a module."""

from __future__ import annotations

import threading
from typing import Any

from session import SECONDS

__all__ = ["Standing"]


class Standing:
    """A thread that stands in code of a module of that name, until the ``with`` block ends."""

    def __init__(self, module: str, **names: Any) -> None:
        self._goes_on = threading.Event()
        self._stands = threading.Event()
        names = {"__name__": module, "stands": self._stands, "goes_on": self._goes_on, **names}
        code = compile("stands.set()\ngoes_on.wait()", "<code>", "exec")
        self._thread = threading.Thread(target=exec, args=(code, names))

    def __enter__(self) -> int:
        self._thread.start()
        assert self._stands.wait(SECONDS)
        assert self._thread.ident is not None
        return self._thread.ident

    def __exit__(self, *_: object) -> None:
        self._goes_on.set()
        self._thread.join(SECONDS)
