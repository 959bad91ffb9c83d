"""A job's card: `_display.shown_results`, in a real kernel, as a front end sees it."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest
from kernels import Kernel
from shells import Shell

SETUP = """
import asyncio, base64, gc, sys, threading, time, weakref
from IPython.display import display
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from twisted_ipython._reactor.lifecycle import current

gates = []
async def gate(value=None):
    gates.append(Deferred())
    await gates[-1]
    if isinstance(value, BaseException):
        raise value
    return value

def open_gates():
    deadline = time.monotonic() + 10
    while len(gates) < len(current().jobs.pending()) and time.monotonic() < deadline:
        time.sleep(0.001)
    while gates:
        reactor.callFromThread(gates.pop().callback, None)

class Rich:
    def _repr_html_(self):
        return "<hr>"

class Where:
    def __repr__(self):
        return "drawn in " + threading.current_thread().name
"""
JOB = "%%run_in_reactor {name}\nreturn await gate({value})"


def texts(kernel: Kernel, display: str) -> list[str]:
    """What a spot showed, one text after the other."""
    return [message["content"]["data"]["text/plain"] for message in kernel.displays[display]]


def ended(kernel: Kernel, value: str, text: str) -> dict[str, Any]:
    """What the card of a job shows that comes to ``value``, which has ``text`` in it."""
    kernel.ok(JOB.format(name="job", value=value))
    [display] = kernel.ok("job").displays()
    kernel.ok("open_gates()")
    return kernel.shows(display, text)


def test_a_card_changes_wherever_it_is_displayed(kernel: Kernel) -> None:
    """At a cell's end, by `display` in a plain cell and in an awaiting one: each has its spot."""
    number = kernel.ok(JOB.format(name="job", value="'value'")).reply["execution_count"]  # type: ignore[index]
    cells = ["job", "display(job, job)", "await asyncio.sleep(0)\ndisplay(job)"]
    displays = [display for cell in cells for display in kernel.ok(cell).displays()]
    assert len(set(displays)) == 4
    pending = rf"<EventualResult job of cell {number}: pending since \d\d:\d\d:\d\d>"
    assert all(re.fullmatch(pending, texts(kernel, display)[0]) for display in displays)
    kernel.ok("open_gates()")
    done = rf"<EventualResult job of cell {number}: done in \d+ m?s, 'value'>"
    for display in displays:
        data = kernel.shows(display, "done")
        assert re.fullmatch(done, data["text/plain"])
        assert "&#x27;value&#x27;" in data["text/html"]
        assert [one["msg_type"] for one in kernel.displays[display]] == [
            "display_data",
            "update_display_data",
        ]
    assert kernel.value("await job, await job") == "('value', 'value')"


def test_ended_job_is_an_ordinary_result(kernel: Kernel) -> None:
    """A job that has ended is the cell's `Out[n]`, with its value's own representation."""
    kernel.ok(JOB.format(name="job", value="Rich()"))
    kernel.ok("open_gates(); job.wait(5);")
    assert "<hr>" in kernel.ok("job").data("execute_result")["text/html"]
    assert kernel.value("_ is job") == "True"


def test_failed_and_cancelled(kernel: Kernel) -> None:
    """A failure is one line of it; cancelled is a state of its own."""
    failed = ended(kernel, "ValueError('<script>')", "failed")
    assert failed["text/plain"].endswith(", ValueError: <script>>")
    assert "ValueError: &lt;script&gt;" in failed["text/html"]
    kernel.ok("from contextlib import suppress\nwith suppress(ValueError): await job")
    kernel.ok(JOB.format(name="job", value=None))
    [display] = kernel.ok("job").displays()
    kernel.ok("job.cancel()")
    assert "cancelled after" in kernel.shows(display, "cancelled")["text/html"]
    kernel.ok("gates.clear()")


@pytest.mark.parametrize("state", ["pending", "done"])
def test_html_is_self_contained(kernel: Kernel, state: str) -> None:
    """No script, nothing loaded; colours are the theme's, or work on light and dark."""
    kernel.ok(JOB.format(name="job", value="'</div><script src=\"http://x\">'"))
    [display] = kernel.ok("job").displays()
    kernel.ok("open_gates()")
    kernel.shows(display, "done")
    html = kernel.displays[display][state == "done"]["content"]["data"]["text/html"]
    assert not re.search(r"<script|<link|<img|src=http|url\(|class=|onclick", html)
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "b", "pre"}
    colours = re.findall(r"var\((--jp-[\w-]+),(currentColor|#\w{6})\)", html)
    assert len(colours) == 2
    assert ";color:inherit;" in html
    assert "background" not in html


PIXEL = b64encode(b"no more than bytes").decode()


def test_an_image_is_inside_the_card(kernel: Kernel) -> None:
    """A value that is an image is drawn, with its size; an SVG, where its scripts do not run."""
    kernel.ok(
        f"pixel = base64.b64decode('{PIXEL}')\n"
        "class Image:\n"
        "    def _repr_png_(self): return pixel, {'width': 7, 'height': '\"'}\n"
        "class Drawing:\n"
        "    def _repr_svg_(self): return '<svg><script>1</script></svg>'\n"
    )
    html = ended(kernel, "Image()", "Image at")["text/html"]
    assert f'<img src="data:image/png;base64,{PIXEL}" width="7">' in html
    html = ended(kernel, "Drawing()", "Drawing at")["text/html"]
    assert '<img src="data:image/svg+xml;base64,' in html
    assert "<script" not in html


def test_a_value_is_drawn_in_the_main_thread(kernel: Kernel) -> None:
    """A representation is the user's code, and never runs in the reactor thread."""
    assert "drawn in MainThread" in ended(kernel, "Where()", "drawn")["text/html"]


def test_a_state_does_not_wait_for_the_main_thread(kernel: Kernel) -> None:
    """While a plain cell holds the main thread a card says "done", and a number at once."""
    kernel.ok(JOB.format(name="job", value="Where()"))
    kernel.ok(JOB.format(name="number", value="12345"))
    display, plain = kernel.ok("display(job, number)").displays()
    holding = kernel.submit("go = threading.Event(); open_gates(); print('began'); go.wait(20)")
    holding.wait_for("began")
    kernel.shows(plain, "12345")
    assert "drawn" not in kernel.shows(display, "done")["text/plain"]
    kernel.interrupt()
    holding.wait()
    kernel.shows(display, "drawn in MainThread")
    assert len(kernel.displays[display]) == 3


def test_a_representation_that_fails(kernel: Kernel) -> None:
    """It says so in the card; the card of the next job is as any."""
    kernel.ok("class Broken:\n    def __repr__(self): raise ValueError('no picture')")
    data = ended(kernel, "Broken()", "Broken")
    assert "<Broken, whose repr() failed: ValueError: no picture>" in data["text/plain"]
    kernel.ok("open_gates()")
    assert "5" in ended(kernel, "5", ", 5>")["text/html"]


def test_a_value_that_displays_itself(kernel: Kernel) -> None:
    """It stands in the cell of the card, which has its text."""
    kernel.ok("class Itself:\n    def _ipython_display_(self): print('itself')")
    assert "Itself at" in ended(kernel, "Itself()", "Itself at")["text/html"]


def test_a_card_holds_no_result(kernel: Kernel) -> None:
    """A displayed job's value goes with the last name of its result."""
    kernel.ok(JOB.format(name="job", value="Rich()") + ";")
    [display] = kernel.ok("display(job)").displays()
    kernel.ok("open_gates(); ref = weakref.ref(job.wait(5))")
    kernel.shows(display, "Rich at")
    assert kernel.value("del job; gc.collect(); ref()") is None


PERIODIC = """
async def scheduled():
    loop = reactor._asyncioEventloop
    # More than once: one that is due just then is in none of them.
    found = []
    for _ in range(5):
        await asyncio.sleep(0)
        found.append((len(reactor.getDelayedCalls()), len(loop._scheduled)))
    return *max(found), threading.active_count()
"""


def test_pending_cards_cost_nothing(kernel: Kernel) -> None:
    """With 1,000 of them nothing is scheduled that was not before, and no thread runs."""
    kernel.ok(PERIODIC)
    kernel.ok("jobs = []\nmagic = get_ipython().run_cell_magic")
    kernel.ok(
        "for n in range(1000): jobs.append(magic('run_in_reactor', '', 'return await gate()'))"
    )
    kernel.ok("await asyncio.sleep(0.05)")
    before = kernel.value("await scheduled()")
    kernel.ok("for job in jobs: display(job)")
    assert kernel.value("await scheduled()") == before
    kernel.ok("open_gates(); jobs.clear()")


def test_unload_leaves_cards(kernel: Kernel) -> None:
    """After it a card that is pending stays as it is, and a result is IPython's to show."""
    kernel.ok(JOB.format(name="job", value="[1]"))
    [display] = kernel.ok("job").displays()
    kernel.ok("%unload_ext twisted_ipython")
    shown = kernel.ok("open_gates(); job.wait(5); job")
    assert str(shown.value).endswith(", [1]>")
    assert len(kernel.displays[display]) == 1
    kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert "2" in ended(kernel, "2", ", 2>")["text/html"]


def test_a_terminal_shows_its_text_once() -> None:
    """Where nothing can be replaced a pending job is `Out[n]`, as ever."""
    with Shell() as shell:
        shell.ok(SETUP)
        shell.ok(JOB.format(name="job", value="1"))
        shown = shell.ok("job")
        assert re.fullmatch(
            r"Out\[\d+\]: <EventualResult job of cell \d+: pending since \S+>\n", shown
        )
        assert shell.ok("open_gates(); job.wait(5);") == ""
        assert shell.value("job").endswith(", 1>")
