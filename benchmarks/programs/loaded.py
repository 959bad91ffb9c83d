"""
What a module measures on the reactor of a shell that has loaded the extension, in seconds.

The arguments are the module, and whose loop the reactor runs on: asyncio's or uvloop's.
"""

from __future__ import annotations

import sys
from importlib import import_module

from IPython.core.interactiveshell import InteractiveShell
from serving import serve
from traitlets.config import Config

from twisted_ipython import runner


def main(module: str, loop: str) -> None:
    """Answer, once the extension has set what it sets on the reactor."""
    config = Config()
    config.TwistedMagics.reactor = loop
    InteractiveShell.instance(config=config).run_line_magic("load_ext", "twisted_ipython")
    seconds = import_module(module).seconds
    serve(lambda: runner(seconds()))


if __name__ == "__main__":
    main(*sys.argv[1:])
