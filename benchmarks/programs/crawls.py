"""
Crawls of pages that another process serves; answers with seconds of CPU time.

The argument says who runs them: ``cell``, ``job``, ``process`` in a shell that has loaded the
extension, ``crochet`` without it, or ``runspider``.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

from pages_spider import SETTINGS, Pages, address
from serving import serve

_CELLS = {
    "cell": "await CrawlerRunner(SETTINGS).crawl(Pages, url)",
    "job": "%%run_in_reactor --wait\nawait CrawlerRunner(SETTINGS).crawl(Pages, url)",
    "process": "process = CrawlerProcess(SETTINGS)\nprocess.crawl(Pages, url)\nprocess.start()",
}


def _in_cell(code: str, url: str) -> Callable[[], object]:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "twisted_ipython")
    shell.run_line_magic("autoawait", "twisted")
    shell.run_cell("from scrapy.crawler import CrawlerProcess, CrawlerRunner").raise_error()
    shell.user_ns |= {"SETTINGS": SETTINGS, "Pages": Pages, "url": url}
    return lambda: shell.run_cell(code).raise_error()


def _under_crochet(url: str) -> Callable[[], object]:
    from twisted.internet import asyncioreactor

    asyncioreactor.install(asyncio.SelectorEventLoop())
    import crochet
    from scrapy.crawler import CrawlerRunner

    crochet.setup()
    crawl: Callable[[], object] = crochet.wait_for(100)(
        lambda: CrawlerRunner(SETTINGS).crawl(Pages, url)
    )
    return crawl


def _runspider(url: str) -> Callable[[], object]:
    from pages_spider import __file__ as spider

    command = [sys.executable, "-m", "scrapy", "runspider", spider, "-a", f"url={url}"]
    for name, value in SETTINGS.items():
        command += ["-s", f"{name}={value}"]

    def run() -> None:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        Pages.seconds.append(float(ended.stdout.splitlines()[-1]))

    return run


def main(who: str) -> None:
    """Answer with what each crawl has noted."""
    url = address()
    starts = {"crochet": _under_crochet, "runspider": _runspider}
    crawl = starts[who](url) if who in starts else _in_cell(_CELLS[who], url)

    def seconds() -> dict[str, float]:
        crawl()
        return {"300 pages": Pages.seconds[-1]}

    serve(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
