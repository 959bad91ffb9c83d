"""
The end of the process: it waits until the reactor has stopped, but not for ever.

In a thread of its own, which is no daemon; `_reactor` says why.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Final

from twisted_ipython import _interrupt, _pool
from twisted_ipython._crochet import reactor_thread
from twisted_ipython._loans import loans
from twisted_ipython._reactor_thread import ReactorThread

__all__ = ["end"]

# Seconds that a stopping reactor gets at the end of the process.
_GRACE: Final = 1.0
# Seconds after which one that has not answered counts as stuck.
_STUCK: Final = 0.5
# Seconds of a turn from then on.
_LAST_TURNS: Final = 1e-5


def end(reached: ReactorThread) -> None:
    """Keep the process until the reactor has stopped, `_GRACE` seconds at most."""
    threading.main_thread().join()
    loans.end_of_gone()
    thread = reactor_thread()
    if thread is None:
        return
    turns = threading.Event()
    reached.call(turns.set)
    # One that is no daemon has to be broken, which takes a while too.
    thread.join(_STUCK if thread.daemon else _STUCK / 2)
    if turns.is_set():
        thread.join(_GRACE - _STUCK)
    line = _pool.abandoned(thread, reached.pool)
    if not thread.daemon:
        # The program's own `crochet.setup()` made it: Python waits for it, whatever it does.
        _interrupt.break_until(reached.ident, turns.is_set, 0, _GRACE)
    if line is not None:
        # A thread that never waits would let Python's own end have a turn every 5 ms only.
        sys.setswitchinterval(_LAST_TURNS)
        with suppress(OSError, ValueError):  # nobody reads it any more
            print(line, file=sys.stderr, flush=True)
