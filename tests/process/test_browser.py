"""What a person sees in JupyterLab, in a real Chromium: each output under its own cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ipykernel
import pytest
from browser import MISSING, SECONDS, Lab, Notebook, chromium, contrast

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"a browser test needs {' and '.join(MISSING)}"),
]

# For a person to look at: a picture of each test's page, as it was when the test ended.
PICTURES = Path(__file__).parents[2] / ".browser"

# Cells wait for files of this name, so that a test says what happens when.
LOAD = """
%load_ext twisted_ipython
%autoawait twisted
from pathlib import Path
from twisted.internet import defer, reactor, task, threads

async def told(name):
    while not Path(name).exists():
        await task.deferLater(reactor, 0.02, lambda: None)
"""

# Older ones keep comm messages until the cell that awaits has ended.
COMMS_WHILE_AWAITING = ipykernel.version_info >= (7, 4)

Opened = Callable[..., AbstractContextManager[Notebook]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab for the tests of this file."""
    with closing(Lab(tmp_path_factory.mktemp("lab"))) as one:
        yield one


@pytest.fixture(scope="module")
def browser(lab: Lab) -> Iterator[BrowserContext]:
    """A Chromium for the tests of this file; it starts while JupyterLab does."""
    from playwright.sync_api import expect

    expect.set_options(timeout=SECONDS * 1000)
    with chromium() as one:
        lab.wait()
        yield one


@pytest.fixture
def opened(lab: Lab, browser: BrowserContext, request: pytest.FixtureRequest) -> Opened:
    """Opens a notebook of these cells, after one that has run and loaded the extension."""
    name = "-".join(re.findall(r"\w+", request.node.name.removeprefix("test_")))

    @contextmanager
    def notebook_of(*cells: str) -> Iterator[Notebook]:
        notebook = Notebook.open(lab, browser, PICTURES / name, [LOAD, *cells])
        try:
            notebook.run(0)
            notebook.expect_prompt(0, "[1]:")
            yield notebook
        finally:
            notebook.picture("end")
            notebook.page.close()

    return notebook_of


def test_late_output(opened: Opened) -> None:
    """What a cell prints later stands under it, while another cell runs and prints."""
    first = """
        async def speak():
            await told("speak")
            print("from the reactor")
            await threads.deferToThread(print, "from a pool thread")
            reactor.callLater(0, print, "from a delayed call")

        speaking = defer.ensureDeferred(speak())
        print("begun")
    """
    second = """
        print("second begins")
        await told("end")
        print("second ends")
    """
    with opened(first, second) as notebook:
        notebook.run(1)
        notebook.expect_outputs(1, "begun")
        notebook.run(2)
        notebook.expect_outputs(2, "second begins")
        notebook.tell("speak")
        late = "begun from the reactor from a pool thread from a delayed call"
        notebook.expect_outputs(1, late)
        notebook.expect_prompt(2, "[*]:")
        notebook.tell("end")
        notebook.expect_prompt(2, "[3]:")
        notebook.expect_outputs(2, "second begins second ends")
        notebook.expect_outputs(1, late)


def test_stop_button(opened: Opened) -> None:
    """The stop button ends a cell that awaits, and the next cell works."""
    awaiting = """
        print("begun")
        await defer.Deferred()
        print("never reached")
    """
    with opened(awaiting, "await task.deferLater(reactor, 0.01, lambda: 6 * 7)") as notebook:
        notebook.run(1)
        notebook.expect_outputs(1, "begun")
        notebook.expect_prompt(1, "[*]:")
        notebook.stop()
        notebook.expect_prompt(1, "[2]:")
        notebook.expect_outputs(1, "begun", like(r"KeyboardInterrupt .*> 2 await defer.Deferred"))
        notebook.run(2)
        notebook.expect_outputs(2, "42")


def test_deferred(opened: Opened) -> None:
    """A Deferred at a cell's end is shown as pending, and turns into its value in place."""
    firing = """
        from IPython.display import HTML
        shown.callback(HTML("<table><td id='own'>its own table</td></table>"))
        await task.deferLater(reactor, 0.01, lambda: "the next cell")
    """
    with opened("shown = defer.Deferred()\nshown", firing) as notebook:
        notebook.run(1)
        notebook.expect_outputs(1, like("^Deferred of cell 2: pending since"))
        notebook.picture("pending")
        notebook.run(2)
        notebook.expect_outputs(2, "'the next cell'")
        notebook.expect_outputs(1, "its own table")
        assert notebook.outputs(1).locator("td#own").is_visible()


def test_slider(lab: Lab, opened: Opened) -> None:
    """A slider that is moved while a cell awaits lives on."""
    # With a subshell for them, a slider's messages do not meet the cell.
    lab.set("apputils-extension/kernels-settings", {"commsOverSubshells": "disabled"})
    widgets = """
        from ipywidgets import HTML, IntSlider, VBox

        def moved(change):
            shown.value = f"the kernel has {change.new}"

        slider, shown = IntSlider(), HTML()
        slider.observe(moved, "value")
        VBox([slider, shown])
    """
    with opened(widgets, "await told('end')") as notebook:
        notebook.run(1)
        notebook.run(2)
        notebook.expect_prompt(2, "[*]:")
        slider = notebook.cell(1).get_by_role("slider")
        for value in range(1, 11):
            slider.press("ArrowRight")
            if COMMS_WHILE_AWAITING or value > 5:
                notebook.expect_text(1, f"the kernel has {value}")
            if value == 5:
                notebook.expect_prompt(2, "[*]:")
                notebook.tell("end")
                notebook.expect_prompt(2, "[3]:")
                notebook.expect_text(1, f"the kernel has {value}")


def test_picture(lab: Lab, browser: BrowserContext) -> None:
    """The picture of the README: a server and its client, a crawl twice, and a job."""
    cells = [
        """
        %load_ext twisted_ipython
        %autoawait twisted
        """,
        """
        import asyncio, scrapy, treq
        from scrapy.crawler import AsyncCrawlerRunner
        from twisted.internet import reactor, task
        from twisted.web import server, static

        page = static.Data(b"<h1>Deferreds</h1><h1>Tasks</h1>", "text/html")
        page.isLeaf = True
        port = reactor.listenTCP(0, server.Site(page), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"

        answer = await treq.get(url)                  # a Deferred
        await asyncio.gather(answer.text(), asyncio.sleep(0.1, "asyncio's"))
        """,
        """
        class Titles(scrapy.Spider):
            name, start_urls = "titles", [url]

            def parse(self, response):
                print("found", response.css("h1::text").getall())

        for _ in "twice":
            await AsyncCrawlerRunner({"LOG_LEVEL": "WARNING"}).crawl(Titles)
        """.replace('"twice"', '("once", "again")'),
        """
        %%run_in_reactor ticks
        for second in range(3):
            await asyncio.sleep(0.2)
            print("tick", second)
        return "done in the background"
        """,
    ]
    notebook = Notebook.open(lab, browser, PICTURES / "first_session", cells)
    with closing(notebook.page):
        for number in range(len(cells)):
            notebook.run(number)
            notebook.expect_prompt(number, f"[{number + 1}]:")
        titles = "found ['Deferreds', 'Tasks']"
        notebook.expect_outputs(2, f"{titles} {titles}")
        notebook.expect_outputs(
            3, like("done in the background"), like(r"^tick 0\s+tick 1\s+tick 2")
        )
        notebook.picture("notebook", only=".jp-NotebookPanel-notebook")
        size = (PICTURES / "first_session" / "notebook.png").stat().st_size
        assert size < 200_000


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_cards(lab: Lab, opened: Opened, theme: str) -> None:
    """A job's card, in each cell that shows it, goes to done, or to failed with the traceback."""
    lab.set("apputils-extension/themes", {"theme": f"JupyterLab {theme}"})
    done = """
        %%run_in_reactor download
        await told("downloaded")
        return {"bytes": 1234}
    """
    failed = """
        %%run_in_reactor
        await told("broken")
        return 1 / 0
    """
    with opened(done, "download", failed) as notebook:
        for number in (1, 2, 3):
            notebook.run(number)
        notebook.expect_outputs(2, like("^EventualResult download of cell 2: pending since"))
        notebook.expect_outputs(3, like("^EventualResult of cell 4: pending since"))
        notebook.picture("pending")
        notebook.tell("downloaded")
        notebook.expect_outputs(2, like("^EventualResult download of cell 2: done in .*1234"))
        notebook.tell("broken")
        notebook.expect_outputs(
            3,
            like("^EventualResult of cell 4: failed after .*ZeroDivisionError"),
            like("^job 2 of cell 4 failed:.*ZeroDivisionError .*> 3 return 1 / 0"),
        )
        notebook.expect_outputs(1, like("^EventualResult download of cell 2: done in .*1234"))
        assert notebook.page.locator(f"[data-jp-theme-name='JupyterLab {theme}']").count() == 1
        texts = notebook.page.locator(".jp-RenderedHTML :is(div, b, pre)").all()
        assert min(map(contrast, texts)) > 4.5


def like(pattern: str) -> re.Pattern[str]:
    """A text in which the pattern occurs, over several lines."""
    return re.compile(pattern, re.DOTALL)
