"""
``reactor.run()``, ``reactor.stop()`` and what goes with them, for scripts in cells.

The goal.  A script that was written for a reactor of its own runs in a cell,
again and again, while one reactor turns for all: it waits in its
``reactor.run()``, its ``stop`` ends that wait and nothing else, and its startup
and shutdown triggers are its own.

What fails.  ``run`` raises `ReactorAlreadyRunning`; ``stop`` ends the reactor for
good, and so does one that comes late.  ``callWhenRunning`` calls at once where
the reactor runs always: a ``stop`` that was meant for the reactor's start then
comes before ``run``, which waits for ever.

What we do.  The methods are set on the reactor's instance.  Each call belongs
to the script whose number the caller's context carries.  Connections of a pool
keep the context of the cell that opened them, so a ``stop`` from a context
without a script that waits stops the only script that waits.

What can still go wrong.  A reactor that serves its connections by other means
than an asyncio loop, epoll, poll or select loses their contexts: what they stop
is the only script that waits.

Any thread, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorAlreadyRunning, ReactorNotRestartable
from twisted.logger import ILogObserver, globalLogPublisher

from twisted_ipython import _numbers, _script_log
from twisted_ipython._callers import begun_by, failure_of_react, is_refused, note_refused
from twisted_ipython._instance import override
from twisted_ipython._phases import Trigger
from twisted_ipython._scripts import (
    NOBODY_WAITS,
    any_has_run,
    end_all,
    explain_logged,
    note,
    own,
    own_or_only_one,
    put_back,
    to_stop,
)
from twisted_ipython._traceback import users_frames_only

__all__ = ["attach", "refuse_start"]

PUT_MAGIC: Final = (
    "The reactor runs already, in a thread of its own, so reactor.run() cannot start it here."
    " A script that runs the reactor is a cell of its own: put `%%run_in_reactor` on top of this"
    " cell (without --thread, and with no `await` at its top level) and run it again."
)
IN_CALLBACK: Final = (
    "reactor.run() was called in a callback, in a coroutine or in a task, which the reactor"
    " itself runs: a script calls it at its own top level, outside of any coroutine."
)


def refuse_start(caller: FrameType, refusal: Callable[[], str | None] = lambda: PUT_MAGIC) -> None:
    """
    Refuse what a library does because it is about to run the reactor.

    Args:
        caller: the frame that does it.
        refusal: why not, or None if it may.

    Raises:
        ReactorAlreadyRunning: it is such a library, and may not.
    """
    cancel = begun_by(caller)
    reason = None if cancel is None else refusal()
    if reason is None:
        return
    from twisted.internet import reactor

    def undo() -> None:
        put_back()
        assert cancel is not None
        cancel()

    note_refused(caller)
    cast(Any, reactor).callFromThread(copy_context().run, undo)
    raise users_frames_only(ReactorAlreadyRunning(reason))


class _Methods:
    """What scripts call of one reactor."""

    def __init__(self, reactor: Any, here: Callable[[], bool], *, owned: bool) -> None:
        self._here = here
        self._owned = owned
        self._reactor = reactor
        self._stop = reactor.stop
        self._crash = reactor.crash
        self.add_to_session = reactor.addSystemEventTrigger
        self._remove = reactor.removeSystemEventTrigger
        self._ends = False

    def all(self) -> dict[str, Callable[..., Any]]:
        """What takes the place of the reactor's own methods, on its instance."""
        return {
            "run": self.run,
            "stop": self.stop,
            "crash": self.crash,
            "callWhenRunning": self.call_when_running,
            "addSystemEventTrigger": self.add_trigger,
            "removeSystemEventTrigger": self.remove_trigger,
        }

    def run(self, *_: object, **__: object) -> None:
        """``reactor.run``; in the greenlet of a script it waits."""
        refusal = self._refusal()
        if refusal is not None:
            raise users_frames_only(ReactorAlreadyRunning(refusal))
        if self._ends:
            raise ReactorNotRestartable
        script = own()
        assert script is not None
        script.wait()

    def _refusal(self) -> str | None:
        """Why the caller cannot run the reactor."""
        script = own()
        if not self._here() or script is None:
            return PUT_MAGIC
        return None if script.is_running() and not _in_task() else IN_CALLBACK

    def stop(self) -> None:
        """``reactor.stop``."""
        if self._is_programs_own():
            self._stop()
            return
        script = None if is_refused(sys._getframe(1)) else to_stop()
        if script is not None:
            script.fail(failure_of_react(sys._getframe(1)))
            script.stop()

    def crash(self) -> None:
        """``reactor.crash``."""
        if self._is_programs_own():
            self._crash()
            return
        script = to_stop()
        if script is not None:
            script.crash()

    def end(self) -> Deferred[Any]:
        """The reactor stops: so does the wait of every script."""
        self._ends = True
        return end_all()

    def _is_programs_own(self) -> bool:
        """Whether a stop is that of a program which runs the reactor itself."""
        return not self._owned and _numbers.current() == _numbers.NOBODY

    def call_when_running(
        self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Trigger | None:
        """``reactor.callWhenRunning``."""
        script = own()
        if not self._here():
            self._reactor.callFromThread(copy_context().run, callable, *args, **kwargs)
        elif script is not None and script.is_running():
            return script.startup.add("after", partial(callable, *args, **kwargs))
        else:
            callable(*args, **kwargs)
        return None

    def add_trigger(
        self, phase: str, eventType: str, callable: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """``reactor.addSystemEventTrigger``."""
        refuse_start(sys._getframe(1), self._refusal)
        script = own_or_only_one()
        if script is None or eventType not in ("startup", "shutdown"):
            return self.add_to_session(phase, eventType, callable, *args, **kwargs)
        event = script.startup if eventType == "startup" else script.shutdown
        return event.add(phase, partial(callable, *args, **kwargs))

    def remove_trigger(self, triggerID: Any) -> None:
        """``reactor.removeSystemEventTrigger``."""
        if isinstance(triggerID, Trigger):
            triggerID.remove()
        else:
            self._remove(triggerID)


def _in_task() -> bool:
    """Whether a task of asyncio's is entered: others could not be, while it is suspended."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop runs here
        return False


def attach(reactor: Any, here: Callable[[], bool], *, owned: bool) -> Callable[[], None]:
    """
    Set ``run``, ``stop`` and the like on the reactor instance.

    Args:
        reactor: the reactor, which runs.
        here: whether the caller is in its thread.
        owned: whether crochet runs it, and not the program itself.

    Returns:
        What takes them off.
    """
    methods = _Methods(reactor, here, owned=owned)
    undo = ExitStack()
    # Before what notes which observers a script adds.
    observer = cast(ILogObserver, explain_logged)
    globalLogPublisher.addObserver(observer)
    undo.callback(globalLogPublisher.removeObserver, observer)
    undo.callback(_script_log.attach(owned=owned))
    undo.callback(override(reactor, methods.all()))
    note(reactor)
    # Not by the new method: in a cell's context it would be a trigger of the cell's.
    ends = methods.add_to_session("before", "shutdown", methods.end)
    undo.callback(methods.remove_trigger, ends)

    def detach() -> None:
        undo.close()
        if owned and any_has_run():
            # A `stop` that such a script left for later would end the reactor now.
            override(reactor, {"stop": _ignore, "crash": _ignore})

    return detach


def _ignore() -> None:
    print(NOBODY_WAITS)
