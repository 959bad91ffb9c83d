"""
The processes that are compared: ours, version 2.0.0 ("the peer") and the bare libraries.

All run on the interpreter that runs this, with the same installed libraries;
only the folder that ``twisted_ipython`` is imported from differs.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any, Final

__all__ = ["PEER", "Subject", "Subjects", "subjects"]

PEER: Final = "twisted_ipython==2.0.0"
_HERE: Final = Path(__file__).parent
_PACKAGE: Final = _HERE.parent / "twisted_ipython"
# Seconds that a process may take; far above what any takes.
_PATIENCE: Final = 300


@dataclass(frozen=True)
class Subject:
    """
    One side of a comparison.

    Attributes:
        name: what it is called.
        folder: a folder of its own; ``twisted_ipython`` is imported from it.
    """

    name: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "IPYTHON", "JUPYTER"))
        }
        own = {"PYTHONPATH": self.folder, "IPYTHONDIR": self.folder / "ipython"}
        return kept | {name: str(value) for name, value in own.items()}

    def run(self, command: Sequence[str]) -> str:
        """
        Run Python with these arguments.

        Returns:
            what it printed.

        Raises:
            RuntimeError: it failed; the message has what it printed.
        """
        ended = subprocess.run(
            [sys.executable, *command],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        if ended.returncode:
            raise RuntimeError(f"{self.name}: {command} failed:\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def program(self, name: str, *arguments: str, options: Sequence[str] = ()) -> Any:
        """What a program of ``programs/`` printed on its last line, read as JSON."""
        printed = self.run([*options, str(_HERE / "programs" / f"{name}.py"), *arguments])
        return json.loads(printed.splitlines()[-1])

    @contextmanager
    def serving(self, name: str, *arguments: str) -> Iterator[Callable[[], dict[str, float]]]:
        """
        Run a program of ``programs/`` that answers when it is asked.

        Returns:
            what asks it, and returns its answer.
        """
        command = [sys.executable, str(_HERE / "programs" / f"{name}.py"), *arguments]
        with subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            late = Timer(_PATIENCE, process.kill)
            late.start()
            try:
                yield partial(self._ask, process)
            finally:
                late.cancel()
                process.communicate()

    def _ask(self, process: subprocess.Popen[str]) -> dict[str, float]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name}: {process.args!r} has ended")
        values: dict[str, float] = json.loads(answer)
        return values

    def check(self) -> None:
        """
        Make sure that the package is the subject's own.  Also warms the disk's cache.

        Raises:
            RuntimeError: it is not.
        """
        file = self.run(["-c", "import twisted_ipython as t; print(t.__file__)"]).strip()
        if not Path(file).is_relative_to(self.folder):
            raise RuntimeError(f"{self.name} would measure {file}")


@dataclass(frozen=True)
class Subjects:
    """What can be compared."""

    ours: Subject
    peer: Subject
    bare: Subject


@contextmanager
def subjects() -> Iterator[Subjects]:
    """
    Make the folders of the subjects; they are gone afterwards.

    Ours is a copy of the checkout, so that it may be edited meanwhile.  The
    peer comes from the package index, by pip.
    """
    with TemporaryDirectory(prefix="twisted_ipython-benchmarks-") as temporary:
        made = {name: Subject(name, Path(temporary, name)) for name in ("ours", "peer", "bare")}
        for subject in made.values():
            subject.folder.mkdir()
        ours, peer = made["ours"], made["peer"]
        shutil.copytree(_PACKAGE, ours.folder / _PACKAGE.name)
        pip = ["install", "--quiet", "--no-deps", "--disable-pip-version-check"]
        peer.run(["-m", "pip", *pip, "--target", str(peer.folder), PEER])
        for subject in (ours, peer):
            compileall.compile_dir(subject.folder, quiet=1)
            subject.check()
        yield Subjects(**made)
