"""The notebooks, executed in a real kernel, give the outputs that are saved in them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SECONDS = 60

# What differs from run to run: where an object lies, the port that a server was given, the time;
# and pictures, which differ between versions of what draws them.
VARYING = [
    (re.compile(r"\\u001b\[[0-9;]*m"), ""),
    (re.compile(r"pending since [0-9:]+"), "pending since ..."),
    (re.compile(r"\b(?:1 min )?[0-9.]+ (ms|s|pages/s)\b"), "..."),  # a call's in a minute, too
    # What a profile saw.
    (re.compile(r'The reactor thread in (?:[^"\\]|\\.)*'), "The reactor thread in ..."),
    # How far a crawl came before it was closed.
    (re.compile(r"\d+ pages, \d+ items(?=[^<\"]* shutdown)"), "... pages, ... items"),
    (re.compile(r"CrochetReactor \(\d+\)"), "CrochetReactor"),
    (re.compile(r"[^ ]*/ipykernel_\d+/\d+\.py"), "..."),
    (re.compile(r"   +"), "  "),  # a column is as wide as what is in it
    (re.compile(r"0x[0-9a-f]+"), "0x..."),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:..."),
    (re.compile(r"\b(on|port) \d{4,5}\b"), r"\1 ..."),
    (re.compile(r"\(\d+ in flight\)"), "(... in flight)"),
    (re.compile(r"\[\d\d:\d\d<\d\d:\d\d, *[0-9.]+(it/s|s/it)\]"), "[...]"),
    (re.compile(r'("image/[a-z]+"|"model_id"): "[^"]*"'), r'\1: "..."'),
]

ENGINES = NOTEBOOKS / "scale-out.ipynb"
# Autobahn has no wheel for Python 3.15.
PATHS = [
    path
    for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    if path != ENGINES and (path.stem != "websocket" or find_spec("autobahn"))
]


# Two are run at once, as people do; that on engines in the nox session `parallel`.
PAIRS = [PATHS[first : first + 2] for first in range(0, len(PATHS), 2)]
PAIRS += [[ENGINES]] if find_spec("ipyparallel") else []


@pytest.mark.parametrize("paths", PAIRS, ids=lambda paths: " and ".join(one.stem for one in paths))
def test_saved_outputs(paths: list[Path], kernel_name: str) -> None:
    """Each code cell gives the outputs that the notebook was saved with."""
    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    saved = [[comparable(cell) for cell in notebook.cells] for notebook in notebooks]

    async def execute() -> None:
        clients = [
            NotebookClient(notebook, kernel_name=kernel_name, timeout=SECONDS)
            for notebook in notebooks
        ]
        await asyncio.gather(*(client.async_execute() for client in clients))

    asyncio.run(execute())
    for notebook, before in zip(notebooks, saved, strict=True):
        assert [comparable(cell) for cell in notebook.cells] == before


def test_tour_in_terminal(kernel_name: str) -> None:
    """`python notebooks/tour.py` shows every cell with its outputs and ends with status 0."""
    run = tour()
    assert run.returncode == 0, run.stdout + run.stderr
    for cell in nbformat.read(NOTEBOOKS / "tour.ipynb", as_version=4).cells:
        assert cell.source.splitlines()[0] in run.stdout
        for output in comparable(cell):
            text = output.get("text") or output["data"]["text/plain"]
            if text.startswith("<EventualResult"):
                continue  # it may have been pending when the cell was shown
            assert text.strip() in without_varying(run.stdout)


def test_tour_reports_failure(tmp_path: Path, kernel_name: str) -> None:
    """A cell that fails is shown with its error, stops the tour and makes the status 1."""
    cells = [nbformat.v4.new_code_cell(source) for source in ("1 / 0", "print('not' + ' reached')")]
    path = tmp_path / "failing.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    run = tour(path)
    assert run.returncode == 1
    assert "ZeroDivisionError: division by zero" in run.stdout
    assert "Cell 1 failed. The cells after it were not run." in run.stdout
    assert "not reached" not in run.stdout


def tour(*arguments: Path) -> subprocess.CompletedProcess[str]:
    """What `python notebooks/tour.py` does."""
    return subprocess.run(
        [sys.executable, NOTEBOOKS / "tour.py", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def comparable(cell: Any) -> list[dict[str, Any]]:
    """The outputs of a cell, free of what differs from run to run.

    A stream comes in pieces that depend on the time, so its pieces are joined.  A card that
    is done when it is shown is the cell's result, and else something displayed.
    """
    outputs: list[dict[str, Any]] = []
    for output in json.loads(without_varying(json.dumps(cell.get("outputs", [])))):
        output.pop("metadata", None)
        output.pop("traceback", None)  # IPython's; its exception is compared
        if "<EventualResult" in str(output.get("data")):
            output.pop("execution_count", None)
            output["output_type"] = "display_data"
        stream = output.get("name")
        if stream and outputs and outputs[-1].get("name") == stream:
            outputs[-1]["text"] += output["text"]
        else:
            outputs.append(output)
    return outputs


def without_varying(text: str) -> str:
    """The text with a placeholder for what differs from run to run."""
    for pattern, placeholder in VARYING:
        text = pattern.sub(placeholder, text)
    return text
