"""
A loan ends by itself when the cell that has it does something else.

The goal.  A cell that calls the reactor and then sleeps, blocks or computes
stops nobody.

What fails.  From outside, a cell that sleeps and a library that is in the
middle of its work look alike: both have called the reactor, and may call it
again.  If the reactor goes on in the middle of a library's work, the library
loses what happens meanwhile.

What we do.  A thread of ours looks at the stack of the thread that has the
reactor, every `_INTERVAL` seconds, while that is in no call of the reactor.  If a
library built on Twisted or asyncio is at work there, the loan stays, until the
stack has not moved for `_STILL` seconds, or for `_AT_MOST` seconds in all.
Else it ends.

What can still go wrong.  A library that waits for longer than that for
something else, and then goes on, finds that the reactor has moved on.

In a thread of its own, unless a docstring says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from time import monotonic, sleep
from traceback import walk_stack
from types import FrameType, FunctionType, ModuleType
from typing import Any, Final

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.formatting import say
from twisted_ipython._base.frames import frame_of, module_of, of_frame
from twisted_ipython._base.loans import Loan, loans

_INTERVAL: Final = 0.02
# Seconds that a stack may stand still, and that a library may be at work without a call.
_STILL: Final = 0.5
_AT_MOST: Final = 5.0

TOOK_BACK: Final = (
    "The reactor went on without waiting for {place}, which has kept it for {seconds:g} s"
)

_BUILT_ON: Final = {"twisted", "asyncio"}
# They know asyncio, but do nothing with the reactor.
_NEITHER: Final = {
    *("IPython", "ipykernel", "async_kernel", "jupyter_client", "zmq", "prompt_toolkit", "debugpy"),
    "twisted_ipython",
}
# What runs cells and messages: what called that is not of the cell.
_ENTRIES: Final = {
    "IPython.core.interactiveshell",
    "comm.base_comm",
    "twisted_ipython._waiting.calls",
    "twisted_ipython._base.running_loop",
    # What calls the functions of pool threads.
    "twisted.python.context",
    "twisted.python.threadpool",
    "concurrent.futures.thread",
}
# Where a call of the reactor is made for another thread, and waited for.
_BORROW: Final = "twisted_ipython._plain.borrow"


def _imports(names: dict[str, Any]) -> bool:
    """Whether a module has something of Twisted's or asyncio's."""
    for value in list(names.values()):
        # Neither isinstance(), which asks proxies, nor what lazy modules see.
        kind = type(value)
        if issubclass(kind, ModuleType):
            name = ModuleType.__getattribute__(value, "__dict__").get("__name__")
        elif issubclass(kind, FunctionType):
            name = value.__module__
        elif issubclass(kind, type):
            name = type.__dict__["__module__"].__get__(value)
        else:
            continue
        if str(name).partition(".")[0] in _BUILT_ON:
            return True
    return False


def _frames_of_entry(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it, up to what runs the cell."""
    while frame is not None and module_of(frame) not in _ENTRIES:
        yield frame
        frame = frame.f_back


class Watch:
    """Looks at whoever has the reactor; `ReactorThread.of` makes the one that does."""

    def __init__(self, _: object = None) -> None:
        # By a module's name: whether it is of a library built on Twisted or asyncio.
        self._known: dict[str, bool] = {"__main__": False}
        # Filled from a handler of signals too, which this queue bears.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        # What there is to say once nothing waits for this thread.
        self._lines: list[str] = []
        # Where the thread stood at the last check, and since when; with how many calls made.
        self._stood: list[tuple[int, int]] = []
        self._since = self._called = 0.0
        self._calls: tuple[Loan, int] | None = None

    def __call__(self) -> None:
        """Begin to check: a loan is kept, or an interrupt was raised.  Thread: any."""
        self._wakes.put(None)

    def begin(self) -> None:
        """Start the thread, once.  Thread: any."""
        if loans.watcher is None:
            thread = threading.Thread(target=self._run, name="twisted_ipython loans", daemon=True)
            thread.start()
            loans.watcher = thread.ident

    def _run(self) -> None:
        while True:
            self._wakes.get()
            while loans.current is not None or sigint.needs_check():
                sleep(_INTERVAL)
                sigint.check()
                loans.end_unless(self._stays)
                while self._lines:
                    say(self._lines.pop())

    def is_library(self, frame: FrameType) -> bool:
        """Whether the code of a frame is of a library built on Twisted or asyncio.  Thread: any."""
        name = module_of(frame)
        known = self._known.get(name)
        if known is None:
            top = name.partition(".")[0]
            known = top in _BUILT_ON or (top not in _NEITHER and _imports(frame.f_globals))
            self._known[name] = known
        return known

    def _stays(self, loan: Loan) -> bool:
        """Whether a loan goes on; nobody can enter it meanwhile."""
        if not loan.kept:
            return True
        frame = frame_of(loan.ident)
        if frame is None:
            return False
        if loans.inside is not None:  # unless somebody's exception came between
            return any(module_of(one) == _BORROW for one, _ in walk_stack(frame))
        frames = list(_frames_of_entry(frame))
        if not any(map(self.is_library, frames)):
            return False
        now = monotonic()
        if self._calls != (loan, loan.calls):
            self._calls = loan, loan.calls
            self._called = now
        stands = [(id(one), one.f_lasti) for one in frames]
        if stands != self._stood:
            self._stood, self._since = stands, now
        if now - self._called > _AT_MOST:
            place = next((one for one in of_frame(frame) if one.users), of_frame(frame)[0])
            self._lines.append(
                TOOK_BACK.format(place=f"{place.file}, line {place.line}", seconds=_AT_MOST)
            )
            return False
        return now - max(self._since, self._called) < _STILL
