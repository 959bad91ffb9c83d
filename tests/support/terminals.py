"""IPython at a real terminal: a pseudo-terminal that pexpect types into."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Self

import pexpect

__all__ = ["SECONDS", "Terminal", "spawn"]

SECONDS = 30
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]")


def spawn(*arguments: str, **environment: str) -> Any:
    """Python in a terminal, with these arguments."""
    process: Any = pexpect.spawn(
        sys.executable,
        [*arguments],
        env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
        encoding="utf-8",
        timeout=SECONDS,
        dimensions=(50, 200),
    )
    process.delaybeforesend = None
    return process


class Terminal:
    """
    IPython in a terminal, ended with the ``with`` block.

    Args:
        arguments: of Python; those of IPython stand after ``-m IPython``.
        prompt_toolkit: whether to have the real prompt; else it is a plain `input`.
        load: whether to load the extension and switch it on.
        environment: variables to add.
    """

    def __init__(
        self,
        *arguments: str,
        prompt_toolkit: bool = False,
        load: bool = True,
        program: str = "IPython",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._toolkit = prompt_toolkit
        self._count = 1
        options = ["--no-banner", "--no-confirm-exit", "--colors=NoColor"]
        if not prompt_toolkit:
            options.append("--simple-prompt")
        self.process = spawn("-m", program, *options, *arguments, **(environment or {}))
        self._expect_prompt()
        if load:
            self.run("%load_ext twisted_ipython")
            self.run("%autoawait twisted")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close(force=True)

    def _expect_prompt(self) -> None:
        """Wait for the prompt of the next cell."""
        escapes = r"(?:\x1b\[[0-9;]*m)*"
        self.process.expect(rf"In {escapes}\[{escapes}{self._count}{escapes}\]: ?")

    @property
    def text(self) -> str:
        """What came before the last match, without escape sequences."""
        return _ESCAPES.sub("", self.process.before).replace("\r", "")

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        if self._toolkit:
            self.process.send(line + "\r")
        else:
            self.process.sendline(line)

    def run(self, line: str) -> str:
        """Run a cell of one line; give what was shown after it until the next prompt."""
        self.type(line)
        return self.shown(line)

    def shown(self, line: str = "") -> str:
        """Wait for the next prompt; give what was shown after ``line``."""
        self._count += 1
        self._expect_prompt()
        return self.text.rpartition(line)[2].strip() if line else self.text.strip()

    def expect(self, pattern: str, seconds: float = SECONDS) -> str:
        """Wait for what matches, and give it."""
        self.process.expect(pattern, timeout=seconds)
        text: str = self.process.match.group(0)
        return text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.sendintr()

    def ended_within(self, seconds: float) -> bool:
        """Whether the process ends in time."""
        try:
            self.process.expect(pexpect.EOF, timeout=seconds)
        except pexpect.TIMEOUT:
            return False
        self.process.wait()
        return True
