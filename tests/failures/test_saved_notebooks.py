"""What failed in the background is in a notebook that a program runs and saves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

SECONDS = 60
LOAD = """%load_ext twisted_ipython
%autoawait twisted
import asyncio
from twisted.internet import defer, reactor
def bad(word): raise ValueError(word)"""
CELLS = [
    LOAD,
    "%%run_in_reactor work\nbad('job')",
    "reactor.callLater(0.05, bad, 'timer')\nawait asyncio.sleep(0.8)",
    "reactor.callFromThread(bad, 'call')\nlast = defer.maybeDeferred(bad, 'name')",
]


def papermill(folder: Path, kernel: str, *cells: str) -> tuple[int, list[Any]]:
    """Run a notebook by papermill; gives its status, and the code cells that it saved."""
    path = folder / "notebook.ipynb"
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    command = [sys.executable, "-m", "papermill", "-k", kernel, "--no-progress-bar", path, path]
    ran = subprocess.run(command, timeout=SECONDS, check=False, stderr=subprocess.PIPE, text=True)
    saved = [one for one in nbformat.read(path, as_version=4).cells if one.cell_type == "code"]
    assert len(saved) >= len(cells), ran.stderr
    return ran.returncode, saved[-len(cells) :]


def errors_of(cell: Any) -> list[str]:
    """The lines of its stderr that name an exception, without colours."""
    text = "".join(one.text for one in cell.outputs if one.get("name") == "stderr")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return [line for line in lines if "ValueError: " in line]


def test_papermill(tmp_path: Path, kernel_name: str) -> None:
    """All failures are labelled text, those of the last moment too, and the run succeeds."""
    status, saved = papermill(tmp_path, kernel_name, *CELLS)
    assert status == 0
    shown = [line for cell in saved for line in errors_of(cell)]
    assert sorted(shown) == sorted(
        f"[from cell {cell}] ValueError: {word}"
        for cell, word in ((2, "job"), (3, "timer"), (4, "call"), (4, "name"))
    )
    assert errors_of(saved[2])[-1:] == ["[from cell 3] ValueError: timer"]
    assert len(errors_of(saved[3])) == 2
    assert all(one.output_type != "error" for cell in saved for one in cell.outputs)


def test_papermill_fails_for_what_is_awaited(tmp_path: Path, kernel_name: str) -> None:
    """The run fails for a job that the notebook awaits."""
    status, saved = papermill(tmp_path, kernel_name, *CELLS[:2], "await work")
    assert status == 1
    assert [one.ename for one in saved[2].outputs if one.output_type == "error"] == ["ValueError"]
