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
change is set on the reactor's and the loop's instances, and taken off when the
last shell unloads the extension.

What can still go wrong.  A reactor that is stuck at the end of the process is
abandoned.  A reactor that somebody else installed stays as it is: without an
asyncio loop, asyncio objects cannot be awaited.

Only this module and `_eventual` know crochet.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from time import time
from typing import Any, Final

import crochet
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from twisted_ipython import _bridge, _timers
from twisted_ipython._eventual import EventualResult, adopt

__all__ = ["ReactorThread", "start", "started"]

# Seconds that a stopping reactor gets at the end of the process.
_GRACE: Final = 1.0
# Seconds that a starting reactor gets.
_START: Final = 10.0

STOPPED: Final = (
    "The reactor was stopped, and a reactor cannot be started again in the same process."
    " Restart the kernel (or this program) and load twisted_ipython again."
)
NOT_RUNNING: Final = (
    "The reactor is not running: crochet.no_setup() was called, so this program has to run"
    " the reactor itself, and has not yet. Start it, then load twisted_ipython."
)
NO_ASYNCIO: Final = (
    "{reactor} was installed before twisted_ipython was loaded (importing klein or"
    " twisted.conch.manhole does that), and it has no asyncio loop: Deferreds can be awaited,"
    " asyncio objects cannot. To have both, restart and load twisted_ipython first."
)


class ReactorThread:
    """
    The running reactor and its thread; one in each process.

    Attributes:
        reactor: Twisted's reactor.
        loop: the asyncio loop that it runs on, or None.
        ident: the reactor thread's identifier.
        began: when it was first reached, in seconds since the epoch.
    """

    def __init__(self, reactor: Any, loop: asyncio.AbstractEventLoop | None, ident: int) -> None:
        self.reactor = reactor
        self.loop = loop
        self.ident = ident
        self.began = time()
        self._undo: list[Callable[[], None]] = []

    @property
    def refusal(self) -> str:
        """Why asyncio objects cannot be awaited, and what to do."""
        return NO_ASYNCIO.format(reactor=type(self.reactor).__name__)

    def here(self) -> bool:
        """Whether the caller is in the reactor thread.  Any thread."""
        return threading.get_ident() == self.ident

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in the reactor thread soon.  Any thread."""
        self.reactor.callFromThread(function, *args)

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
            return adopt(crochet.run_in_reactor(function)())
        except crochet.ReactorStopped:
            raise RuntimeError(STOPPED) from None

    def drive(
        self, coro: Coroutine[Any, Any, Any], context: Context
    ) -> tuple[Deferred[None], Callable[[], object]]:
        """
        Step a coroutine, which must not raise, until it ends.  In the reactor thread.

        Returns:
            a Deferred that fires with None at the end, and what cancels the coroutine.
        """
        if self.loop is None:
            guarded = _bridge.deferreds_only(coro, self.refusal, self.ident, self.call)
            deferred = context.run(ensureDeferred, guarded)
            return deferred, deferred.cancel
        task = self.loop.create_task(coro, context=context)
        ended: Deferred[None] = Deferred()
        task.add_done_callback(lambda _: ended.callback(None))
        return ended, task.cancel

    def deferred(self, coro: Coroutine[Any, Any, Any], context: Context) -> Deferred[Any]:
        """A Deferred of what a coroutine returns.  In the reactor thread."""
        cancel: list[Callable[[], object]] = []
        result: Deferred[Any] = Deferred(lambda _: _discard(cancel[0]()))

        async def body() -> None:
            try:
                value: Any = await coro
            except BaseException:
                value = Failure()
            if not result.called:
                result.callback(value)

        cancel.append(self.drive(body(), context)[1])
        return result

    def attach(self) -> None:
        """Set what we change on the instances of the reactor, its loop and crochet."""
        if self._undo:
            return
        registry: Any = crochet._main._registry  # type: ignore[attr-defined]  # crochet 2.1.1: where it notes each result
        register = registry.register

        def register_awaitable(result: Any) -> None:
            register(adopt(result))

        for result in list(registry._results):
            adopt(result)
        registry.register = register_awaitable
        self._undo.append(lambda: delattr(registry, "register"))
        if self.loop is not None:
            self._undo.append(_bridge.attach(self.loop))
            self._undo.append(_timers.attach(self.reactor, self.loop, self.ident))

    def detach(self) -> None:
        """Take off what `attach` set; jobs that are pending go on.  Any thread."""
        while self._undo:
            self._undo.pop()()


def _discard(_: object) -> None:
    """Say that a value is of no use."""


_lock = threading.Lock()
_thread: ReactorThread | None = None


def started() -> ReactorThread | None:
    """The reactor thread, if it was started here.  Any thread."""
    return _thread


def start() -> ReactorThread:
    """
    Start the reactor thread, or find the one that is there.  Any thread but the reactor's.

    Raises:
        RuntimeError: the reactor was stopped, or nobody runs it.
    """
    global _thread
    with _lock:
        if _thread is None:
            _thread = _start()
        return _thread


def _start() -> ReactorThread:
    if "twisted.internet.reactor" not in sys.modules:
        _install()
    _in_daemon_thread(crochet.setup)
    threading.Thread(target=_end, name="twisted_ipython exit", daemon=False).start()
    from twisted.internet import reactor

    answered = threading.Event()
    answer: list[ReactorThread] = []

    def look() -> None:
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        answer.append(ReactorThread(reactor, loop, threading.get_ident()))
        answer[0].attach()
        answered.set()

    reactor.callFromThread(look)
    if not answered.wait(_START if _reactor_thread() is not None else 0.5):
        raise RuntimeError(STOPPED if reactor._startedBefore else NOT_RUNNING)
    return answer[0]


def _install() -> None:
    """Install Twisted's asyncio reactor on a loop of its own."""
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.main import installReactor

    installReactor(AsyncioSelectorReactor(asyncio.SelectorEventLoop()))


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


def _end() -> None:
    """Keep the process until the reactor has stopped, `_GRACE` seconds at most."""
    threading.main_thread().join()
    thread = _reactor_thread()
    if thread is not None:
        thread.join(_GRACE)
