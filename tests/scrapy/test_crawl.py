"""`crawl`: its items, its line, its end, its failures."""

from __future__ import annotations

import os
import re
from time import monotonic

import pytest
from kernels import Execution, Kernel, fail

# So many crawls must leave nothing behind.
CRAWLS = int(os.environ.get("TWISTED_IPYTHON_CRAWLS", "10"))


def line(kernel: Kernel, cell: Execution) -> list[str]:
    """What the one line of a cell has shown, each time."""
    [display] = cell.displays()
    return [m["content"]["data"]["text/plain"] for m in kernel.displays[display]]


def test_items(kernel: Kernel) -> None:
    """A crawl gives its items, as a list that shows a table, with stats and crawler."""
    cell = kernel.ok("items = await crawl(Pages, first='7'); items")
    data = cell.data("execute_result")
    assert data["text/plain"].splitlines() == [
        "3 items of pages",
        "  text    size",
        "  page 7  34",
        "  page 8  34",
        "  page 9  13",
    ]
    assert '<td style="text-align:left">page 9</td>' in data["text/html"]
    assert kernel.value("isinstance(items, list), items[0]['text']") == "(True, 'page 7')"
    assert kernel.value("items.stats['item_scraped_count'], items.crawler.spidercls.name") == (
        "(3, 'pages')"
    )
    assert kernel.value("import pickle; pickle.loads(pickle.dumps(items)) == items") == "True"
    first, *_, last = line(kernel, cell)
    assert first == "pages: 0 pages, 0 items, 0 errors, 0.0 pages/s"
    assert re.fullmatch(
        r"pages: 3 pages, 3 items, 0 errors in [\d.]+ m?s, [\d.]+ pages/s, finished", last
    )


def test_long_table(kernel: Kernel) -> None:
    """A long table is cut, and items of different kinds stand in one."""
    kernel.ok(
        "class Many(Endless):\n"
        "    name = 'many'\n"
        "    async def start(self):\n"
        "        for number in range(69): yield {'number': number}\n"
        "        yield types.new_class('Own', (scrapy.Item,), {},\n"
        "            lambda names: names.update(own=scrapy.Field()))(own=1)"
    )
    cell = kernel.run("many = await crawl(Many); many")
    assert cell.value is not None
    assert cell.value.startswith("70 items of many\n  number\n  0\n")
    assert cell.value.endswith("\n  59\n... and 10 more")
    assert kernel.value("dict(many[-1])") == "{'own': 1}"


def test_frame(kernel: Kernel) -> None:
    """`frame` makes a DataFrame of pandas, and says what to do where that is missing."""
    kernel.ok("few = await crawl(Pages, first='9'); before = sys.modules.get('pandas')")
    kernel.ok("sys.modules['pandas'] = types.SimpleNamespace(DataFrame=tuple)")
    assert kernel.value("few.frame()") == "({'text': 'page 9', 'size': 13},)"
    kernel.ok("sys.modules['pandas'] = None")
    cell = fail(kernel, "few.frame()")
    kernel.ok("del sys.modules['pandas']")
    assert cell.error == "ImportError"
    assert "pandas is not installed: `%pip install pandas`" in cell.traceback


def test_progress(kernel: Kernel) -> None:
    """The line changes while a crawl goes on."""
    cell = kernel.submit("await crawl(Endless)").wait_for("It crawls.")
    kernel.pump(lambda: len(line(kernel, cell)) > 2)
    assert re.fullmatch(
        r"endless: [\d]+ pages?, [\d]+ items?, 0 errors, [\d.]+ pages/s", line(kernel, cell)[-1]
    )
    kernel.interrupt()
    cell.wait()
    kernel.pump(lambda: line(kernel, cell)[-1].endswith(", shutdown"))


def test_iteration(kernel: Kernel) -> None:
    """Items come as they are scraped, and leaving the loop early closes the spider."""
    cell = kernel.ok(
        "async for item in crawl(Endless):\n"
        "    print(item['number'])\n"
        "    if item['number']: break\n"
        "print('left')"
    )
    cell.wait_for("closed: shutdown")
    assert cell.printed().startswith("0\n")
    assert "left\n" in cell.printed()
    whole = "[item['text'] async for item in crawl(Pages, first='8')]"
    assert kernel.value(whole) == "['page 8', 'page 9']"
    assert fail(kernel, "async for item in crawl(Pages, 1, 2, 3): pass").error == "TypeError"


def test_interrupt(kernel: Kernel) -> None:
    """Ctrl-C closes the spider; the exception and `_` have what was gathered."""
    cell = kernel.submit(
        "try:\n    await crawl(Endless)\nexcept KeyboardInterrupt as error:\n"
        "    print('kept', len(error.items)); kept = error.items"
    ).wait_for("It crawls.")
    kernel.interrupt()
    cell.wait()
    assert re.search(r"kept ([2-9]|\d\d)", cell.printed())
    cell.wait_for("closed: shutdown")
    assert kernel.value("_ is kept, len(_) >= 2") == "(True, True)"
    cell = kernel.submit("await asyncio.gather(crawl(Endless), crawl(Endless))")
    cell.wait_for("It crawls.")
    kernel.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    names = "[one.crawler.spidercls.name for one in (_, __)], _ is not __"
    assert kernel.value(names) == "(['endless', 'endless'], True)"


def test_second_interrupt(kernel: Kernel) -> None:
    """A second one drops the requests in flight."""
    cell = kernel.submit("await crawl(Slow)").wait_for("It crawls.")
    kernel.interrupt()
    kernel.pump(lambda: "Closing the crawl of 'slow'" in cell.printed("stderr"))
    began = monotonic()
    kernel.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    assert monotonic() - began < 2
    assert kernel.value("len(_)") == "1"


@pytest.mark.parametrize("settings", ["", ", settings={'LOG_LEVEL': 'INFO'}"])
def test_failures(kernel: Kernel, settings: str) -> None:
    """Exceptions in `parse` are shown with the user's frames, once, and then counted."""
    cell = kernel.run(f"bad = await crawl(Bad{settings})")
    assert cell.reply is not None
    assert cell.reply["status"] == "ok"
    shown = cell.traceback
    assert "---> " in shown
    assert 'raise ValueError("a bad page")' in shown
    assert "scrapy/core" not in shown
    assert shown.count("Spider error processing") <= 2
    assert "Traceback" not in cell.printed("stderr")
    [first] = [one for one in cell.displays() if "bad:" in str(kernel.displays[one])]
    last = kernel.displays[first][-1]["content"]["data"]["text/plain"]
    assert "10 items, 10 errors" in last
    kernel.pump(lambda: "8 times more" in str([kernel.displays[one] for one in cell.displays()]))


def test_spider_that_cannot_begin(kernel: Kernel) -> None:
    """What its constructor raises is raised by the await, or shown if nobody awaits."""
    cell = fail(kernel, "await crawl(Pages, nothing=1)")
    assert cell.error == "TypeError"
    assert line(kernel, cell)[-1].endswith(", failed")
    cell = fail(kernel, "await crawl(scrapy.Spider)")
    assert "ValueError: Spider must have a name" in cell.traceback
    cell = kernel.run("crawl(Pages, nothing=1);")
    kernel.pump(lambda: "unexpected keyword argument 'nothing'" in cell.traceback)


def test_plain_cell(kernel: Kernel) -> None:
    """Without `await` it goes on in the background, listed, and can be awaited later."""
    cell = kernel.ok("going = crawl(Endless); going").wait_for("It crawls.")
    assert cell.value is not None
    assert re.match(r"<Crawl of endless: \d+ pages?, .*, pending>", cell.value)
    assert "endless" in str(kernel.ok("%reactor jobs").messages("display_data"))
    kernel.ok("going.close()")
    assert kernel.value("len(await going) == len(going.items) > 1") == "True"
    cell.wait_for("closed: shutdown")
    assert line(kernel, cell)[-1].endswith(", shutdown")
    assert kernel.value("going").endswith(", shutdown>")  # type: ignore[union-attr]


def test_job(kernel: Kernel) -> None:
    """In a job it belongs to the job, and is closed with it."""
    cell = kernel.ok("%%run_in_reactor job\nawait crawl(Endless)").wait_for("It crawls.")
    kernel.ok("before = 5; before")
    kernel.run("%reactor cancel job")
    cell.wait_for("closed: shutdown")
    assert kernel.value("_") == "5"


def test_nothing_is_left(kernel: Kernel) -> None:
    """Descriptors, ports, timers, tasks, handlers and levels are as many after all crawls."""
    kernel.ok("await crawl(Pages)")
    kernel.ok("await asyncio.sleep(0.3)")
    before = kernel.value("left()")
    for _ in range(CRAWLS):
        cell = kernel.run(
            "await crawl(Pages, settings={'LOG_LEVEL': 'INFO'}); await fetch(url + '1')\n"
            "async for item in crawl(Pages): break"
        )
        assert cell.error is None, cell.traceback
    assert before in (kernel.value("left()") for _ in range(50))
