"""``python -m twisted_ipython [IPython's arguments]``: IPython with Twisted switched on."""

from __future__ import annotations

import sys

from IPython import start_ipython
from traitlets.config import Config

from twisted_ipython import _reactor

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """
    Start IPython with the extension loaded and ``%autoawait twisted`` on.

    The reactor is installed before anything of the user's is imported.  Runs
    in the main thread, until IPython ends.

    Args:
        arguments: IPython's own.

    Returns:
        the exit status.
    """
    _reactor.start()
    config = Config()
    config.InteractiveShellApp.extra_extensions = ["twisted_ipython"]
    config.TwistedMagics.autoawait = True
    status = start_ipython(argv=arguments, config=config)
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
