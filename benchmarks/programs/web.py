"""A server, and requests of treq's and httpx's at once; answers with seconds of CPU time."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from time import process_time
from typing import Any, Final

import httpx
import treq
from pages_spider import address
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web import resource, server

__all__ = ["seconds"]

_REQUESTS: Final = 20_000
_OF_TREQ: Final = 2_000
# So many at once, so often: httpx's pool takes the square of the time, over a minute for 2,000.
_OF_HTTPX: Final = 100
_TIMES: Final = 20
_CLIENT: Final = str(Path(__file__).with_name("requests_sent.py"))
_url: Final = address()


class _Hello(resource.Resource):
    isLeaf = True

    def render_GET(self, _: Any) -> bytes:
        return b"hello"


async def _serve() -> None:
    """Requests of another process."""
    turn: Any = reactor
    site = server.Site(_Hello())
    site.noisy = False
    port = turn.listenTCP(0, site, interface="127.0.0.1")
    arguments = _CLIENT, str(port.getHost().port), str(_REQUESTS)
    client = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    assert await client.wait() == 0
    await _as_future(port.stopListening())


async def _treq() -> None:
    async def get() -> None:
        response = await _as_future(treq.get(_url, persistent=False))
        assert b"text" in await _as_future(treq.content(response))

    await asyncio.gather(*(get() for _ in range(_OF_TREQ)))


async def _httpx() -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for _ in range(_TIMES):
            responses = await asyncio.gather(*(client.get(_url) for _ in range(_OF_HTTPX)))
            assert all("text" in response.text for response in responses)


def _as_future(deferred: Deferred[Any]) -> asyncio.Future[Any]:
    """What a task that knows no Deferreds can await."""
    return deferred.asFuture(asyncio.get_running_loop())


async def seconds() -> dict[str, float]:
    """Seconds that each takes."""
    taken: dict[str, float] = {}
    for name, work in {"server": _serve, "treq": _treq, "httpx": _httpx}.items():
        gc.collect()
        began = process_time()
        await work()
        taken[name] = process_time() - began
    return taken
