"""
Tasks, timeouts, a queue and streams of asyncio's; answers with seconds.

The argument is ``ours`` for the reactor thread's loop; without one it is asyncio's own. Either is
in a process with an IPython, Twisted and crochet, whose objects each full collection of garbage
goes through: without Twisted, asyncio's own takes a fourth less time for tasks.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final

import crochet  # noqa: F401  # for its objects
from IPython.core.interactiveshell import InteractiveShell
from serving import serve
from twisted.internet import asyncioreactor  # noqa: F401

_TASKS: Final = 200_000
_GROUPED: Final = 50_000
_TIMEOUTS: Final = 20_000
_ITEMS: Final = 100_000
_TRIPS: Final = 3_000


async def _nothing() -> None:
    """Await nothing."""


async def _tasks() -> None:
    for _ in range(_TASKS // 1000):
        await asyncio.gather(*(_nothing() for _ in range(1000)))


async def _group() -> None:
    for _ in range(_GROUPED // 1000):
        async with asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(_nothing())


async def _timeouts() -> None:
    for _ in range(_TIMEOUTS):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)


async def _queue() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(10)

    async def put() -> None:
        for number in range(_ITEMS):
            await queue.put(number)

    putting = asyncio.create_task(put())
    for _ in range(_ITEMS):
        await queue.get()
    await putting


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def _streams() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for _ in range(_TRIPS):
        writer.write(b"line\n")
        await writer.drain()
        await reader.readline()
    writer.close()
    await writer.wait_closed()
    server.close()


_WORK: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "tasks of nothing": _tasks,
    "TaskGroup": _group,
    "timeouts": _timeouts,
    "queue": _queue,
    "streams": _streams,
}


async def _seconds() -> dict[str, float]:
    """Seconds that each takes."""
    taken: dict[str, float] = {}
    for name, work in _WORK.items():
        gc.collect()
        began = perf_counter()
        await work()
        taken[name] = perf_counter() - began
    return taken


def main() -> None:
    """Answer."""
    InteractiveShell.instance()
    if sys.argv[1:] == ["ours"]:
        from twisted_ipython import runner

        serve(lambda: runner(_seconds()))
    else:
        serve(lambda: asyncio.run(_seconds()))


if __name__ == "__main__":
    main()
