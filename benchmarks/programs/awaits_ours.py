"""
Awaits in the reactor thread, given to the public runner; answers with seconds.

The arguments are the names of what to measure; without, all that the bare
reactor can do.
"""

from __future__ import annotations

import sys

from serving import serve

from twisted_ipython import runner


async def _nothing() -> None:
    """Start the reactor thread."""


def main() -> None:
    """Answer, once our reactor is the one that is installed."""
    runner(_nothing())
    from awaits import seconds

    serve(lambda: runner(seconds(sys.argv[1:])))


if __name__ == "__main__":
    main()
