"""A real JupyterLab in a real Chromium, seen as a person sees it: in the page."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from re import Pattern
from textwrap import dedent
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

__all__ = ["MISSING", "SECONDS", "Lab", "Notebook", "chromium", "contrast"]

SECONDS = 30

CHROMIUM = shutil.which("chromium")
# pip brings the other two together with the tests; Chromium comes from the system.
MISSING = [
    name
    for name, there in [
        ("Chromium (apt-get install chromium)", CHROMIUM),
        ("jupyterlab", find_spec("jupyterlab")),
        ("playwright", find_spec("playwright")),
    ]
    if not there
]

SETTINGS: dict[str, dict[str, Any]] = {
    # Cells that are out of sight have their outputs in the page, too.
    "notebook-extension/tracker": {"windowingMode": "none"},
    # Nothing is asked of the network.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

COMMAND = [
    *(sys.executable, "-m", "jupyterlab"),
    *("--ip=127.0.0.1", "--port=0", "--no-browser", "--allow-root"),
    "--expose-app-in-browser",  # the page can be asked whether its kernel is ready
    "--LabApp.extension_manager=readonly",
    "--ServerApp.terminals_enabled=False",
]
FOLDERS = [
    *("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"),
    *("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"),
]

CHROMIUM_OPTIONS = [
    "--disable-gpu",
    "--disable-quic",
    # Playwright switches off most of what a browser asks for by itself; this ends the rest.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

IDLE = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.session?.kernel?.status === 'idle';
}"""


# By the Web Content Accessibility Guidelines 2.1, which ask for 4.5.
CONTRAST = """element => {
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const style = element => getComputedStyle(element);
    let behind = element;
    while (parts(style(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const linear = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = color => {
        const [red, green, blue] = parts(color).map(value => linear(value / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const both = [style(element).color, style(behind).backgroundColor].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""


class Lab:
    """
    A JupyterLab that serves one folder on 127.0.0.1, with nobody's settings.

    Attributes:
        folder: what it serves; its kernels run there.
        url: where it is, without its token.
        token: what it must be asked with.
    """

    def __init__(self, place: Path) -> None:
        self.folder = place / "served"
        self.folder.mkdir(parents=True)
        self.url = ""
        self.token = secrets.token_hex()
        self._settings = place / "settings" / "@jupyterlab"
        for plugin, values in SETTINGS.items():
            self.set(plugin, values)
        environment = os.environ | {"JUPYTER_TOKEN": self.token}
        for variable in FOLDERS:
            environment[variable] = str(place / variable.split("_")[1].lower())
        self._log = place / "jupyterlab.log"
        with self._log.open("w") as log:
            command = [*COMMAND, str(self.folder)]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        # The server writes down where it listens.
        self._info = place / "runtime" / f"jpserver-{self._process.pid}.json"

    def set(self, plugin: str, values: dict[str, Any]) -> None:
        """Write the settings of a plugin of JupyterLab's, for pages opened later."""
        path = self._settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = monotonic() + SECONDS
        while not self.url:
            assert self._process.poll() is None, self._log.read_text()
            assert monotonic() < deadline, self._log.read_text()
            try:
                self.url = json.loads(self._info.read_text())["url"]
            except (FileNotFoundError, json.JSONDecodeError):
                sleep(0.05)

    def close(self) -> None:
        """End it, and with it its kernels."""
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        finally:
            self._process.kill()
            self._process.wait()


@contextmanager
def chromium() -> Iterator[BrowserContext]:
    """The system's Chromium, without a window; its pages share one cache."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_OPTIONS, timeout=SECONDS * 1000
        )
        with (
            closing(browser),
            closing(browser.new_context(viewport={"width": 1000, "height": 900})) as context,
        ):
            context.set_default_timeout(SECONDS * 1000)
            yield context


class Notebook:
    """
    A notebook in a page.  The first cell is number 0.

    Attributes:
        page: the page.
    """

    def __init__(self, page: Page, folder: Path, pictures: Path) -> None:
        self.page = page
        self._folder = folder
        self._pictures = pictures

    @classmethod
    def open(cls, lab: Lab, browser: BrowserContext, pictures: Path, cells: Sequence[str]) -> Self:
        """
        Write a notebook of these cells, open it, and wait until its kernel is ready.

        Args:
            lab: where; the notebook gets a folder of its own.
            browser: of which a new page opens it.
            pictures: the folder for pictures of it; their names are the same.
            cells: the code.
        """
        name = pictures.name
        folder = lab.folder / name
        folder.mkdir()
        notebook = new_notebook(cells=[new_code_cell(dedent(cell).strip()) for cell in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / "cells.ipynb")
        page = browser.new_page()
        page.goto(f"{lab.url}lab/workspaces/{name}/tree/{name}/cells.ipynb?token={lab.token}")
        page.wait_for_function(IDLE)
        return cls(page, folder, pictures)

    def tell(self, name: str) -> None:
        """Write a file for which a cell waits."""
        (self._folder / name).touch()

    def cell(self, number: int) -> Locator:
        """A cell."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def outputs(self, number: int) -> Locator:
        """The outputs that stand under a cell."""
        return self.cell(number).locator(".jp-OutputArea-output")

    def run(self, number: int) -> None:
        """Click into a cell and press Ctrl-Enter."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def stop(self) -> None:
        """Press the stop button."""
        self.page.locator("[data-command='notebook:interrupt-kernel']").click()

    def expect_prompt(self, number: int, text: str) -> None:
        """Wait until this stands beside a cell: its count, or ``[*]:`` while it runs."""
        from playwright.sync_api import expect

        expect(self.cell(number).locator(".jp-InputPrompt")).to_have_text(text)

    def expect_outputs(self, number: int, *texts: str | Pattern[str]) -> None:
        """Wait until a cell has exactly these outputs; white space counts as one space."""
        from playwright.sync_api import expect

        expect(self.outputs(number)).to_have_text(texts)

    def expect_text(self, number: int, text: str) -> None:
        """Wait until a cell has an element with this text."""
        from playwright.sync_api import expect

        expect(self.cell(number).get_by_text(text, exact=True)).to_be_visible()

    def picture(self, when: str, only: str | None = None) -> None:
        """Take a picture of the page, or of one part of it."""
        seen = self.page.locator(only) if only else self.page
        seen.screenshot(path=self._pictures / f"{when}.png")


def contrast(locator: Locator) -> float:
    """How well a text stands out from what is behind it: 1 not at all, 21 black on white."""
    ratio: float = locator.evaluate(CONTRAST)
    return ratio
