"""
The reactor thread for code that awaits: started by a first cell, if not by loading.

Thread: any.
"""

from __future__ import annotations

from typing import Final

from twisted_ipython._reactor.lifecycle import start
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts import reactor_run

IN_REACTOR_THREAD: Final = (
    "Code that awaits was run in the reactor thread (by run_cell() in a statement of an awaiting"
    " cell), which would then wait for itself for ever. Say there:"
    " await in_main_thread(get_ipython().run_cell, code)"
)


def reactor_thread() -> ReactorThread:
    """The reactor thread, started if need be; RuntimeError in that thread.  Thread: any."""
    thread = start()
    if thread.here():
        raise RuntimeError(IN_REACTOR_THREAD)
    thread.attach_also(reactor_run.attach)  # of a runner without the extension
    return thread
