"""`crawl` with settings, logs, pipelines, feeds, and projects."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernels import Kernel, fail

PROJECT = {
    "scrapy.cfg": "[settings]\ndefault = shop.settings\n",
    "shop/__init__.py": "",
    "shop/settings.py": (
        "BOT_NAME = 'shop'\nSPIDER_MODULES = ['shop.spiders']\nUSER_AGENT = 'shop'\n"
    ),
    "shop/spiders.py": (
        "import scrapy\n\nclass Shop(scrapy.Spider):\n    name = 'shop'\n"
        "    async def start(self):\n"
        "        yield {'agent': self.settings['USER_AGENT'], 'bot': self.settings['BOT_NAME']}\n"
    ),
}


def test_log(kernel: Kernel) -> None:
    """Warnings are shown, once, also the second time; less than that where it is asked for."""
    for _ in range(2):
        cell = kernel.run("await crawl(Talks);")
        assert cell.printed("stderr") == "a warning\nof Scrapy\n"
    for _ in range(2):
        shown = kernel.run("await crawl(Talks, settings={'LOG_LEVEL': 'INFO'});").printed("stderr")
        assert shown.count("[talks] INFO: an info\n") == 1
        assert shown.count("a warning") == shown.count("of Scrapy") == 1
        assert "Spider opened" in shown
    assert kernel.run("await crawl(Talks);").printed("stderr") == "a warning\nof Scrapy\n"
    kernel.ok("await crawl(Talks, settings={'LOG_LEVEL': 'ERROR'});")
    kernel.ok("await crawl(Talks, settings={'LOG_ENABLED': False});")


def test_logs_at_once(kernel: Kernel) -> None:
    """The log of one crawl is not that of another beside it."""
    cell = kernel.run("a = crawl(Talks, settings={'LOG_LEVEL': 'INFO'}); b = crawl(Talks)")
    kernel.run("await a, await b;")
    shown = cell.printed("stderr")
    assert shown.count("an info") == 1
    assert shown.count("a warning") == 2


def test_log_of_the_user(kernel: Kernel) -> None:
    """Logging that the user has set up shows all, once."""
    kernel.ok("logging.basicConfig(format='own: %(message)s')")
    cell = kernel.run("await crawl(Talks, settings={'LOG_LEVEL': 'INFO'});")
    kernel.ok("logging.root.handlers.clear()")
    assert cell.printed("stderr").count("own: an info\n") == 1
    assert cell.printed("stderr").count("an info") == 1


def test_log_file(kernel: Kernel, tmp_path: Path) -> None:
    """A file has all, exceptions too, which are shown besides."""
    file = tmp_path / "log"
    cell = kernel.run(f"await crawl(Bad, settings={{'LOG_FILE': {str(file)!r}}});")
    assert "a bad page" in cell.traceback
    assert cell.printed("stderr") == ""
    assert file.read_text().count('raise ValueError("a bad page")') == 10


def test_settings(kernel: Kernel) -> None:
    """A dict goes before the spider's own; a Settings object is taken as it is."""
    kernel.ok(
        "class Own(scrapy.Spider):\n    name = 'own'\n    custom_settings = {'USER_AGENT': 'own'}\n"
        "    async def start(self):\n        yield {'agent': self.settings['USER_AGENT']}"
    )
    assert kernel.value("(await crawl(Own))[0]") == "{'agent': 'own'}"
    got = kernel.value("(await crawl(Own, settings={'USER_AGENT': 'cell'}))[0]")
    assert got == "{'agent': 'cell'}"
    kernel.ok("from scrapy.settings import Settings; given = Settings({'BOT_NAME': 'me'})")
    got = kernel.value("(await crawl(Own, settings=given)).crawler.settings['BOT_NAME']")
    assert got == "'me'"
    assert kernel.value("given.frozen") == "False"


def test_project(kernel: Kernel, tmp_path: Path) -> None:
    """In a project's folder its settings hold, and its spiders have names."""
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    kernel.ok(f"back, path = os.getcwd(), sys.path[:]; os.chdir({str(tmp_path)!r})")
    try:
        assert kernel.value("list(await crawl('shop'))") == "[{'agent': 'shop', 'bot': 'shop'}]"
        got = kernel.value("list(await crawl('shop', settings={'USER_AGENT': 'me'}))")
        assert got == "[{'agent': 'me', 'bot': 'shop'}]"
        assert fail(kernel, "await crawl('nothing')").error == "KeyError"
    finally:
        kernel.ok(
            "os.chdir(back); sys.path[:] = path; os.environ.pop('SCRAPY_SETTINGS_MODULE', None)"
        )


def test_pipelines_and_feeds(kernel: Kernel, tmp_path: Path) -> None:
    """Items are those that the pipelines gave, dropped ones are none, and feeds are written."""
    kernel.ok(
        "class Odd:\n"
        "    async def process_item(self, item):\n"
        "        await asyncio.sleep(0)\n"
        "        if item['size'] == 13:\n"
        "            raise scrapy.exceptions.DropItem('small', log_level='DEBUG')\n"
        "        return {**item, 'odd': True}"
    )
    file = tmp_path / "items.json"
    settings = f"{{'ITEM_PIPELINES': {{Odd: 1}}, 'FEEDS': {{{str(file)!r}: {{'format': 'json'}}}}}}"
    cell = kernel.ok(f"list(await crawl(Pages, first='8', settings={settings}))")
    assert cell.value == "[{'text': 'page 8', 'size': 34, 'odd': True}]"
    assert file.read_text().count('"odd": true') == 1


@pytest.mark.parametrize("wait", ["asyncio.gather(*all)", "defer.gatherResults(map(f, all))"])
def test_several(kernel: Kernel, wait: str) -> None:
    """Several crawls at once, waited for in asyncio's way and in Twisted's."""
    kernel.ok("async def g(one): return await one\ndef f(one): return defer.ensureDeferred(g(one))")
    kernel.ok(f"all = [crawl(Pages, first=str(n)) for n in (0, 5, 8)]; found = await {wait}")
    assert kernel.value("[len(one) for one in found]") == "[10, 5, 2]"
