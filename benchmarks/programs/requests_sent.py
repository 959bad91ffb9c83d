"""Sends a port so many requests, over 20 connections; ends when all are answered."""

from __future__ import annotations

import asyncio
import sys

_CONNECTIONS = 20
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _send(port: int, requests: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(requests):
        writer.write(_REQUEST)
        await reader.readuntil(b"hello")
    writer.close()


async def main(port: str, requests: str) -> None:
    """Send them."""
    each = int(requests) // _CONNECTIONS
    await asyncio.gather(*(_send(int(port), each) for _ in range(_CONNECTIONS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
