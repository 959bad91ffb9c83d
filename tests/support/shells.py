"""An InteractiveShell in a process of its own, and programs that are run to their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, Self

__all__ = ["Cell", "Shell", "run_python"]

SECONDS = 30

_PROGRAM = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

pipe = sys.stdout
config = Config({"HistoryManager": {"enabled": False}})  # it would be one file for all shells
shell = InteractiveShell.instance(config=config, colors="NoColor")
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        result = shell.run_cell(**json.loads(line))
    error = result.error_before_exec or result.error_in_exec
    answer = {
        "out": out.getvalue(),
        "err": err.getvalue(),
        "error": error and type(error).__name__,
        "message": error and str(error),
        "count": result.execution_count,
    }
    print(json.dumps(answer), file=pipe, flush=True)
"""


@dataclass(frozen=True)
class Cell:
    """
    What a cell did.

    Attributes:
        out: what it printed, results and tracebacks included.
        err: what it wrote to stderr.
        error: the name of the exception that ended it, or None.
        message: the exception's message.
        count: its number.
    """

    out: str
    err: str
    error: str | None
    message: str | None
    count: int | None


class Shell:
    """A plain InteractiveShell in a process that is ended with the ``with`` block."""

    def __init__(self, *, load: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if load:
            self.ok("%load_ext twisted_ipython\n%autoawait twisted")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, code: str, *, seconds: float = SECONDS, **options: Any) -> Cell:
        """Run a cell; a process that does not answer in time is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"raw_cell": code, "store_history": True, **options}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        timer = Timer(seconds, self._process.kill)
        timer.start()
        try:
            answer = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not answer:
            raise AssertionError(f"no answer to {code!r}: {self._process.communicate()}")
        return Cell(**json.loads(answer))

    def ok(self, code: str, **options: Any) -> str:
        """Run a cell that must succeed and write nothing to stderr; give what it printed."""
        cell = self.run(code, **options)
        assert cell.error is None, cell.out + cell.err
        assert cell.err == "", cell.err
        return cell.out

    def value(self, code: str) -> str:
        """The repr of a cell's last expression."""
        return self.ok(code).rpartition("]: ")[2].strip()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)


def run_python(
    *arguments: str | Path,
    typed: str = "",
    seconds: float = SECONDS,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """
    Run Python to its end.

    Args:
        arguments: of the interpreter.
        typed: what it finds on stdin.
        seconds: after which it is killed, and TimeoutExpired raised.
        environment: variables to add.
        folder: to run in.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(environment or {})},
        cwd=folder,
        check=False,
    )
