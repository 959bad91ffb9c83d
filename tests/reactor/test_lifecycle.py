"""The reactor thread: found, refused, ended. Each in a process of its own: `_reactor.lifecycle`."""

from __future__ import annotations

from time import monotonic

import pytest
from shells import run_python

IN_REACTOR_THREAD = """
import asyncio
from IPython.core.interactiveshell import InteractiveShell
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.SelectorEventLoop())
import crochet
crochet.no_setup()
from twisted.internet import reactor
shell = InteractiveShell.instance(colors="NoColor")

def use():
    try:
        shell.run_line_magic("load_ext", "twisted_ipython")
        shell.run_line_magic("autoawait", "twisted")
        shell.run_cell("import asyncio")
        shell.run_cell("await asyncio.sleep(0.01)")
        shell.run_cell("print(1 + 1)")
    finally:
        reactor.stop()

reactor.callWhenRunning(use)
reactor.run()
"""

STUCK = """
import threading
import crochet
crochet.setup()
from twisted.internet import reactor
release = threading.Event()
reactor.callFromThread(release.wait, 20)
from twisted_ipython._reactor import lifecycle
lifecycle._START = 0.2
try:
    lifecycle.start()
except RuntimeError as error:
    print(error)
release.set()
"""

ENDING = """
import threading
from twisted_ipython._reactor import lifecycle
thread = lifecycle.start()
from twisted.internet import protocol, reactor, task

def shut(when):
    print(when, flush=True)
    return task.deferLater(reactor, 0.1, print, "after a while", flush=True)

def fill():
    reactor.addSystemEventTrigger("before", "shutdown", shut, "before shutdown")
    reactor.callLater(60, int)
    reactor.listenTCP(0, protocol.Factory(), interface="127.0.0.1")
    task.LoopingCall(int).start(0)
    filled.set()

filled = threading.Event()
thread.call(fill)
filled.wait(10)
"""

BUSY = """
import threading, time
from twisted_ipython._reactor import lifecycle
begun = threading.Event()

def work():
    begun.set()
    while True:
        pass

lifecycle.start().call(work)
begun.wait(10)
"""

AT_ONCE = """
import threading, time
sleeps = []

def sleep(seconds, own=time.sleep):
    sleeps.append(threading.current_thread().name)
    own(seconds)

time.sleep = sleep
from twisted_ipython._reactor import lifecycle
thread = lifecycle.start()
thread.reactor.addSystemEventTrigger("before", "shutdown", lambda: print(sleeps, flush=True))
"""

NOT_STARTED = """
import sys
from twisted_ipython._reactor import lifecycle
try:
    lifecycle.current()
except RuntimeError as error:
    assert str(error) == lifecycle.NOT_STARTED, error
assert "twisted.internet.reactor" not in sys.modules
assert lifecycle.started() is None
thread = lifecycle.start()
assert lifecycle.current() is lifecycle.start() is thread
assert "crochet._eventloop" in sys.modules
print("one")
"""


def test_load_in_reactor_thread() -> None:
    """Where the reactor runs the shell's own thread, an await is refused and nothing hangs."""
    run = run_python("-c", IN_REACTOR_THREAD, seconds=20)
    assert run.returncode == 0, run.stderr
    assert "was run in the reactor thread" in run.stdout
    assert run.stdout.endswith("2\n")


def test_stuck_reactor_is_named() -> None:
    """A reactor that runs but does not answer is said to be blocked, not to be stopped."""
    run = run_python("-c", STUCK)
    assert "did not answer within" in run.stdout
    assert "something blocks its thread" in run.stdout


BUSY_SAYS = (
    "twisted_ipython: the process ends without waiting for the reactor, which is busy at"
    " <string>, line 8\n"
)


@pytest.mark.parametrize(
    ("program", "says"), [(ENDING, ""), (BUSY, BUSY_SAYS)], ids=["full", "busy"]
)
def test_process_ends(program: str, says: str) -> None:
    """A process whose main thread ends is gone within 2 s, whatever its reactor does."""
    timed = f"{program}\nimport time; print('ended at', time.monotonic(), flush=True)"
    run = run_python("-c", timed)
    ended = float(run.stdout.partition("ended at ")[2].split()[0])
    # It goes round between two lines.
    assert (run.returncode, run.stderr.replace("line 9", "line 8")) == (0, says)
    assert monotonic() - ended < 2


def test_shutdown_triggers_run() -> None:
    """What is to be done before shutdown is done at the end, Deferreds included."""
    assert run_python("-c", ENDING).stdout == "before shutdown\nafter a while\n"


def test_nobody_asks_now_and_then() -> None:
    """The reactor stops when the main thread has ended: crochet's watchdog sleeps no 0.1 s."""
    assert run_python("-c", AT_ONCE).stdout == "[]\n"


def test_who_asks_for_the_reactor_thread_starts_none() -> None:
    """Before it was started, a sentence says what to do; then it is the same one for all."""
    run = run_python("-c", NOT_STARTED)
    assert run.stdout == "one\n", run.stderr
