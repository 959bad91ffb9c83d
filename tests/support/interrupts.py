"""A Ctrl-C at each line of a module's in turn."""

from __future__ import annotations

import gc
import linecache
import sys
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any


def interrupted_at(number: int, context: AbstractContextManager[None], module: str) -> bool:
    """
    Enter and leave, with a KeyboardInterrupt at the n-th line of a module.

    Args:
        number: which line.
        context: what is entered.
        module: the name of the module whose lines count.

    Returns:
        Whether it had so many lines.
    """
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_globals.get("__name__") != module:
            return None
        # Python looks for signals after calls, not between a block and the lock's release.
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and "with self._lock" not in line:
            lines += 1
            if lines == number + 1:
                raise KeyboardInterrupt
        return trace

    gc.disable()  # what other tests left would be collected, and interrupted, there
    sys.settrace(trace)
    try:
        with context:
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        gc.enable()
    return False
