"""Threads that a cell's code makes print in that cell, seen in a real kernel."""

from __future__ import annotations

import ipykernel
from kernels import Kernel

from twisted_ipython._private.ipyparallel import OUTPUT_THREAD

SETUP = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
from twisted.internet import reactor
from twisted.internet.defer import Deferred
go_on, said, all_said = threading.Event(), [], threading.Event()
def say(name):
    go_on.wait(20)
    print(name + "\\n", end="")  # in one piece
    said.append(name)
    if len(said) == 6:
        all_said.set()
class Subclass(threading.Thread):
    def run(self):
        say("subclass")
def fail():
    say("fails")
    raise ValueError("in a thread")
"""


def test_threads_print_in_the_cell_that_made_them(kernel: Kernel) -> None:
    """Plain, awaiting and background cells; classes, executors, and a thread that fails."""
    plain = kernel.ok(
        "threading.Thread(target=say, args=('plain',)).start()\n"
        "pool = ThreadPoolExecutor(); pool.submit(say, 'pool'); Subclass().start()"
    )
    awaits = kernel.ok("await asyncio.sleep(0)\nthreading.Thread(target=fail).start()")
    job = kernel.ok(
        "%%run_in_reactor\nasyncio.get_running_loop().run_in_executor(None, say, 'executor')\n"
        "threading.Timer(0, say, ['job']).start()"
    )
    last = kernel.run("go_on.set(); all_said.wait(20)\nprint('last')")
    kernel.pump(lambda: "in a thread" in awaits.printed("stderr"))
    lines = [sorted(one.printed().split()) for one in (plain, awaits, job, last)]
    assert lines == [["plain", "pool", "subclass"], ["fails"], ["executor", "job"], ["last"]]
    assert "twisted_ipython" not in awaits.printed("stderr")
    assert last.printed("stderr") == ""


def test_a_thread_that_prints_for_all_cells(kernel: Kernel) -> None:
    """That of ipyparallel's client, known by its class, prints in the cell that runs."""
    made = kernel.ok(
        f"class {OUTPUT_THREAD}(threading.Thread): pass\n"
        "ask, told = threading.Event(), threading.Event()\n"
        "def tell(): ask.wait(20); print('told', flush=True); told.set()\n"
        f"{OUTPUT_THREAD}(target=tell).start()"
    )
    asking = kernel.ok("ask.set(); told.wait(20)")
    # Up to ipykernel 7.0.0 it prints where the extension was loaded, as a thread of nobody's.
    said = [asking] if ipykernel.version_info[:3] > (7, 0, 0) else kernel.executions
    kernel.pump(lambda: any("told" in one.printed() for one in said))
    assert made.printed() == ""


def test_kept_executor_of_the_loop(kernel: Kernel) -> None:
    """The loop's own executor, whose threads serve many cells, prints in the one that asks."""
    ask = "await asyncio.get_running_loop().run_in_executor(None, print, {!r})"
    cells = [kernel.ok(ask.format(word)) for word in ("one", "two", "three")]
    kernel.pump(lambda: [one.printed() for one in cells] == ["one\n", "two\n", "three\n"])


def test_rich_live_display_of_a_job(kernel: Kernel) -> None:
    """What the thread of rich's live display draws stays in the job's cell."""
    kernel.ok("end = Deferred()")
    job = kernel.ok(
        "%%run_in_reactor live\nfrom rich.live import Live\nfrom rich.console import Console\n"
        "console = Console(force_terminal=True, force_jupyter=False)\n"
        "with Live(get_renderable=lambda: 'drawn', console=console, refresh_per_second=50):\n"
        "    await end"
    )
    other = kernel.submit("enough = threading.Event(); enough.wait(0.5);").wait()
    drawn = job.printed().count("drawn")
    kernel.pump(lambda: job.printed().count("drawn") > drawn + 3)
    kernel.ok("end.callback(None); await live")
    assert other.printed() == ""


def test_user_context_of_a_thread_is_not_changed(kernel: Kernel) -> None:
    """Of a cell's context variables a thread gets none but those that say where it prints."""
    kernel.ok("from contextvars import ContextVar\nown = ContextVar('own')\nseen = []")
    kernel.ok(
        "await asyncio.sleep(0)\nown.set(1)\n"
        "thread = threading.Thread(target=lambda: seen.append(own.get(None)))\n"
        "thread.start(); thread.join()"
    )
    assert kernel.value("seen") == "[None]"


def test_unload(kernel: Kernel) -> None:
    """Nothing stays set on threading."""
    kernel.ok("%unload_ext twisted_ipython")
    assert kernel.value("'add' in vars(threading._dangling)") == "False"
    kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert kernel.value("'add' in vars(threading._dangling)") == "True"
