"""What coroutines await of the world outside: streams, processes, anyio, httpx."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from reactor_thread import Oops, in_reactor, later, reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.utils import getProcessOutput
from twisted.python.failure import Failure

Make = Callable[[Any], Awaitable[Any]]


@in_reactor
async def test_streams() -> None:
    """asyncio's streams work on the reactor's loop, with Deferreds awaited in between."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(await later(line.upper()))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello\n")
        await later()
        assert await reader.read() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()


@in_reactor
async def test_child_processes_of_both_kinds() -> None:
    """asyncio's child processes and Twisted's run side by side, and each gets its own end."""
    code = "import sys; sys.stdout.write('done'); sys.exit(int(sys.argv[1]))"

    async def of_asyncio(status: int) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(status), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert (out, process.returncode) == (b"done", status)

    async def of_twisted() -> None:
        assert await getProcessOutput(sys.executable, ["-c", code, "0"], reactor=reactor()) == (
            b"done"
        )

    await asyncio.gather(of_asyncio(0), of_twisted(), of_asyncio(3), of_twisted())


@in_reactor
async def test_anyio() -> None:
    """anyio's task groups, scopes, events and threads work around Deferreds."""
    seen: list[Any] = []
    event = anyio.Event()

    async def note(value: Any) -> None:
        seen.append(await later(value))
        event.set()

    async with anyio.create_task_group() as group:
        group.start_soon(note, 1)
        await event.wait()
        seen.append(await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(later, 2)))
    with anyio.move_on_after(20) as scope:
        seen.append(await later(3))
    with anyio.fail_after(20):
        seen.append(await later(4))
    assert seen == [1, 2, 3, 4]
    assert not scope.cancelled_caught


@in_reactor
async def test_httpx() -> None:
    """httpx, which is built on anyio, asks a web server of Twisted's in the same coroutine."""
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET, Site

    class Echo(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> int:
            later(request.path).addCallback(request.write).addCallback(lambda _: request.finish())
            return NOT_DONE_YET

    port = reactor().listenTCP(0, Site(Echo()), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = await asyncio.gather(*[client.get(f"{url}/{n}") for n in range(3)])
            await later()
            answers.append(await client.get(f"{url}/last"))
    finally:
        await port.stopListening()
    assert [answer.text for answer in answers] == ["/0", "/1", "/2", "/last"]


@in_reactor
async def test_failure_object_as_value() -> None:
    """A coroutine that returns a Failure to Twisted fails the await, as in Twisted."""

    async def returns() -> Any:
        return Failure(Oops())

    with pytest.raises(Oops):
        await ensureDeferred(returns())
