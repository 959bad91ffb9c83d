"""`crawl` in a terminal: its line changes in place while a cell awaits it."""

from __future__ import annotations

from pathlib import Path

from terminals import Terminal

SCRIPT = """
import asyncio, scrapy
from twisted_ipython.scrapy import crawl

class Counts(scrapy.Spider):
    name = "counts"
    async def start(self):
        for number in range(3):
            await asyncio.sleep(0.3)
            yield {"number": number}
"""


def test_line(tmp_path: Path) -> None:
    """An awaited crawl has one line that is written over; another one has its last line only."""
    file = tmp_path / "spider.py"
    file.write_text(SCRIPT)
    with Terminal() as terminal:
        terminal.run(f"%run -i {file}")
        terminal.run("await crawl(Counts)")
        drawn = str(terminal.process.before)
        assert drawn.count("\r\x1b[Kcounts: 0 pages, ") >= 3
        assert drawn.count(", finished\r\n") == 1
        assert "3 items of counts" in terminal.text
        terminal.run("going = crawl(Counts); print('on')")
        assert "counts:" not in terminal.text
        terminal.process.expect("counts: 0 pages, 3 items, 0 errors in .* m?s, .*, finished")
