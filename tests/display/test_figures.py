"""A pyplot figure is shown in the cell whose code drew it, seen in a real kernel."""

from __future__ import annotations

from kernels import SUBSHELLS, Execution, Kernel

SETUP = """
import asyncio, pickle, threading
from twisted.internet.defer import Deferred
go_on = Deferred()
"""

JOB = """%%run_in_reactor job
%matplotlib inline
import matplotlib.pyplot as plt
fig, ax = plt.subplots(num="the job's")
ax.plot([1, 2])
print("drawn")
await go_on
ax.set_title("drawn later")
"""


def figures(execution: Execution) -> int:
    """How many figures a cell shows."""
    shown = [message["content"]["data"] for message in execution.messages("display_data")]
    return sum("Figure" in data["text/plain"] for data in shown)


def test_job_draws_while_cells_end(kernel: Kernel) -> None:
    """Cells that end meanwhile show their own figures only; the job's comes at its end, once."""
    job = kernel.ok(JOB).wait_for("drawn")
    others = [kernel.ok("import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1));")]
    others.append(kernel.ok("await asyncio.sleep(0)"))
    assert [figures(one) for one in others] == [1, 0]
    assert kernel.value("plt.get_figlabels()") == '["the job\'s"]'
    others.append(kernel.ok("go_on.callback(None); await job"))
    expected = [1, 1, 0, 0] if SUBSHELLS else [0, 1, 0, 1]  # ipykernel 6: in the cell that runs
    kernel.pump(lambda: [figures(one) for one in [job, *others]] == expected)
    assert kernel.value("plt.get_fignums()") == "[]"
    assert [figures(one) for one in [job, *others]] == expected


def test_awaiting_cell_and_what_it_leaves(kernel: Kernel) -> None:
    """A cell that awaits shows its figure; one of its timer, shown as the next cell ends, too."""
    kernel.ok("%matplotlib inline\nimport matplotlib.pyplot as plt")
    cell = kernel.ok(
        "drawn = threading.Event()\n"
        "def draw():\n    plt.figure(); drawn.set()\n"
        "asyncio.get_running_loop().call_later(0.5, draw)\n"
        "plt.figure()\nawait asyncio.sleep(0);"
    )
    assert figures(cell) == 1
    other = kernel.ok("drawn.wait(20);")
    expected = [2, 0] if SUBSHELLS else [1, 1]
    kernel.pump(lambda: [figures(one) for one in (cell, other)] == expected)


def test_figure_can_be_pickled_and_kept(kernel: Kernel) -> None:
    """A pickle has nothing of ours; a figure that stays open is shown once, as usual."""
    first = kernel.ok(
        "%matplotlib inline\nimport matplotlib.pyplot as plt\n"
        "%config InlineBackend.close_figures = False\n"
        "kept = plt.figure(); pickled = pickle.dumps(kept);"
    )
    second = kernel.ok("ax = plt.axes(); ax.plot([1]);")
    assert kernel.value("b'twisted_ipython.' in pickled") == "False"
    kernel.ok("plt.close(pickle.loads(pickled))")
    kernel.ok("%config InlineBackend.close_figures = True\nplt.close('all')")
    assert [figures(one) for one in (first, second)] == [1, 0]


def test_unload_leaves_matplotlib_as_it_was(kernel: Kernel) -> None:
    """The hook and what is set on the shell's events are gone; figures are shown as usual."""
    kernel.ok("%matplotlib inline\nimport matplotlib.pyplot as plt\n%unload_ext twisted_ipython")
    events = "{*vars(get_ipython().events)} & {'trigger', 'register'}"
    assert kernel.value(f"plt.rcParams['figure.hooks'], {events}") == "([], set())"
    assert figures(kernel.ok("plt.figure();")) == 1
    kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert figures(kernel.ok("plt.figure();")) == 1
