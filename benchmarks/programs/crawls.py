"""
Crawls of pages that another process serves; answers with seconds of CPU time.

The argument says who runs them: ``cell``, ``job``, ``process`` in a shell that has loaded the
extension, ``crochet`` in a shell without it, or ``runspider``.
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
_CROCHET = "crochet.wait_for(100)(lambda: CrawlerRunner(SETTINGS).crawl(Pages, url))()"


def _in_cell(code: str, url: str) -> Callable[[], object]:
    return _shell(code, url, "%load_ext twisted_ipython", "%autoawait twisted")


def _shell(code: str, url: str, *preparation: str) -> Callable[[], object]:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    for line in (*preparation, "from scrapy.crawler import CrawlerProcess, CrawlerRunner"):
        shell.run_cell(line).raise_error()
    shell.user_ns |= {"SETTINGS": SETTINGS, "Pages": Pages, "url": url}
    return lambda: shell.run_cell(code).raise_error()


def _under_crochet(url: str) -> Callable[[], object]:
    from twisted.internet import asyncioreactor

    asyncioreactor.install(asyncio.SelectorEventLoop())
    return _shell(_CROCHET, url, "import crochet", "crochet.setup()")


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
        return {"2,000 pages": Pages.seconds[-1]}

    serve(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
