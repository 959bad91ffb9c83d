"""The switch of the running loop, by itself: `_base.running_loop`."""

from __future__ import annotations

import asyncio
import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, takewhile
from types import FrameType
from typing import Any

from twisted_ipython._base import running_loop


def test_interrupt_at_every_line() -> None:
    """R7: after a KeyboardInterrupt at any line of the switch a cell's end puts the loop back."""

    async def cell(given: Any, number: int) -> bool:
        found = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
        raised = _interrupt_at(number, _Switched(given))
        running_loop.put_back()
        now = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
        assert now == found
        with _Switched(given):
            assert asyncio.get_running_loop() is given
            assert running_loop.loop_of_thread() is found[0]
        await asyncio.sleep(0)
        return raised

    with closing(asyncio.new_event_loop()) as given, ThreadPoolExecutor(1) as pool:
        numbers = takewhile(
            lambda number: pool.submit(asyncio.run, cell(given, number)).result(10), count()
        )
        assert len(list(numbers)) >= 20


class _Switched:
    """The switch to a loop, as a statement of a plain cell's makes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        running_loop.switch(self._loop, (id, None))

    def __exit__(self, *_: object) -> None:
        running_loop.put_back()


def _interrupt_at(number: int, switch: Any) -> bool:
    """Enter and leave, and raise at the n-th line of the switch's; whether it had so many."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_globals.get("__name__") != running_loop.__name__:
            return None
        if event == "line":
            lines += 1
            if lines == number + 1:
                raise KeyboardInterrupt
        return trace

    gc.disable()  # what other tests left would be collected, and interrupted, there
    sys.settrace(trace)
    try:
        with switch:
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        gc.enable()
    return False
