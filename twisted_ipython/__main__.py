"""
``python -m twisted_ipython [IPython's arguments]``: IPython with Twisted switched on.

``install`` and ``remove``, in place of those, are `_kernels.kernelspec`'s.
"""

from __future__ import annotations

import sys

from IPython.terminal.ipapp import TerminalIPythonApp
from traitlets.config import Config

from twisted_ipython._kernels import kernelspec
from twisted_ipython._reactor import lifecycle
from twisted_ipython._scripts import reactor_run


class TwistedIPythonApp(TerminalIPythonApp):
    """IPython at the terminal, which loads the extension before those of the user."""

    def init_extensions(self) -> None:
        """Load the extension: ``--ext`` would replace a list of the user's.  Thread: cell."""
        assert self.shell is not None
        self.shell.extension_manager.load_extension("twisted_ipython")
        super().init_extensions()  # type: ignore[no-untyped-call]  # IPython has no types here


def main(arguments: list[str]) -> None:
    """Start IPython with the extension on; or install or remove the kernel.  Thread: cell."""
    if arguments and arguments[0] in kernelspec.COMMANDS:
        kernelspec.main(arguments)
        return
    # Before anything of the user's is imported, be it by a configuration file.
    lifecycle.start().attach_also(reactor_run.attach)
    config = Config()
    config.TwistedMagics.autoawait = True
    TwistedIPythonApp.launch_instance(argv=arguments, config=config)


if __name__ == "__main__":
    main(sys.argv[1:])
