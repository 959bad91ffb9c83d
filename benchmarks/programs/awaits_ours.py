"""
Awaits in the reactor thread, given to the public runner; answers with seconds.

The arguments are the names of what to measure; without, all that the bare
reactor can do.
"""

from __future__ import annotations

import sys

from serving import serve

from twisted_ipython import runner


async def _measured() -> dict[str, float]:
    from awaits import seconds  # which imports the reactor

    return await seconds(sys.argv[1:])


if __name__ == "__main__":
    serve(lambda: runner(_measured()))
