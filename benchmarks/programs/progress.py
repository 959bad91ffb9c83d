"""
10,000 awaitables gathered, with a bar or without; answers with seconds of CPU time.

Nothing is waited for but the reactor's next turns, so that is what the work takes.
The argument is ``bar`` for our `progress`; without one Twisted and asyncio gather.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import process_time
from typing import Any, Final

from serving import serve

from twisted_ipython import progress, runner

_MANY: Final = 10_000


async def _nothing() -> None:
    """Start the reactor thread."""


async def _seconds(wait: dict[str, Callable[[list[Any]], Awaitable[Any]]]) -> dict[str, float]:
    """Seconds of CPU time that each kind takes."""
    from awaits import later

    async def one() -> None:
        await later()

    kinds: dict[str, Callable[[], Any]] = {"Deferreds": later, "coroutines": one}
    taken: dict[str, float] = {}
    for name, kind in kinds.items():
        gc.collect()
        began = process_time()
        await wait[name]([kind() for _ in range(_MANY)])
        taken[name] = process_time() - began
    return taken


async def _gather(coroutines: list[Any]) -> Any:
    return await asyncio.gather(*coroutines)


def main() -> None:
    """Answer, once our reactor is the one that is installed."""
    runner(_nothing())
    from twisted.internet.defer import gatherResults

    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # where tqdm draws
    if sys.argv[1:] == ["bar"]:
        wait = dict.fromkeys(("Deferreds", "coroutines"), progress)
    else:
        wait = {"Deferreds": gatherResults, "coroutines": _gather}
    serve(lambda: runner(_seconds(wait)))


if __name__ == "__main__":
    main()
