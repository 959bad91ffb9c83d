"""
Memory after many `%%run_in_reactor` cells; prints bytes.

The first argument is the name of one of `_CELLS`, the second how many cells to
run, the third the size of the result of each in bytes.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tracemalloc
from typing import Final

import psutil
from IPython.core.interactiveshell import InteractiveShell

_CELLS: Final = {
    "job": "return bytearray({size})\n",
    "port": """from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
return bytearray({size})
""",
    "LoopingCall": """from twisted.internet.task import LoopingCall
LoopingCall(lambda: None).start(3600)
return bytearray({size})
""",
    "pooled connection": """import treq
await treq.content(await treq.get(url, pool=pool))
return bytearray({size})
""",
}
# A server, and a pool whose connections stay open.
_SERVER: Final = """%%run_in_reactor --wait --global
from twisted.internet import reactor
from twisted.web import resource, server
from twisted.web.client import HTTPConnectionPool
site = server.Site(resource.Resource())
port = reactor.listenTCP(0, site, interface="127.0.0.1")
url = f"http://127.0.0.1:{port.getHost().port}/"
pool = HTTPConnectionPool(reactor, persistent=True)
"""
# Cells that run before anything is measured: caches fill, imports happen.
_FIRST: Final = 200


def _run(shell: InteractiveShell, body: str, count: int) -> None:
    for _ in range(count):
        shell.run_cell(f"%%run_in_reactor made\n{body}").raise_error()
        shell.user_ns["made"].wait(10)


def _now() -> dict[str, int]:
    gc.collect()
    return {
        "resident": psutil.Process().memory_info().rss,
        "traced": tracemalloc.get_traced_memory()[0],
    }


def main(name: str, count: int, size: int) -> None:
    """Print how much memory has grown by, in all."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "twisted_ipython")
    if name == "pooled connection":
        shell.run_cell(_SERVER).raise_error()
    body = _CELLS[name].format(size=size)
    tracemalloc.start()
    _run(shell, body, _FIRST)
    before = _now()
    _run(shell, body, count)
    after = _now()
    print(json.dumps({kind: after[kind] - before[kind] for kind in after}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
