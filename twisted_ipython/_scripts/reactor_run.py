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
without a script that waits stops the only script that waits.  A plain cell is a
script once it calls any of these; a thread that is none of the reactor's and
belongs to no script waits in ``run`` as a script of its own.

What can still go wrong.  A reactor that serves its connections by other means
than an asyncio loop, epoll, poll or select loses their contexts: what they stop
is the only script that waits.

Thread: any, unless a docstring says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorAlreadyRunning, ReactorNotRestartable
from twisted.logger import ILogObserver, globalLogBeginner, globalLogPublisher

from twisted_ipython._base.instance import override
from twisted_ipython._base.tracebacks import users_frames_only
from twisted_ipython._base.work_id import NO_WORK, current_work
from twisted_ipython._private.scrapy import SCRAPER
from twisted_ipython._private.twisted import awaited_by_react, failure_of_react
from twisted_ipython._reactor.crochet_adapter import reactor_thread
from twisted_ipython._reactor.interrupt import FORKED
from twisted_ipython._reactor.overrides import replacement
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._scripts.callers import begun_by
from twisted_ipython._scripts.notes import ShellNote
from twisted_ipython._scripts.registry import NOBODY_WAITS, Scripts
from twisted_ipython._scripts.script import Script, Stage
from twisted_ipython._scripts.script_log import begin_logging_to
from twisted_ipython._scripts.system_events import Trigger
from twisted_ipython._scripts.thread_script import wait_in_thread

IN_CALLBACK: Final = (
    "reactor.run() was called in a callback, in a coroutine or in a cell that awaits, which the"
    " reactor itself runs: a script calls it outside of any coroutine, in a cell without `await`."
)
# What scripts call, which looks at the thread itself.
FOR_SCRIPTS: Final = (
    *("run", "stop", "crash", "callWhenRunning"),
    *("addSystemEventTrigger", "removeSystemEventTrigger"),
)


class _Methods:
    """The reactor's methods for scripts; it is ``owned`` if crochet runs it, and no program."""

    def __init__(self, thread: ReactorThread, *, owned: bool) -> None:
        reactor = self._reactor = thread.reactor
        self._here = thread.here
        self._crawls = thread.crawls
        self._scripts = thread.of(Scripts)
        self._owned = owned
        self._stop = reactor.stop
        self._crash = reactor.crash
        self.add_to_session = reactor.addSystemEventTrigger
        self._remove = reactor.removeSystemEventTrigger
        self._ends = False
        self._process = os.getpid()

    def run(self, *_: object, **__: object) -> None:
        self._check_process()
        caller = _caller()
        script = self._script_of(caller)
        if self._ends:
            raise ReactorNotRestartable
        if script is None:
            wait_in_thread()
        else:
            script.main = awaited_by_react(caller)
            script.wait()

    def _script_of(self, caller: FrameType) -> Script | None:
        """
        The script whose own code calls ``run``, or is about to; None in a thread that has none.

        Raises:
            ReactorAlreadyRunning: it is the reactor that runs the code.
        """
        script = self._scripts.own()
        mine = script is not None and script.may_run()
        waits = script is not None and script.stage is not Stage.CODE
        inside = not mine or _in_task() if self._here() else waits
        if inside:
            cancel = begun_by(caller, self._crawls)
            self._reactor.callFromThread(copy_context().run, self._scripts.refuse, cancel)
            raise users_frames_only(ReactorAlreadyRunning(IN_CALLBACK))
        return script if mine else None

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise users_frames_only(RuntimeError(FORKED))

    def stop(self) -> None:
        self._check_process()
        if self._is_programs_own():
            self._stop()
            return
        script = self._scripts.to_stop()
        if script is not None:
            script.fail(failure_of_react(_caller()))
            script.stop()

    def crash(self) -> None:
        if self._is_programs_own():
            self._crash()
            return
        script = self._scripts.to_stop(crash=True)
        if script is not None:
            script.crash()

    def end(self) -> Deferred[Any]:
        """The reactor stops: so does the wait of every script."""
        self._ends = True
        return self._scripts.end_all()

    def _is_programs_own(self) -> bool:
        """Whether a stop is that of a program which runs the reactor itself."""
        return not self._owned and current_work() == NO_WORK

    def callWhenRunning(
        self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Trigger | None:
        self._check_process()
        script = self._scripts.own()
        if script is not None and script.starts_later():
            return script.startup.add("after", partial(callable, *args, **kwargs))
        if self._here():
            callable(*args, **kwargs)
        else:
            self._reactor.callFromThread(copy_context().run, callable, *args, **kwargs)
        return None

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        self._check_process()
        caller = _caller()
        if begun_by(caller, self._crawls) is not None:
            self._script_of(caller)
        script = self._scripts.own_or_only_one()
        if script is None or eventType not in ("startup", "shutdown"):
            return self.add_to_session(phase, eventType, callable, *args, **kwargs)
        event = script.startup if eventType == "startup" else script.shutdown
        return event.add(phase, partial(callable, *args, **kwargs))

    def removeSystemEventTrigger(self, triggerID: Any) -> None:
        if isinstance(triggerID, Trigger):
            triggerID.remove()
        else:
            self._remove(triggerID)


def _caller() -> FrameType:
    """The frame that called the method; that of the method where it is all that a thread runs."""
    method = sys._getframe(1)
    return method.f_back or method


def _in_task() -> bool:
    """Whether a task of asyncio's is entered: others could not be, while it is suspended."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop runs here
        return False


def _explain_logged(scripts: Scripts, undo: ExitStack) -> None:
    """Add lines to what the logs of scripts say."""
    observer = cast(ILogObserver, scripts.explain_logged)
    globalLogPublisher.addObserver(observer)
    undo.callback(globalLogPublisher.removeObserver, observer)
    scraper, shell_note = logging.getLogger(SCRAPER), ShellNote()
    scraper.addFilter(shell_note)
    undo.callback(scraper.removeFilter, shell_note)


def attach(thread: ReactorThread) -> Callable[[], None]:
    """Set ``run``, ``stop`` and the like on the reactor; gives what takes them off."""
    reactor, crochets = thread.reactor, reactor_thread()
    owned = crochets is not None and crochets.ident == thread.ident
    methods, scripts = _Methods(thread, owned=owned), thread.of(Scripts)
    undo = ExitStack()
    # Before what notes which observers a script adds.
    _explain_logged(scripts, undo)
    table = {name: [replacement(getattr(methods, name))] for name in FOR_SCRIPTS}
    for name in ("installResolver", "installNameResolver"):
        table[name] = [scripts.resolvers.setting]
    pools = thread.pool, {"adjustPoolsize": [scripts.pool_sizes.setting]}
    begins = {"beginLoggingTo": [replacement(begin_logging_to)]} if owned else {}
    on_logs = (globalLogBeginner, begins), *scripts.logs.overrides()
    undo.callback(thread.overrides.add("_scripts", (reactor, table), pools, *on_logs))
    # Not by the new method: in a cell's context it would be a trigger of the cell's.
    ends = methods.add_to_session("before", "shutdown", methods.end)
    undo.callback(methods.removeSystemEventTrigger, ends)

    def detach() -> None:
        undo.close()
        if owned and scripts.ran:
            # A `stop` that such a script left for later would end the reactor now.
            override(reactor, {"stop": _ignore, "crash": _ignore})

    return detach


def _ignore() -> None:
    print(NOBODY_WAITS)
