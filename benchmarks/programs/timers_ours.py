"""Timers on the reactor of a shell that has loaded the extension; answers with seconds."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from serving import serve

from twisted_ipython import runner


def main() -> None:
    """Answer, once the extension has set what it sets on the reactor."""
    InteractiveShell.instance().run_line_magic("load_ext", "twisted_ipython")
    from timers import seconds

    serve(lambda: runner(seconds()))


if __name__ == "__main__":
    main()
