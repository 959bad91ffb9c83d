"""The bar of `progress`, without anything that is waited for."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest

from twisted_ipython._display import progress_bar
from twisted_ipython._display.progress_bar import Bar


class Tqdm:
    """A tqdm that keeps what it is told."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.told: list[object] = []
        bars.append(self)

    def update(self, count: int) -> None:
        """Take a count."""
        self.told.append(count)

    def close(self) -> None:
        """Take the end."""
        self.told.append("closed")


bars: list[Tqdm] = []


@pytest.fixture
def tqdm(monkeypatch: pytest.MonkeyPatch) -> type[Tqdm]:
    """What stands for tqdm's class for this process."""
    module: Any = ModuleType("tqdm.auto")
    module.tqdm = type("Tqdm", (Tqdm,), {})
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    bars.clear()
    kind: type[Tqdm] = module.tqdm
    return kind


def test_drawn(tqdm: type[Tqdm], monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that have ended since, and again in a tenth of a second; in the end once more."""
    monkeypatch.setattr(progress_bar, "monotonic", lambda: 7.0)
    bar = Bar(9, "nine")
    [drawn] = bars
    assert isinstance(drawn, tqdm)
    assert drawn.options == {"total": 9, "desc": "nine", "miniters": 1}
    bar.undrawn, bar.next = 5, 0.0
    bar.draw()
    assert (drawn.told, bar.undrawn, bar.next) == ([5], 0, 7.1)
    bar.undrawn = 1
    bar.close()
    assert drawn.told == [5, 1, "closed"]


def test_one_that_fails_raises_nothing(tqdm: type[Tqdm]) -> None:
    """What is waited for goes on without a bar."""

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no screen")

    for name in ("__init__", "update", "close"):
        setattr(tqdm, name, fails)
        bar = Bar(1, None)
        bar.draw()
        bar.close()
        delattr(tqdm, name)


def test_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without tqdm each tenth is a line, and so is the end."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    bar = Bar(30, None)
    for _ in range(30):
        bar.undrawn += 1
        bar.draw()
    bar.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines[:-1]] == [
        f"{done} of 30" for done in range(3, 30, 3)
    ]
    assert re.fullmatch(r"30 of 30 in \d+ ms, [\d,]+/s", lines[-1])
