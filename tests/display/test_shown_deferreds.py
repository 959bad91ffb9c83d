"""A Deferred at the end of a cell shows its value: `_display.shown_results`, in a real kernel."""

from __future__ import annotations

import re

from kernels import SOON, Execution, Kernel
from shells import Shell

SETUP = """
import asyncio, gc, threading
from IPython.display import display
from twisted.internet import reactor, defer, threads
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import globalLogPublisher

class Rich:
    def __repr__(self): return "a rich value"
    def _repr_html_(self): return "<hr>"
    def _repr_markdown_(self): return "**rich**"
    def _repr_png_(self): return b"png"

def fire(value):
    reactor.callFromThread(d.callback, value)
"""


def display_of(execution: Execution) -> str:
    """The display_id of the one thing that a cell displayed."""
    [display] = execution.displays()
    return display


def test_pending_turns_into_its_value(kernel: Kernel) -> None:
    """In place, into all that the value shows of itself; `_` and `Out` hold the Deferred."""
    cell = kernel.ok("d = Deferred()\nd")
    display = display_of(cell)
    assert cell.reply is not None
    number = cell.reply["execution_count"]
    pending = kernel.displays[display][0]["content"]["data"]
    words = rf"<Deferred of cell {number}: pending since \d\d:\d\d:\d\d>"
    assert re.fullmatch(words, pending["text/plain"])
    assert f"of cell {number}: pending since" in pending["text/html"]
    assert kernel.value(f"_ is d and Out[{number}] is d") == "True"
    kernel.ok("fire(Rich())")
    shown = kernel.shows(display, "a rich value")
    assert shown.pop("image/png").strip() == "cG5n"
    assert shown == {
        "text/plain": "a rich value",
        "text/html": "<hr>",
        "text/markdown": "**rich**",
    }
    assert kernel.displays[display][-1]["msg_type"] == "update_display_data"


def test_result_is_not_consumed(kernel: Kernel) -> None:
    """Callbacks added before and after it was shown, and awaits, have the value."""
    kernel.ok("seen = []\nd = Deferred()\nd.addCallback(lambda v: v + 1);")
    display = display_of(kernel.ok("d"))
    kernel.ok("d.addCallback(lambda v: (seen.append(v), v)[1]);")
    firing = "threading.Timer(0.05, fire, [41]).start()"
    assert kernel.ok(f"{firing}\nprint('awaited', await d)").printed() == "awaited 42\n"
    kernel.shows(display, "42")
    assert kernel.value("seen, await d, await d") == "([42], 42, 42)"
    kernel.ok("d.addCallback(lambda v: v * 2);")
    assert kernel.value("await d") == "84"


LOGGED = """
errors = []
def observe(event):
    if "log_failure" in event:
        errors.append(repr(event["log_failure"].value))
globalLogPublisher.addObserver(observe)
"""


def test_failure_is_a_line_and_stays_unhandled(kernel: Kernel) -> None:
    """It is raised by an await; with nobody who handles it, Twisted logs it as ever."""
    kernel.ok(LOGGED)
    for code in ("pass", "del d; gc.collect()"):
        display = display_of(kernel.ok("d = Deferred()\ndisplay(d)"))
        kernel.ok("reactor.callFromThread(d.errback, ValueError('<b>'))")
        data = kernel.shows(display, "failed after")
        assert data["text/plain"].endswith(", ValueError: <b>>")
        assert "ValueError: &lt;b&gt;" in data["text/html"]
        if code == "pass":
            assert kernel.run("await d").error == "ValueError"
            assert kernel.value("del d; gc.collect(); errors") == "[]"
        kernel.run(code)
    kernel.pump(lambda: kernel.value("errors") == "[\"ValueError('<b>')\"]", SOON)
    kernel.ok("globalLogPublisher.removeObserver(observe)")


def test_cancelled(kernel: Kernel) -> None:
    """A Deferred that is cancelled says so."""
    display = display_of(kernel.ok("d = Deferred()\nd"))
    kernel.ok("reactor.callFromThread(d.cancel)")
    assert "cancelled after" in kernel.shows(display, "cancelled")["text/html"]
    kernel.ok("d.addErrback(lambda _: None);")


def test_fired_shows_its_value_at_once(kernel: Kernel) -> None:
    """It is the cell's `Out[n]`; a failure's line, which stays a failure."""
    assert kernel.ok("defer.succeed(Rich())").data("execute_result")["text/html"] == "<hr>"
    assert kernel.value("defer.succeed(None)") == "None"
    assert "failed after" in str(kernel.value("d = defer.fail(ValueError('x'))\nd"))
    assert kernel.run("await d").error == "ValueError"
    assert kernel.value("defer.gatherResults([defer.succeed(1), defer.succeed(2)])") == "[1, 2]"


def test_paused_and_chained_are_pending(kernel: Kernel) -> None:
    """One that waits for another shows what that comes to."""
    kernel.ok("other = Deferred()\nd = defer.succeed(1)\nd.addCallback(lambda _: other);")
    chained = display_of(kernel.ok("d"))
    kernel.ok("p = defer.succeed('unpaused')\np.pause()")
    paused = display_of(kernel.ok("p"))
    kernel.ok(
        "reactor.callFromThread(other.callback, 'chained')\nreactor.callFromThread(p.unpause)"
    )
    assert kernel.shows(chained, "chained")["text/plain"] == "'chained'"
    assert kernel.shows(paused, "unpaused")["text/plain"] == "'unpaused'"


def test_of_subclasses(kernel: Kernel) -> None:
    """A DeferredList is one too."""
    display = display_of(kernel.ok("d = Deferred()\nDeferredList([d])"))
    kernel.ok("fire(1)")
    assert kernel.shows(display, "True")["text/plain"] == "[(True, 1)]"


def test_fired_in_another_thread(kernel: Kernel) -> None:
    """Any thread may fire it; its value is drawn in the main one."""
    kernel.ok(
        "class Where:\n"
        "    def __repr__(self):\n"
        "        print('printed in the representation')\n"
        "        return 'drawn in ' + threading.current_thread().name"
    )
    cell = kernel.ok("d = Deferred()\nd")
    kernel.ok("thread = threading.Thread(target=d.callback, args=[Where()]); thread.start()")
    assert kernel.shows(display_of(cell), "drawn")["text/plain"] == "drawn in MainThread"


def test_shown_by_an_awaiting_cell(kernel: Kernel) -> None:
    """In the reactor thread by `display`, and as the last expression of a cell that awaits."""
    cell = kernel.ok("d = Deferred()\nawait asyncio.sleep(0)\ndisplay(d)")
    last = kernel.ok("await asyncio.sleep(0)\nd")
    kernel.ok("fire(77)")
    kernel.shows(display_of(cell), "77")
    kernel.shows(display_of(last), "77")
    assert kernel.value("await d") == "77"


def test_a_broken_representation_is_no_failure_of_the_deferred(kernel: Kernel) -> None:
    """What is shown says so; the Deferred has its value, and so have its callbacks."""
    kernel.ok("class Broken:\n    def __repr__(self): raise ValueError('no picture')")
    display = display_of(kernel.ok("d = Deferred()\nd"))
    kernel.ok("d.addCallback(type)")
    kernel.ok("fire(Broken())")
    kernel.shows(display, "<Broken, whose repr() failed: ValueError: no picture>")
    assert kernel.value("await d") == "__main__.Broken"


TASKS = """
gate = asyncio.Event()

async def divides(number):
    await gate.wait()
    return 84 / number
"""


def test_task(kernel: Kernel) -> None:
    """A task of a plain or an awaiting cell is pending, then its value or failure, in place."""
    kernel.ok(TASKS)
    cells = [
        kernel.ok("asyncio.create_task(divides(2))"),
        kernel.ok("t = asyncio.create_task(divides(2))\nawait asyncio.sleep(0)\nt"),
        kernel.ok("fails = asyncio.ensure_future(divides(0))\nfails"),
    ]
    good, awaited, bad = map(display_of, cells)
    assert "<task of cell" in kernel.shows(good, "pending since")["text/plain"]
    kernel.ok("gate.set()")
    kernel.shows(good, "42.0")
    kernel.shows(awaited, "42.0")
    kernel.shows(bad, "failed after")
    kernel.pump(lambda: cells[2].error is not None, SOON)
    assert cells[2].traceback.count("ZeroDivisionError: division by zero") == 1
    assert kernel.run("await fails", stop_on_error=False).error == "ZeroDivisionError"
    assert kernel.value("t.done(), await t") == "(True, 42.0)"
    assert kernel.value("t") == "42.0"


def test_future(kernel: Kernel) -> None:
    """A future shows its value or that it was cancelled; one of another loop, what it is."""
    display = display_of(kernel.ok("f = asyncio.Future()\nf"))
    kernel.ok("f.cancel();")
    kernel.shows(display, "<future of cell")
    kernel.shows(display, "cancelled after")
    other = kernel.value("other = asyncio.new_event_loop()\nother.create_future()")
    assert str(other).startswith("<Future pending")
    kernel.ok("other.close()")


def test_only_what_is_shown(kernel: Kernel) -> None:
    """A Deferred in a list and a silenced one are left alone."""
    assert "<Deferred at " in str(kernel.value("d = Deferred()\n[d]"))
    assert kernel.ok("d;").outputs[1:] == []


def test_bare_coroutine(kernel: Kernel) -> None:
    """One line says that it was not awaited, and what to do."""
    cell = kernel.ok("async def work(): return 5\nc = work()\nc")
    assert re.fullmatch(
        r"<coroutine object work at 0x[0-9a-f]+> was not awaited, so it has not run:"
        r" put `await` in front of it",
        str(cell.value),
    )
    assert len(cell.outputs) == 2
    assert kernel.value("await c") == "5"


def test_unload_leaves_what_is_shown(kernel: Kernel) -> None:
    """After it a pending Deferred stays as it is, and gives its value as ever."""
    display = display_of(kernel.ok("d = Deferred()\nd"))
    kernel.ok("%unload_ext twisted_ipython")
    assert "<Deferred at " in str(kernel.value("d"))
    kernel.ok("fire(5)")
    kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert kernel.value("await d") == "5"
    assert len(kernel.displays[display]) == 1


def test_a_printer_of_the_users_own_stays() -> None:
    """Whoever has said how Deferreds are shown keeps that, through load and unload."""
    with Shell(load=False) as shell:
        shell.ok(
            "from twisted.internet.defer import Deferred\n"
            "mine = lambda d: ({'text/plain': 'my own'}, {})\n"
            "formatter = get_ipython().display_formatter.mimebundle_formatter\n"
            "formatter.for_type(Deferred, mine);"
        )
        for code in ("%load_ext twisted_ipython", "%unload_ext twisted_ipython"):
            shell.ok(code)
            assert shell.value("Deferred()") == "my own"
