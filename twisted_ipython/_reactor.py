"""
The reactor thread: choose a reactor, start it, reach it, end it.

The goal.  One reactor turns for the life of the process, in a thread of
crochet's; both Twisted and asyncio code run on it; and the process still ends
when it is asked to.

What fails.  A reactor can be started once and must be installed before
anything imports it.  crochet's own threads are not daemons when the main
thread starts them: a reactor that is busy then keeps the process from ending
(measured: IPython never left).  As daemons, they are cut off in the middle of
"before shutdown" triggers.

What we do.  With no reactor installed, Twisted's asyncio reactor is installed
on a new selector loop, never on the kernel's.  crochet is set up from a
short-lived daemon thread, so that its threads inherit being daemons.  One
thread of ours that is no daemon waits for the main thread's end, lets crochet
stop the reactor, and waits for that at most `_GRACE` seconds.  What has to
change is set on the instances of the reactor, its loop and crochet's registry,
and taken off when the last shell unloads the extension.  Only the bridge stays
on a loop that was made here: jobs and servers that go on after that start new
tasks, which await Deferreds and asyncio objects as before.  On a loop that
somebody else made it is taken off; tasks that exist by then keep it.

What can still go wrong.  A reactor that is stuck at the end of the process is
abandoned; one that the program itself set up holds the process, so what it is
stuck in is broken, which code in C cannot be.  A reactor that somebody else
installed stays as it is: without an asyncio loop, asyncio objects cannot be
awaited.

Only this module and `_eventual` know crochet.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import time
from typing import Any, Final

import crochet
from crochet._eventloop import ThreadLogObserver
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.threads import blockingCallFromThread
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from twisted_ipython import (
    _contexts,
    _failures,
    _interrupt,
    _log,
    _loops,
    _pool,
    _running,
    _tasks,
    _timers,
    _trial,
    _works,
)
from twisted_ipython._deferreds_only import deferreds_only
from twisted_ipython._eventual import EventualResult, adopt
from twisted_ipython._instance import override
from twisted_ipython._report import reports
from twisted_ipython._stack import Label, in_files
from twisted_ipython._unheld import unheld

__all__ = ["FORKED", "STOPPED", "Ending", "ReactorThread", "start", "started", "when_stopped"]

# Seconds that a stopping reactor gets at the end of the process.
_GRACE: Final = 1.0
# Seconds after which one that has not answered counts as stuck.
_STUCK: Final = 0.5
# Seconds of a turn from then on.
_LAST_TURNS: Final = 1e-5
# Seconds that tasks get to clean up.
_CLEANUP: Final = 0.3
# Seconds that a starting reactor gets, and one that does not seem to run.
_START: Final = 10.0
_LOOK: Final = 0.5

STOPPED: Final = (
    "The reactor was stopped, and a reactor cannot be started again in the same process."
    " Restart the kernel (or this program) and load twisted_ipython again."
)
NOT_RUNNING: Final = (
    "The reactor is not running: crochet.no_setup() was called, so this program has to run"
    " the reactor itself, and has not yet. Start it, then load twisted_ipython."
)
FORKED: Final = (
    "This process was forked from the one whose reactor it would need: a fork has no reactor"
    " thread. Await in the parent process, or start a fresh one (multiprocessing's `spawn`)."
)
STUCK: Final = (
    f"The reactor runs, but did not answer within {_START:g} seconds: something blocks its thread."
)
NO_ASYNCIO: Final = (
    "{reactor} was installed before twisted_ipython was loaded (importing klein or"
    " twisted.conch.manhole does that), and it has no asyncio loop: Deferreds can be awaited,"
    " asyncio objects cannot. To have both, restart and load twisted_ipython first."
)


# What the reactor thread calls when the reactor stops, before any task is cancelled.
when_stopped: Final[list[Callable[[], object]]] = []

# What asyncio says where no loop runs; the second is what Queue, Event and the like say.
_WITHOUT_LOOP: Final = ("event loop", "'NoneType' object has no attribute 'create_future'")


class ReactorThread:
    """
    The running reactor and its thread; one in each process.

    Attributes:
        reactor: Twisted's reactor.
        loop: the asyncio loop that it runs on, or None.
        ident: the reactor thread's identifier.
        began: when it was first reached, in seconds since the epoch.
        pool: the reactor's thread pool.
        process: the process that it runs in.
        label: how to write a place in the code to somebody who waits for the reactor.
        stopped: whether the reactor has begun to stop: nothing new runs in it.

    Args:
        ours: whether the reactor was installed here, and its loop made.
    """

    def __init__(
        self, reactor: Any, loop: asyncio.AbstractEventLoop | None, ident: int, *, ours: bool
    ) -> None:
        self.reactor = reactor
        self.loop = loop
        self.ident = ident
        self.began = time()
        self.process = os.getpid()
        self.label: Label = in_files
        self.stopped = False
        reactor.addSystemEventTrigger("before", "shutdown", self._note_stop)
        self._ends = False
        self.pool: ThreadPool = reactor.getThreadPool()
        _pool.make_daemons(self.pool)
        self._undo: list[Callable[[], None]] = []
        self._bridge_stays = loop is not None and ours
        reactor.addSystemEventTrigger("before", "shutdown", reports.end)
        if loop is not None and ours:
            _tasks.attach(loop)
            _pool.use_for(loop, reactor.getThreadPool)
            reactor.addSystemEventTrigger("before", "shutdown", self.end_tasks)

    @property
    def refusal(self) -> str:
        """Why asyncio objects cannot be awaited, and what to do."""
        return NO_ASYNCIO.format(reactor=type(self.reactor).__name__)

    def explain(self, error: BaseException) -> None:
        """Add a line to an exception that the lack of an asyncio loop caused."""
        missing = isinstance(error, (RuntimeError, AttributeError)) and any(
            text in str(error) for text in _WITHOUT_LOOP
        )
        if self.loop is None and missing and str(error) != self.refusal:
            error.add_note(self.refusal)

    def here(self) -> bool:
        """Whether the caller is in the reactor thread.  Any thread."""
        return threading.get_ident() == self.ident

    def works_here(self) -> bool:
        """Whether the caller is in the reactor thread or one of the pool's.  Any thread."""
        return self.here() or threading.current_thread() in self.pool.threads

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in the reactor thread soon.  Any thread."""
        self.reactor.callFromThread(function, *args)

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` after a time, by a timer that is no DelayedCall if that can be."""
        later = self.reactor.callLater if self.loop is None else self.loop.call_later
        later(seconds, function, *args)

    def run(self, function: Callable[[], Any]) -> EventualResult:
        """
        Run ``function`` in the reactor thread, as ``crochet.run_in_reactor`` does.

        Any thread.

        Returns:
            what will come of it; a Deferred that ``function`` returns is waited for.

        Raises:
            RuntimeError: the reactor was stopped.
        """
        try:
            return adopt(_call_in_reactor(function))
        except crochet.ReactorStopped:
            raise RuntimeError(STOPPED) from None

    def drive(self, coro: Coroutine[Any, Any, None], context: Context) -> Callable[[], object]:
        """
        Step a coroutine, which must not raise, until it ends.  In the reactor thread.

        Returns:
            what cancels the coroutine.
        """
        if self.loop is None:
            guarded = deferreds_only(coro, self.refusal, self.ident, self.call)
            return context.run(ensureDeferred, guarded).cancel
        return _tasks.begin_task(coro, self.loop, context).cancel

    def deferred(self, coro: Coroutine[Any, Any, Any], context: Context) -> Deferred[Any]:
        """
        A Deferred of what a coroutine returns.  In the reactor thread.

        It fires when the coroutine has ended, also when it is cancelled: the
        coroutine may clean up, or go on.
        """
        result = Ending()

        async def body() -> None:
            try:
                value: Any = await coro
            except BaseException as error:
                self.explain(error)
                value = Failure()
            if not self._ends:  # crochet has given up its results, and would log this one
                result.callback(value)

        result.stop = self.drive(body(), context)
        return result

    def attach(self) -> None:
        """Set what we change on the instances of the reactor, its loop and crochet.  Any thread."""
        if self._undo:
            return
        self._undo.append(_adopt_results())
        reports.attach(self.call, self.later)
        self._undo.append(unheld.attach(self.later))
        self._undo.append(_log.attach(reports, ThreadLogObserver))
        self._undo.append(_loops.attach(self.reactor))
        self._undo.append(_works.attach(self.pool))
        on_loop = self.loop is not None
        self._undo.append(_contexts.attach(self.reactor, self.pool, on_loop=on_loop))
        if self.loop is None:
            self._undo.append(_refuse_blocking_calls(self))
        else:
            if not self._bridge_stays:
                self._undo.append(_tasks.attach(self.loop))
            self._undo.append(_timers.attach(self.reactor, self.loop, self.ident))
            self._undo.append(_failures.attach(self.loop, reports))
        self._undo.append(_trial.attach(self.reactor, on_loop=on_loop))
        ours = _reactor_thread()
        owned = ours is not None and ours.ident == self.ident
        self._undo.append(_running.attach(self.reactor, self.here, owned=owned))

    def _note_stop(self) -> None:
        self.stopped = True
        for call in when_stopped:
            call()

    def end_tasks(self) -> Deferred[Any]:
        """
        Cancel all tasks of the loop, for a reactor that stops.  In the reactor thread.

        Returns:
            a Deferred that fires when they have ended, or have had `_CLEANUP` seconds.
        """
        assert self.loop is not None
        self._ends = True
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
                # asyncio's own switch for its complaint about a task that nobody will run.
                task._log_destroy_pending = False  # type: ignore[attr-defined]

        return Deferred.fromFuture(self.loop.create_task(ended()))

    def detach(self) -> None:
        """Take off what `attach` set; what is pending goes on.  Any thread."""
        while self._undo:
            self._undo.pop()()


@crochet.run_in_reactor
def _call_in_reactor(function: Callable[[], Any]) -> Any:
    """Decorated once: crochet's decorator takes longer than the call."""
    return function()


class Ending(Deferred[Any]):
    """
    What a coroutine will return; cancelling it cancels the coroutine, and no more.

    Args:
        stop: cancels the coroutine.
    """

    def __init__(self, stop: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.stop = stop

    def cancel(self) -> None:
        """Cancel the coroutine; once it has ended, what a callback returned."""
        if self.called:
            super().cancel()
        else:
            self.stop()


def _adopt_results() -> Callable[[], None]:
    """Have crochet's results be awaitable; returns what undoes it."""
    # Where crochet 2.1.1 notes each result; its stub leaves it out.
    registry: Any = crochet._main._registry  # type: ignore[attr-defined]
    register = registry.register

    process = os.getpid()

    def register_awaitable(result: Any) -> None:
        if os.getpid() != process:
            raise RuntimeError(FORKED)
        register(adopt(result))

    for result in list(registry._results):
        adopt(result)
    return override(registry, {"register": register_awaitable})


def _refuse_blocking_calls(thread: ReactorThread) -> Callable[[], None]:
    """Have `blockingCallFromThread` fail in the reactor thread; returns what undoes it."""
    original = thread.reactor.callFromThread

    def call_from_thread(callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        if thread.here() and sys._getframe(1).f_code is blockingCallFromThread.__code__:
            raise RuntimeError(_timers.BLOCKING_CALL)
        original(callable, *args, **kwargs)

    return override(thread.reactor, {"callFromThread": call_from_thread})


_lock = threading.Lock()
_thread: ReactorThread | None = None


def started() -> ReactorThread | None:
    """The reactor thread, if it was started here.  Any thread."""
    return _thread


def start() -> ReactorThread:
    """
    Start the reactor thread, or find the one that is there.  Any thread.

    Raises:
        RuntimeError: the reactor was stopped, nobody runs it, it is stuck, or
            this process was forked from the one that has it.
    """
    global _thread
    with _lock:
        if _thread is None:
            _thread = _start()
        elif _thread.process != os.getpid():
            raise RuntimeError(FORKED)
        return _thread


def _start() -> ReactorThread:
    ours = "twisted.internet.reactor" not in sys.modules
    if ours:
        _install()
    showwarning = warnings.showwarning
    _in_daemon_thread(crochet.setup)
    thread = _find(ours=ours)
    # crochet 2.1.1 means to leave this alone when it starts Twisted's log; as it is,
    # every warning would go to that log, and be shown by another thread some time later.
    warnings.showwarning = showwarning
    thread.attach()
    os.register_at_fork(after_in_child=partial(_after_fork, thread))
    exits = partial(_end, thread)
    threading.Thread(target=exits, name="twisted_ipython exit", daemon=False).start()
    return thread


def _after_fork(thread: ReactorThread) -> None:
    """A fork that the reactor thread made must not go on as a second reactor.  In the fork."""
    if thread.here():
        thread.reactor.callLater(0, _end_fork)


def _end_fork() -> None:
    print(FORKED, file=sys.stderr, flush=True)
    os._exit(1)


def _find(*, ours: bool) -> ReactorThread:
    """Ask the reactor which thread and loop it runs in."""
    from twisted.internet import reactor

    answered = threading.Event()
    answer: list[ReactorThread] = []

    def look() -> None:
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        answer.append(ReactorThread(reactor, loop, threading.get_ident(), ours=ours))
        answered.set()

    if threadable.isInIOThread():
        look()
    else:
        reactor.callFromThread(look)
    turning = _reactor_thread() is not None or reactor.running
    if not answered.wait(_START if turning else _LOOK):
        stopped = reactor._startedBefore
        raise RuntimeError(STUCK if turning else STOPPED if stopped else NOT_RUNNING)
    return answer[0]


def _install() -> None:
    """Install Twisted's asyncio reactor on a loop of its own."""
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.main import installReactor

    loop = asyncio.SelectorEventLoop()
    _interrupt.resuming(loop)
    installReactor(AsyncioSelectorReactor(loop))


def _in_daemon_thread(function: Callable[[], object]) -> None:
    """Call ``function`` where the threads that it starts inherit being daemons."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, name="twisted_ipython start", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _reactor_thread() -> threading.Thread | None:
    """crochet's reactor thread, if crochet started one that is alive."""
    for thread in threading.enumerate():
        if thread.name == "CrochetReactor":
            return thread
    return None


def _end(reached: ReactorThread) -> None:
    """Keep the process until the reactor has stopped, `_GRACE` seconds at most."""
    threading.main_thread().join()
    thread = _reactor_thread()
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
