"""Awaits on asyncio's own loop; answers with seconds."""

from __future__ import annotations

import asyncio

from awaits import seconds
from serving import serve

if __name__ == "__main__":
    serve(lambda: asyncio.run(seconds(["asyncio.sleep"])))
