"""
The reactor: choose one, start it in its thread or find the one that runs.

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
Many pages teach to delete the reactor's module so that another reactor is made
for the next script: it would never run, so the module is put back.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Final

import twisted.internet
from twisted.python import threadable

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.instance import with_room
from twisted_ipython._base.loans import loans
from twisted_ipython._bridge.call_soon import resuming
from twisted_ipython._private.twisted import STARTED_BEFORE
from twisted_ipython._reactor import interrupt, thread_pool
from twisted_ipython._reactor.crochet_adapter import reactor_thread, set_up
from twisted_ipython._reactor.interrupt import FORKED, STOPPED
from twisted_ipython._reactor.thread import ReactorThread

ASYNCIO: Final = "asyncio"
# Seconds that a starting reactor gets, and one that does not seem to run.
_START: Final = 10.0
_ANSWER: Final = 0.5

NOT_RUNNING: Final = (
    "The reactor is not running: crochet.no_setup() was called, so this program has to run"
    " the reactor itself, and has not yet. Start it, then load twisted_ipython."
)
STUCK: Final = (
    f"The reactor runs, but did not answer within {_START:g} seconds: something blocks its thread."
)

NOT_STARTED: Final = (
    "This process has no reactor thread yet: load the extension first, by %load_ext twisted_ipython"
)
NOT_NEEDED: Final = (
    "The module twisted.internet.reactor was put back: one reactor runs for the whole session, and"
    " a script runs again and again without deleting it, so leave that line out."
)
INSTALLED: Final = (
    "TwistedMagics.reactor is {loop!r}, but a reactor is installed already (usually by an import"
    " of twisted.internet.reactor), and is used as it is: load twisted_ipython before that."
)
NOT_THERE: Final = (
    "TwistedMagics.reactor is {loop!r}, and there is no package of that name: install it, or take"
    " that line out of IPython's configuration file."
)
_MODULE: Final = "twisted.internet.reactor"


class _Process:
    """What this process has: a reactor thread, once it was started."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: ReactorThread | None = None


# A reactor cannot be started twice in a process.
_process: Final = _Process()


def start(loop: str = ASYNCIO) -> ReactorThread:
    """
    Start the reactor thread, or find the one that is there.

    For what a user loads or runs; all else asks for `current`.

    Args:
        loop: whose loop the reactor runs on, if none is installed: asyncio's or uvloop's.

    Raises:
        RuntimeError: the reactor was stopped, nobody runs it, it is stuck, or
            this process was forked from the one that has it.

    Thread: any.
    """
    with _process.lock:
        if _process.thread is None:
            _process.thread = _start(loop)
    return current()


def current() -> ReactorThread:
    """
    The reactor thread that was started; starts none.

    Raises:
        RuntimeError: there is none, or this process was forked from the one that has it.

    Thread: any.
    """
    thread = _process.thread
    if thread is None:
        raise RuntimeError(NOT_STARTED)
    if thread.process != os.getpid():
        raise RuntimeError(FORKED)
    return thread


def started() -> ReactorThread | None:
    """The reactor thread, if one was started, in a fork too.  Thread: any."""
    return _process.thread


def stay_installed() -> None:
    """Put the reactor's module back if what has just run took it away, and say so.  Thread: any."""
    thread = _process.thread
    if thread is not None and sys.modules.get(_MODULE) is not thread.reactor:
        sys.modules[_MODULE] = twisted.internet.reactor = thread.reactor
        print(NOT_NEEDED)


def _start(loop: str) -> ReactorThread:
    ours = _MODULE not in sys.modules
    if ours:
        _install(loop)
    elif loop != ASYNCIO:
        print(INSTALLED.format(loop=loop))
    showwarning = warnings.showwarning
    set_up()
    thread = _find(ours=ours)
    # crochet 2.1.1 means to leave this alone when it starts Twisted's log; as it is,
    # every warning would go to that log, and be shown by another thread some time later.
    warnings.showwarning = showwarning
    thread.attach()
    os.register_at_fork(after_in_child=partial(_after_fork, thread))
    exits = partial(_attend, thread)
    threading.Thread(target=exits, name="twisted_ipython exit", daemon=False).start()
    return thread


def _install(name: str) -> None:
    """Install Twisted's asyncio reactor on a loop of its own: asyncio's, or a package's."""
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.main import installReactor

    try:
        if name == ASYNCIO:
            loop = with_room(asyncio.SelectorEventLoop)()
        else:
            loop = import_module(name).new_event_loop()
    except ImportError:
        raise RuntimeError(NOT_THERE.format(loop=name)) from None
    resuming(loop)
    installReactor(AsyncioSelectorReactor(loop))


def _find(*, ours: bool) -> ReactorThread:
    """Ask the reactor which thread and loop it runs in."""
    from twisted.internet import reactor

    found: Future[ReactorThread] = Future()

    def find() -> None:
        found.set_result(ReactorThread(reactor, ours=ours))

    if threadable.isInIOThread():
        find()
    else:
        reactor.callFromThread(find)
    turning = reactor_thread() is not None or reactor.running
    try:
        return found.result(_START if turning else _ANSWER)
    except TimeoutError:
        stopped = getattr(reactor, STARTED_BEFORE, False)
        raise RuntimeError(STUCK if turning else STOPPED if stopped else NOT_RUNNING) from None


def _after_fork(thread: ReactorThread) -> None:
    """A fork that the reactor thread made must not go on as a second reactor.  In the fork."""
    loans.void()
    sigint.void()
    if thread.here():
        thread.reactor.callLater(0, _end_fork)


def _end_fork() -> None:
    print(FORKED, file=sys.stderr, flush=True)
    os._exit(1)


# Seconds from one look at the number of failures to the next.
_TICK: Final = 0.5
# Seconds that a stopping reactor gets at the end of the process.
_GRACE: Final = 1.0
# Seconds after which one that has not answered counts as stuck.
_STUCK: Final = 0.5
# Seconds of a turn from then on.
_LAST_TURNS: Final = 1e-5


def _attend(thread: ReactorThread) -> None:
    """See to failures that nothing holds until the main thread ends.  In a thread of its own."""
    main = threading.main_thread()
    while main.is_alive():
        main.join(_TICK)
        thread.unheld.check()
    _end(thread)


def _end(reached: ReactorThread) -> None:
    """Keep the process until the reactor has stopped, `_GRACE` seconds at most.  In that thread."""
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
    line = thread_pool.abandoned(thread, reached.pool)
    if not thread.daemon:
        # The program's own `crochet.setup()` made it: Python waits for it, whatever it does.
        interrupt.break_until(reached.ident, turns.is_set, 0, _GRACE)
    if line is not None:
        # A thread that never waits would let Python's own end have a turn every 5 ms only.
        sys.setswitchinterval(_LAST_TURNS)
        with suppress(OSError, ValueError):  # nobody reads it any more
            print(line, file=sys.stderr, flush=True)
