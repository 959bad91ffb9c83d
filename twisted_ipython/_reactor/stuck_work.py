"""
Break the code of cancelled work that holds the reactor thread.

The goal.  A stop is a stop: `%reactor cancel` and `cancel()` also end a job
whose code never awaits.

What fails.  Cancelling needs the reactor to turn.

What we do.  When the reactor has not answered `_PATIENCE` seconds after the
cancel, and runs code of just this work, it is broken there, as by Ctrl-C.  Whose
code it is, the context tells that the innermost frame which has one ran it in.

What can still go wrong.  Code in C is only broken once it returns.  A callback
of other work that this code's Deferred calls is taken for this work's.

Thread: any but the reactor's.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from functools import partial
from typing import Final, Protocol

from twisted_ipython._base.formatting import say
from twisted_ipython._base.frames import Label, callers, frame_of
from twisted_ipython._base.loans import loans
from twisted_ipython._base.work_id import WorkId, work_in
from twisted_ipython._failures.origin import context_in
from twisted_ipython._private.asyncio import context_of
from twisted_ipython._reactor.interrupt import Reached, place_of, throw

BROKEN: Final = "{work} held the reactor at {place}, and was broken off there."
IN_C: Final = (
    "{work} holds the reactor at {place}, in code that cannot be broken: it ends when that returns."
    " Code that blocks belongs in `%%run_in_reactor --thread`."
)
OTHER_HOLDS: Final = (
    "Other code holds the reactor at {place}: {work} ends when that returns. `%reactor stack` shows"
    " whose it is."
)
# Seconds that a reactor gets to answer.
_PATIENCE: Final = 1.0
# Seconds from one try to break code in C to the next.
_RETRY: Final = 0.002


class Surroundings(Reached, Protocol):
    """What is needed of the reactor thread; `_reactor.thread.ReactorThread` is one."""

    loop: asyncio.AbstractEventLoop | None
    label: Label

    def here(self) -> bool:
        """Whether the caller is in the reactor thread."""


def break_if_stuck(thread: Surroundings, work: str, work_id: WorkId) -> None:
    """Break the code of work that was cancelled if it holds the reactor soon.  Thread: any."""
    if thread.here():
        return  # nothing else holds it
    answered = threading.Event()
    thread.call(answered.set)
    # In this context, whose cell shows what is said.
    watch = partial(copy_context().run, _watch, thread, work, work_id, answered)
    threading.Thread(target=watch, name="twisted_ipython cancel", daemon=True).start()


def _watch(thread: Surroundings, work: str, work_id: WorkId, answered: threading.Event) -> None:
    said: set[str] = set()
    seconds = _PATIENCE
    while not (answered.wait(seconds) or thread.stopped or loans.current):
        place, is_its_own = place_of(thread.ident, thread.label), _runs(thread, work_id)
        if not is_its_own:
            line, seconds = OTHER_HOLDS, _PATIENCE
        elif throw(thread.ident, partial(_runs, thread, work_id)):
            line, seconds = BROKEN, _PATIENCE
        else:
            line, seconds = IN_C, _RETRY
        if line not in said and (line is BROKEN or not answered.is_set()):
            said.add(line)
            told = line.format(work=work, place=place)
            say(told[:1].upper() + told[1:])


def _runs(thread: Surroundings, work_id: WorkId) -> bool:
    """Whether the reactor thread runs code of this work, and nobody has borrowed the reactor."""
    context = context_in(callers(frame_of(thread.ident)))
    if context is None and thread.loop is not None:
        # A loop in C has no frame that tells.
        task = asyncio.current_task(thread.loop)
        context = None if task is None else context_of(task)
    return loans.current is None and work_in(context) == work_id
