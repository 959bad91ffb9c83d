"""What the README and the documentation show is what happens; the commands are in place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parents[2]
README = (HERE / "README.md").read_text()
PAGES = {
    path.stem: path.read_text() for path in [HERE / "README.md", *sorted(HERE.glob("docs/*.md"))]
}
SECONDS = 60
END_OF_CELL = "\x1e"  # the record separator, which no cell prints

SHELL = f"""
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="NoColor")
for cell in json.load(sys.stdin):
    shell.run_cell(cell, store_history=True)
    print({END_OF_CELL!r}, end="", flush=True)
"""


@dataclass
class Cell:
    """One cell of a session in the README."""

    number: int
    source: str
    output: str


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def cells(session: str) -> list[Cell]:
    """The cells of a session, taken apart at IPython's prompts."""
    found: list[Cell] = []
    for line in session.splitlines():
        prompt = re.match(r"In \[(\d+)\]: ", line)
        continuation = " " * 3 + "...: "
        if prompt:
            found.append(Cell(int(prompt[1]), line[prompt.end() :], ""))
        elif line.startswith(continuation.rstrip()) and not found[-1].output:
            found[-1].source += "\n" + line[len(continuation) :]
        else:
            found[-1].output += line + "\n"
    return found


def output_of(program: str, typed: str, folder: Path) -> str:
    """What a program shows that must succeed, in an IPython of its own."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "IPYTHONDIR": str(folder)},
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def sessions() -> list[Any]:
    """The sessions of all pages, each by its page and place there."""
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, block in enumerate(blocks("ipython", text), 1)
    ]


@pytest.mark.parametrize("session", sessions())
def test_session(session: str, tmp_path: Path) -> None:
    """Each session, typed into an IPython of its own, prints what the page says."""
    shown = cells(session)
    assert [cell.number for cell in shown] == list(range(1, len(shown) + 1))
    typed = json.dumps([cell.source for cell in shown])
    outputs = output_of(SHELL, typed, tmp_path).split(END_OF_CELL)
    assert outputs.pop().strip() == ""
    outputs = [re.sub(r"since [\d:]{8}", "since 12:00:00", text.strip()) for text in outputs]
    assert outputs == [cell.output.strip() for cell in shown]


@pytest.mark.parametrize("program", blocks("python", PAGES["start"]), ids=["embed"])
def test_program(program: str, tmp_path: Path) -> None:
    """Each program that opens a prompt takes a Deferred there, and ends."""
    typed = "from twisted.internet import defer\nawait defer.succeed('awaited ' + 'here')\nexit\n"
    assert "awaited here" in output_of(program, typed, tmp_path)


@pytest.mark.parametrize("heading", ["Try it", "Test it"])
def test_command(heading: str) -> None:
    """Under each of these headings stands exactly one command, of one line."""
    sections = re.split(r"^## ", README, flags=re.MULTILINE)
    [section] = [section for section in sections if section.startswith(f"{heading}\n")]
    [block] = blocks("sh", section)
    assert len(block.splitlines()) == 1


def test_sessions_are_found() -> None:
    """The README is short; it has a session, and so have the first pages."""
    assert len(README.splitlines()) <= 130
    assert all(blocks("ipython", PAGES[page]) for page in ("README", "start", "awaiting", "plain"))


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Each link to a file of the project leads to one, from where the page stands."""
    folder = HERE if page == "README" else HERE / "docs"
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[page])
    assert [link for link in links if not (folder / link).exists()] == []
