"""When a plain cell has the reactor, when it goes back, and what may not hang, in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path
from time import sleep

import pytest
from kernels import SUBSHELLS, Kernel, fail, submit_to, subshell

SETUP = """
import asyncio, gc, logging, os, signal, socket, subprocess, sys, threading, time, urllib.request
from twisted.internet import defer, endpoints, protocol, reactor, task, threads
from twisted.python.threadable import isInIOThread
from twisted.web import resource, server
from twisted_ipython import in_main_thread

class Page(resource.Resource):
    isLeaf = True
    def render_GET(self, request): return b'page'

port = reactor.listenTCP(0, server.Site(Page()), interface='127.0.0.1')
url = f'http://127.0.0.1:{port.getHost().port}/'

class Beat:
    '''The longest gap between two turns of the reactor.'''
    def __init__(self):
        self.last, self.gap = time.monotonic(), 0.0
        self.loop = task.LoopingCall(self.beats)
    def beats(self):
        now = time.monotonic()
        self.gap, self.last = max(self.gap, now - self.last), now
    def within(self):
        '''From now on.'''
        self.gap, self.last = 0.0, time.monotonic()

beat = Beat()
beat.loop.start(0.01);
"""
# What must hold when something has given the reactor back: it turns at once.
TURNS = "await task.deferLater(reactor, 0, int)"
# A library's code, which sleeps.
LIBRARY = """
exec(compile(
    "def works(reactor, seconds):\\n    reactor.callLater(60, int).cancel()\\n    sleep(seconds)",
    '/library.py', 'exec'),
    library := {'__name__': 'twisted.library', 'sleep': time.sleep})
works = library['works']
"""


def gap(kernel: Kernel, code: str, **options: object) -> float:
    """For how long the reactor stood still while a cell ran."""
    kernel.ok(f"beat.within()\n{code}", **options)
    text = kernel.value("round(beat.gap, 3)")
    assert text is not None
    return float(text)


# ---- it goes back (R2, R3)


def test_timers(kernel: Kernel) -> None:
    """A LoopingCall of 50 ms has no gap of 0.15 s beside cells that call and sleep, ten times."""
    kernel.ok("slow = Beat()\nslow.loop.start(0.05);")
    for _ in range(10):
        kernel.ok("slow.within(); reactor.callLater(0, int); time.sleep(2)")
        text = kernel.value("slow.gap")
        assert float(text or "inf") < 0.15
    kernel.ok("slow.loop.stop()")


def test_library(kernel: Kernel) -> None:
    """A library's code that sleeps after a call has the reactor for half a second."""
    kernel.ok(LIBRARY)
    assert gap(kernel, "works(reactor, 0.3)") > 0.25
    assert 0.4 < gap(kernel, "works(reactor, 2)") < 1


def test_own_server(kernel: Kernel) -> None:
    """One's own server, asked in the same plain cell after a call, answers promptly."""
    code = (
        "reactor.callLater(0, int)\nasked = time.monotonic()\n"
        "text = urllib.request.urlopen(url).read()\n(text, time.monotonic() - asked < 0.3)"
    )
    for _ in range(5):
        assert kernel.value(code) == "(b'page', True)"


def test_child_process(kernel: Kernel) -> None:
    """A child process that a plain cell waits for, after a call, does not hold the reactor."""
    code = "reactor.callLater(0, int)\nsubprocess.run([sys.executable, '-c', {!r}])"
    assert gap(kernel, code.format("import time; time.sleep(1)")) < 0.3
    asks = (
        "reactor.callLater(0, int)\n"
        "asks = f'import urllib.request as u; print(u.urlopen({url!r}).read())'\n"
        "subprocess.run([sys.executable, '-c', asks], capture_output=True, text=True).stdout"
    )
    assert "page" in (kernel.value(asks) or "")


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("reactor.callLater(60, int).cancel()", {"silent": True}),
        ("1", {"user_expressions": {"one": "reactor.callLater(60, int).cancel()"}}),
        ("reactor.callLater(60, int).cancel(); 1 / 0", {}),
        ("works(reactor, 0)", {}),
    ],
    ids=["silent", "expressions", "exception", "library"],
)
def test_end_of_cell(kernel: Kernel, code: str, options: dict[str, object]) -> None:
    """What ends with a cell, of whatever kind, gives the reactor back."""
    kernel.ok(LIBRARY + "import twisted_ipython._base.loans as its")
    kernel.run(code, stop_on_error=False, **options)
    kernel.ok(TURNS)
    assert kernel.value("its.loans.current") is None


def test_messages(kernel: Kernel) -> None:
    """Comm messages and completions that call the reactor give it back when they have ended."""
    kernel.ok(LIBRARY)
    kernel.ok(
        "import comm\nends = []\n"
        "class Calls:\n"
        "    def __dir__(self):\n        beat.within(); works(reactor, 0); ends.append(1)\n"
        "        return ['found_it']\n"
        "calls = Calls()\n"
        "def opened(one, message): one.on_msg(lambda _: calls.__dir__())\n"
        "comm.get_comm_manager().register_target('calls', opened)"
    )
    kernel.comm("comm_open", comm_id="c", target_name="calls")
    for asks in (
        lambda: kernel.comm("comm_msg", comm_id="c"),
        lambda: kernel.client.complete("calls.", 6),
    ):
        asks()
        sleep(0.7)  # a library's loan would last half a second
        assert kernel.value("ends.pop(), beat.gap < 0.3") == "(1, True)"


def test_sent_to_main_thread(kernel: Kernel) -> None:
    """What `in_main_thread` runs gives the reactor back when it has ended, not later."""
    kernel.ok(LIBRARY)
    kernel.ok(
        "beat.within()\nfor _ in range(20): await in_main_thread(works, reactor, 0)\n"
        "assert beat.gap < 0.3, beat.gap"
    )


# ---- who else waits (R11, R13, R14)


def test_which_thread(kernel: Kernel) -> None:
    """`isInIOThread`, imported by name, says where calls may be made, and only while they may."""
    cell = (
        "before = isInIOThread()\nreactor.callLater(60, int).cancel()\n"
        "inside = []\n"
        "class Says(protocol.Factory):\n    def doStart(self): inside.append(isInIOThread())\n"
        "made = reactor.listenTCP(0, Says(), interface='127.0.0.1'); made.stopListening()\n"
        "time.sleep(0.2)\nbefore, inside, isInIOThread()"
    )
    assert kernel.value(cell) == "(False, [True], False)"


def test_loop_of_calls(kernel: Kernel) -> None:
    """A cell that waits in a loop of calls sees what it waits for; the reactor turns meanwhile."""
    for call in ("port.getHost(); time.sleep(.01)", "reactor.callLater(0, int)"):
        kernel.ok(f"d = task.deferLater(reactor, 0.3, int)\nwhile not d.called: {call}")
    # 2 s at most, if nobody ever finds it between two calls.
    end = "end = time.monotonic() + 3\nwhile time.monotonic() < end: reactor.callLater(0, int)"
    assert gap(kernel, end) < 2.5


def test_iterate(kernel: Kernel) -> None:
    """`reactor.iterate` in a plain cell gives the reactor its turn."""
    kernel.ok(
        "d = task.deferLater(reactor, 0.1, int)\nturns = 0\n"
        "while not d.called: reactor.iterate(0.01); turns += 1\n"
        "assert 2 < turns < 12; reactor.iterate()"
    )


def test_slow_callbacks(kernel: Kernel) -> None:
    """asyncio's debug mode reports slow callbacks, and no loans."""
    kernel.ok(LIBRARY)
    kernel.ok(
        "class Notes(logging.Handler):\n    def emit(self, record): notes.append(record.args)\n"
        "notes, handler = [], Notes()\n"
        "logger = logging.getLogger('asyncio'); logger.addHandler(handler)\n"
        "logger.propagate = False\nreactor._asyncioEventloop.set_debug(True)"
    )
    kernel.ok("works(reactor, 0.3)")
    kernel.ok("reactor.callFromThread(time.sleep, 0.3); time.sleep(0.4)")
    kernel.ok("reactor._asyncioEventloop.set_debug(False)\nlogger.removeHandler(handler)")
    assert kernel.value("len(notes), 'run' in str(notes)") == "(1, True)"


# ---- stuck, stopped, forked (R12, R15, R18)

TOUCHES = """
import time
from twisted.internet import reactor
reactor.touched = getattr(reactor, 'touched', 0) + 1
while reactor.waits: time.sleep(0.001)
reactor.callLater(0, int)
"""


def test_import_on_both_sides(kernel: Kernel, tmp_path: Path) -> None:
    """Each waits for the other's import: a line names both, and Ctrl-C frees the cell (R12)."""
    (tmp_path / "touches.py").write_text(TOUCHES)
    kernel.ok(f"sys.path.append({str(tmp_path)!r}); reactor.waits = True")
    kernel.ok(
        "def also():\n    reactor.waits = False\n    import touches\n"
        "def begins():\n    while not getattr(reactor, 'touched', 0): time.sleep(0.001)\n"
        "    reactor.callFromThread(also)\n"
        "threading.Thread(target=begins).start()"
    )
    cell = kernel.submit("import touches", stop_on_error=False)
    kernel.pump(lambda: "The reactor has not answered for 5 s" in cell.printed("stderr"))
    line = cell.printed("stderr")
    assert "line 3, and this thread waits for it at " in line
    assert "touches.py, line 6" in line
    kernel.interrupt()
    cell.wait(3)
    assert cell.error == "KeyboardInterrupt"
    kernel.ok(TURNS)


FORKS = """
import warnings
warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 and later warn of any fork

def in_child():
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            try: reactor.callLater(0, int)
            except RuntimeError as error: os.write(writes, str(error).encode())
            try: pending.wait(5)
            except RuntimeError as error: os.write(writes, str(error).encode())
            try: port.stopListening()
            except RuntimeError as error: os.write(writes, b' Twice')
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    return os.read(reads, 1000).decode()
"""


def test_fork(kernel: Kernel) -> None:
    """In a child that a cell forks a call raises in one sentence; the parent goes on (R15)."""
    kernel.ok(FORKS + "import crochet\npending = crochet.run_in_reactor(defer.Deferred)()\n")
    said = kernel.value("reactor.callLater(60, int).cancel()\nin_child()") or ""
    assert said.count("a fork has no reactor thread") == 2  # of a call, and of what is pending
    assert said.rstrip("'").endswith(" Twice")
    code = (
        "class Forks(protocol.Factory):\n    def doStart(self): print(in_child())\n"
        "made = reactor.listenTCP(0, Forks(), interface='127.0.0.1'); made.stopListening()"
    )
    assert "Twice" in kernel.ok(code).printed()
    kernel.ok(TURNS)


def test_debugger(kernel: Kernel) -> None:
    """Where a debugger holds the reactor thread a call gives up after a second (R18)."""
    kernel.ok(
        "exec(compile('def stands(go_on): go_on.wait(20)', '/pydevd.py', 'exec'),"
        " debugger := {'__name__': '_pydevd_bundle.pydevd'})\ngo_on = threading.Event()"
    )
    cell = fail(
        kernel,
        "began = time.monotonic()\nreactor.callFromThread(debugger['stands'], go_on)\n"
        "try: reactor.callLater(0, int)\nfinally: took = time.monotonic() - began; go_on.set()",
    )
    assert "RuntimeError: The reactor thread stands in a debugger" in cell.traceback
    assert kernel.value("1 <= took < 3") == "True"
    kernel.ok(TURNS)


def test_waits_for_another_thread(kernel: Kernel) -> None:
    """A cell that borrowed waits for a thread that needs the reactor: it is free soon."""
    code = (
        "{first}\nbegan = time.monotonic()\n"
        "other = threading.Thread(target=lambda: threads.blockingCallFromThread("
        "reactor, task.deferLater, reactor, 0, int)); other.start(); other.join()\n"
        "time.monotonic() - began < 1"
    )
    assert kernel.value(code.format(first="reactor.callLater(60, int).cancel()")) == "True"
    # Seen from a library's code it takes half a second.
    kernel.ok(LIBRARY + "library['sleep'] = lambda wait: wait()")
    kernel.ok(
        "def waits():\n    other = threading.Thread(target=lambda: reactor.callLater(0, int))\n"
        "    other.start(); other.join()"
    )
    code = "began = time.monotonic()\nworks(reactor, waits)\ntime.monotonic() - began < 1.5"
    assert kernel.value(code) == "True"


def test_waiting_inside_of_a_call(kernel: Kernel) -> None:
    """What would wait for the reactor in a borrowed method says so, and does not hang."""
    kernel.ok(
        "class Waits(protocol.Factory):\n    def doStart(self):\n"
        "        get_ipython().run_cell('await task.deferLater(reactor, 0, int)')"
    )
    cell = kernel.run(
        "made = reactor.listenTCP(0, Waits(), interface='127.0.0.1'); made.stopListening()",
        seconds=10,
    )
    assert "would wait for ever" in cell.traceback
    kernel.ok(TURNS)


# ---- several shells


if SUBSHELLS:

    @pytest.fixture
    def subshells(kernel: Kernel) -> list[str]:
        """The numbers of two subshells."""
        return [subshell(kernel) for _ in range(2)]

    def test_turns(kernel: Kernel, subshells: list[str]) -> None:
        """Two subshells and the main shell, which all call the reactor, take turns."""
        kernel.ok("counts = {0: [], 1: [], 2: []}")
        code = (
            "for _ in range(300): reactor.callLater(0, counts[{0}].append, 1)\n"
            "time.sleep(0.1)\nfor _ in range(300): reactor.callLater(0, counts[{0}].append, 1)"
        )
        cells = [submit_to(kernel, one, code.format(n)) for n, one in enumerate(subshells)]
        cells.append(kernel.submit(code.format(2)))
        for cell in cells:
            assert cell.wait().error is None
        assert kernel.value(TURNS + "\n[len(counts[n]) for n in range(3)]") == "[600, 600, 600]"

    def test_who_has_it(kernel: Kernel, subshells: list[str]) -> None:
        """While a cell keeps the reactor, `%reactor` of another shell says so, and not "stuck"."""
        kernel.ok(
            "body = 'def doStart(self):\\n    began.set()\\n    while not flag: pass'\n"
            "exec(compile(body, '/x.py', 'exec'),"
            " keeps := {'__name__': 'twisted.keeps', 'flag': [], 'began': threading.Event()})\n"
            "Keeps = type('Keeps', (protocol.Factory,), {'doStart': keeps['doStart']})"
        )
        cell = kernel.submit(
            "made = reactor.listenTCP(0, Keeps(), interface='127.0.0.1')\nmade.stopListening();"
        )
        # It keeps the reactor until the flag is set.
        submit_to(kernel, subshells[0], "keeps['began'].wait(10)").wait(20)
        stack = submit_to(kernel, subshells[0], "%reactor stack").wait(10)
        shown = stack.data("display_data")["text/plain"]
        overview = submit_to(kernel, subshells[0], "%reactor").wait(10)
        about = overview.data("display_data")["text/plain"]
        submit_to(kernel, subshells[0], "keeps['flag'].append(1)").wait(10)
        assert cell.wait().error is None
        assert "a cell in MainThread has borrowed it, which is at" in shown
        assert re.search(r"Cell In\[\d+\], line 1 +<module> +made = reactor.listenTCP", shown)
        assert "a cell in MainThread has borrowed it" in about
        assert "stuck" not in about
