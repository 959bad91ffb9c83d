"""The lines of `echoes`, for whoever awaits asyncio's objects only; import it with a reactor."""

from __future__ import annotations

import asyncio

from echoes import echoes
from twisted.internet.defer import ensureDeferred

__all__ = ["seconds"]


async def seconds() -> dict[str, float]:
    """Seconds that the lines take."""
    taken = ensureDeferred(echoes()).asFuture(asyncio.get_running_loop())
    return {"echoes": await taken}
