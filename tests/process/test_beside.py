"""Beside the extension, in one kernel: reloading, figures, tables, bars, profilers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel

from twisted_ipython._base.tracebacks import NO_AWAIT
from twisted_ipython._reactor.thread import POLICY

PNG = "image/png"
WIDGET = "application/vnd.jupyter.widget-view+json"
MODULE = "from twisted.internet import reactor, task\nasync def value(): return {}\n"
LONGER = "await task.deferLater(reactor, 0, lambda: 'reloaded')"
WORK = """
async def work():
    for _ in range(3):
        await asyncio.sleep(0.01)
    return 5
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel whose loop policy is uvloop's, which loading says."""
    with Kernel(load=False) as kernel:
        # Since Python 3.12 uvloop warns of its policy, since 3.14 Python does.
        kernel.ok(
            "import asyncio, uvloop, warnings\nwarnings.simplefilter('ignore')\n"
            "asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())"
        )
        loaded = kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
        policy = POLICY.format(policy="uvloop.EventLoopPolicy", loop="_UnixSelectorEventLoop")
        assert loaded.printed() == policy + "\n"
        folder = tmp_path_factory.mktemp("modules")
        kernel.ok(f"import os, sys\nos.chdir({str(folder)!r})\nsys.path.insert(0, '')")
        kernel.ok("from twisted.internet import reactor, task" + WORK)
        yield kernel


def test_autoreload(kernel: Kernel) -> None:
    """A module that changed is reloaded before a cell that awaits its coroutine."""
    kernel.ok("%load_ext autoreload\n%autoreload 2\nfrom pathlib import Path")
    kernel.ok(f"Path('changing.py').write_text({MODULE.format(1)!r});\nimport changing")
    assert kernel.value("await changing.value()") == "1"
    kernel.ok(f"Path('changing.py').write_text({MODULE.format(LONGER)!r});")
    assert kernel.value("await changing.value()") == "'reloaded'"
    kernel.ok("%autoreload 0")


def test_figures_and_tables(kernel: Kernel) -> None:
    """Inline figures, ipympl's canvases and tables of pandas stand in the cell that awaited."""
    draw = "import matplotlib.pyplot as plt\nawait asyncio.sleep(0.01)\nplt.plot([1, 2]);"
    assert PNG in kernel.ok("%matplotlib inline\n" + draw).data("display_data")
    canvas = kernel.ok("%matplotlib ipympl\n" + draw + "\nplt.gcf().canvas")
    assert WIDGET in canvas.data("execute_result")
    kernel.ok("plt.close('all')\n%matplotlib inline")
    table = "pandas.DataFrame({'a': [1]})"
    own = kernel.ok(f"import pandas\nawait asyncio.sleep(0.01, {table})").data("execute_result")
    assert "<table" in own["text/html"]
    shown = kernel.ok(f"task.deferLater(reactor, 0.01, lambda: {table})")
    [display] = shown.displays()
    assert "<table" in kernel.shows(display, "0  1")["text/html"]


def test_bars(kernel: Kernel) -> None:
    """Bars of rich and tqdm run to their end around an await."""
    kernel.ok("from rich.progress import track\nfrom tqdm.auto import tqdm")
    for bar in ("track", "tqdm"):
        shown = kernel.ok(f"for _ in {bar}(range(2)): await asyncio.sleep(0.01)")
        assert "100%" in str([message["content"] for message in shown.outputs]), bar


@pytest.mark.parametrize(
    "code",
    [
        "%%prun\nawait work()",
        "%prun await work()",
        "%load_ext line_profiler\n%lprun -f work await work()",
        "%load_ext memory_profiler\n%memit await work()",
    ],
)
def test_profiling_magics(kernel: Kernel, code: str) -> None:
    """A magic that cannot await says how to profile what awaits."""
    assert kernel.run(code).traceback.count(NO_AWAIT) == 1


def test_profilers(kernel: Kernel) -> None:
    """What that says works."""
    use = "\nwith profile: await work()\nprofile.print_stats()"
    assert "(work)" in kernel.ok("import cProfile\nprofile = cProfile.Profile()" + use).printed()
    lines = "import line_profiler\nprofile = line_profiler.LineProfiler(work)" + use
    assert "await asyncio.sleep(0.01)" in kernel.ok(lines).printed()
    memory = "memory_profiler.memory_usage()[0]"
    code = f"import memory_profiler\nbefore = {memory}\nawait work()\n{memory} - before < 100"
    assert kernel.value(code) == "True"
