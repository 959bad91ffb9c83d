"""What is taken for code that would run the reactor."""

from __future__ import annotations

import pytest

from twisted_ipython._scripts.callers import would_run

SCRIPTS = {
    "reactor.run": "from twisted.internet import reactor\nreactor.run()",
    "in a function": "def main():\n    import x.reactor as reactor\n    reactor.run()\nmain()",
    "in a class": "class Main:\n    def go(self): internet.reactor.run(False)",
    "react": "from twisted.internet import task\ntask.react(main, ['x'])",
    "react by name": "from twisted.internet.task import react\nreact(main)",
    "CrawlerProcess": "process = CrawlerProcess()\nprocess.start()",
    "AsyncCrawlerProcess": "process = AsyncCrawlerProcess()\nprocess.start(True)",
    "scrapy": "from scrapy import cmdline\ncmdline.execute(['scrapy', 'list'])",
    "execute": "from scrapy.cmdline import execute\nexecute()",
    "klein": "from klein import Klein\napp = Klein()\napp.run('localhost', 8080)",
    "klein's own": "from klein import route, run\nrun('localhost', 8080)",
    "autobahn": "from autobahn.twisted.wamp import ApplicationRunner as A\nA(a, b).run(c)",
}
OTHERS = {
    "a port": "from twisted.internet import reactor\nreactor.listenTCP(8080, site)",
    "another run": "reactor.listenTCP(8080, site)\nsubprocess.run(['ls'])\nasyncio.run(main())",
    "a process": "process = CrawlerProcess()",
    "a thread": "threading.Thread(target=f).start()",
    "text": "'reactor.run()'",
    "nothing": "",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script(name: str) -> None:
    """Names alone tell, wherever they are in the code."""
    assert would_run(compile(SCRIPTS[name], "<cell>", "exec"))
    assert would_run(compile("pass", "", "exec"), compile(SCRIPTS[name], "<cell>", "exec"))


@pytest.mark.parametrize("name", OTHERS)
def test_no_script(name: str) -> None:
    """What does not name it is none."""
    assert not would_run(compile(OTHERS[name], "<cell>", "exec"))
