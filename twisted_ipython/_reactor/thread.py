"""
The running reactor and its thread: reached from any other, and what is set on it.

What is set on the instances of the reactor and its pool is listed in
`_reactor.overrides`; `_reactor.lifecycle` says why.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from time import time
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.python.threadpool import ThreadPool

from twisted_ipython._base.collected import Unheld
from twisted_ipython._base.frames import Label, in_files
from twisted_ipython._bridge import task_factory
from twisted_ipython._bridge.driven import cancel
from twisted_ipython._bridge.ending import of_coroutine
from twisted_ipython._bridge.without_loop import deferreds_only
from twisted_ipython._failures import asyncio_errors, logs
from twisted_ipython._failures.reports import reports
from twisted_ipython._private.asyncio import foreign_policy, running_loop, silence
from twisted_ipython._private.crochet import THREAD_LOG_OBSERVER
from twisted_ipython._reactor import crochet_adapter, overrides, thread_pool
from twisted_ipython._reactor.contexts import LoopingCalls
from twisted_ipython._reactor.crawls import Crawls
from twisted_ipython._reactor.delayed_calls import Timers
from twisted_ipython._reactor.eventual_result import EventualResult
from twisted_ipython._reactor.jobs import Jobs

_T = TypeVar("_T")

# Seconds that tasks get to clean up.
_CLEANUP: Final = 0.3

NO_ASYNCIO: Final = (
    "{reactor} was installed before twisted_ipython was loaded (`from twisted.internet import"
    " reactor` in an earlier cell does that), and it has no asyncio loop: Deferreds can be awaited,"
    " asyncio objects cannot. To have both, restart and load twisted_ipython first."
)
POLICY: Final = (
    "The event loop policy of this process is {policy}. The reactor, and so all that cells await,"
    " runs on asyncio's own {loop} instead, unless TwistedMagics.reactor says otherwise. Loops that"
    " you make are still the policy's."
)
OTHER_LOOP: Final = (
    "The reactor runs on {loop}: `%reactor` does not list asyncio's connections and processes, and"
    " plain cells write to these without borrowing the reactor."
)

# What asyncio says where no loop runs; the second is what Queue, Event and the like say.
_WITHOUT_LOOP: Final = ("event loop", "'NoneType' object has no attribute 'create_future'")


class ReactorThread:
    """
    The running reactor and its thread, in which this is made; one in each process.

    Attributes:
        loop: the asyncio loop that it runs on, or None.
        ident: the reactor thread's identifier.
        hooks: its loop's for asynchronous generators, as `sys.get_asyncgen_hooks` gives them.
        began: when it was first reached, in seconds since the epoch.
        process: the process that it runs in.
        label: how to write a place in the code to somebody who waits for the reactor.
        stopped: whether the reactor has begun to stop: nothing new runs in it.
        timers: its delayed calls, if it runs on a loop and `attach` was called.
        unheld: finds the failures that nothing holds.
        on_stop: what it calls when the reactor stops, before any task is cancelled.
        ends: whether its tasks are being ended.

    Args:
        ours: whether the reactor was installed here, and its loop made.
    """

    def __init__(self, reactor: Any, *, ours: bool) -> None:
        self.reactor = reactor
        self.loop = loop = running_loop()
        self.ident = threading.get_ident()
        self.hooks: tuple[Any, Any] = sys.get_asyncgen_hooks()
        self.began = time()
        self.process = os.getpid()
        self.label: Label = in_files
        self.stopped = False
        self.timers: Timers | None = None
        self.overrides = overrides.Overrides()
        self.unheld = Unheld(self.call)
        self.on_stop: list[Callable[[], object]] = []
        self.crawls = Crawls(self)
        self.loops = LoopingCalls()
        self.jobs = Jobs(self)
        self.pool_work = thread_pool.PoolWork()
        self._own: dict[Any, Any] = {}
        reactor.addSystemEventTrigger("before", "shutdown", self._note_stop)
        self.ends = False
        self.pool: ThreadPool = reactor.getThreadPool()
        self.pool.threadFactory = thread_pool.Daemon
        self._undo: list[Callable[[], None]] = []
        self._also: list[Callable[[ReactorThread], Callable[[], None]]] = []
        self._attaching = threading.Lock()
        self._ours = ours  # then the bridge stays on the loop
        reactor.addSystemEventTrigger("before", "shutdown", reports.show_now)
        if loop is not None and ours:
            task_factory.attach(loop, resumes=True)
            loop.set_default_executor(thread_pool.PoolExecutor(reactor.getThreadPool))
            reactor.addSystemEventTrigger("before", "shutdown", self._end_tasks)

    @property
    def refusal(self) -> str:
        """Why asyncio objects cannot be awaited, and what to do."""
        return NO_ASYNCIO.format(reactor=type(self.reactor).__name__)

    @property
    def remark(self) -> str:
        """What is said of the loop when the extension is loaded, if anything."""
        if self.loop is None:
            return self.refusal
        policy, kind = foreign_policy(), type(self.loop)
        if not isinstance(self.loop, asyncio.BaseEventLoop):
            return OTHER_LOOP.format(loop=kind.__module__)
        if policy is None or kind.__module__.partition(".")[0] != "asyncio":
            return ""
        return POLICY.format(policy=policy, loop=kind.__name__)

    def explain(self, error: BaseException) -> None:
        """Add a line to an exception that the lack of an asyncio loop caused."""
        missing = isinstance(error, (RuntimeError, AttributeError)) and any(
            text in str(error) for text in _WITHOUT_LOOP
        )
        if self.loop is None and missing and str(error) != self.refusal:
            error.add_note(self.refusal)

    def of(self, kind: Callable[[ReactorThread], _T]) -> _T:
        """
        What a folder above keeps for this reactor, so that no module has to.

        Args:
            kind: makes it when it is first asked for, mostly a class.

        Thread: any.
        """
        found: _T | None = self._own.get(kind)
        return self._own.setdefault(kind, kind(self)) if found is None else found

    def here(self) -> bool:
        """Whether the caller is in the reactor thread.  Thread: any."""
        return threading.get_ident() == self.ident

    def works_here(self) -> bool:
        """Whether the caller is in the reactor thread or one of the pool's.  Thread: any."""
        return self.here() or threading.current_thread() in self.pool.threads

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in the reactor thread soon.  Thread: any."""
        self.reactor.callFromThread(function, *args)

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` after a time, by a timer that is no DelayedCall if that can be."""
        later = self.reactor.callLater if self.loop is None else self.loop.call_later
        later(seconds, function, *args)

    def run(self, function: Callable[[], Any]) -> EventualResult:
        """
        Run ``function`` in the reactor thread, as ``crochet.run_in_reactor`` does.

        Args:
            function: what to call; a Deferred that it returns is waited for.

        Raises:
            RuntimeError: the reactor was stopped.

        Thread: any.
        """
        return crochet_adapter.call_in_reactor(function)

    def drive(self, coro: Coroutine[Any, Any, None], context: Context) -> Callable[[], object]:
        """Step a coroutine that does not raise; gives what cancels it.  Thread: reactor."""
        if self.loop is None:
            guarded = deferreds_only(coro, self.refusal, self.ident, self.call)
            return partial(cancel, context.run(ensureDeferred, guarded))
        return task_factory.begin_task(coro, self.loop, context).cancel

    def deferred(self, coro: Coroutine[Any, Any, Any], context: Context) -> Deferred[Any]:
        """A Deferred of a coroutine, which fires when that has ended, also when it is cancelled."""
        # Once it ends, crochet has given up its results, and would log this one.
        return of_coroutine(coro, partial(self.drive, context=context), self)

    def attach(self) -> None:
        """Set what we change on the reactor, its loop and crochet.  Thread: any."""
        if self._undo:
            return
        self._undo.append(crochet_adapter.adopt_results())
        reports.attach(self.call, self.later, self.unheld.ago)
        self.unheld.on = True
        self._undo.append(logs.attach(reports, THREAD_LOG_OBSERVER))
        if self.loop is not None:
            self.timers = Timers(self.reactor, self.loop, self.ident)
            if not self._ours:
                self._undo.append(task_factory.attach(self.loop))
            self._undo.append(asyncio_errors.attach(self.loop, reports))
        reactors = self.reactor, overrides.of_reactor(self.timers, self.loops)
        pools = self.pool, {"callInThreadWithCallback": [self.pool_work.note]}
        self._undo.append(self.overrides.add("_reactor", reactors, pools))

    def attach_also(self, attach: Callable[[ReactorThread], Callable[[], None]]) -> None:
        """Set what a folder above sets, once, while what is set here stays.  Thread: any."""
        with self._attaching:
            if self._undo and attach not in self._also:
                self._undo.append(attach(self))
                self._also.append(attach)

    def _note_stop(self) -> None:
        self.stopped = True
        for call in self.on_stop.copy():
            call()

    def _end_tasks(self) -> Deferred[Any]:
        """Cancel all tasks of the loop, and give them `_CLEANUP` seconds to end."""
        assert self.loop is not None
        self.ends = True
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if not tasks:
            return succeed(None)

        async def ended() -> None:
            done, pending = await asyncio.wait(tasks, timeout=_CLEANUP)
            for task in done:
                # IPython has emptied the namespace by now: what a `finally` raises is no news.
                task.cancelled() or task.exception()
            for task in pending:
                silence(task)

        return Deferred.fromFuture(self.loop.create_task(ended()))

    def detach(self) -> None:
        """Take off what `attach` set; what is pending goes on.  Thread: any."""
        self._also.clear()
        self.unheld.on = False
        while self._undo:
            self._undo.pop()()
