"""
Twisted in IPython and Jupyter: top-level ``await`` in a reactor thread of crochet's.

    %load_ext twisted_ipython    start the reactor thread, once per process
    %autoawait twisted           `await` Deferreds, coroutines, asyncio's futures and tasks
    %%run_in_reactor NAME        run the cell in the background; NAME is its EventualResult
    %reactor                     what goes on; jobs, cancel, close, stack, wait
    %twisted_config              the settings

A question mark after each shows its manual, as in ``%reactor?``.  For programs:
`in_main_thread` calls a function in the main thread, `progress` waits for many
things at once, `runner` is for ``IPython.embed(using=...)``.

Importing this package starts nothing and installs no reactor; loading the
extension does.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from twisted_ipython._display.progress import progress
    from twisted_ipython._magics.runner import runner
    from twisted_ipython._waiting.calls import in_main_thread

__all__ = [
    "in_main_thread",
    "load_ipython_extension",
    "progress",
    "runner",
    "unload_ipython_extension",
]
__version__ = "3.0.0rc1"

_PUBLIC = {
    "in_main_thread": "_waiting.calls",
    "progress": "_display.progress",
    "runner": "_magics.runner",
}


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """
    Load the extension: ``%load_ext twisted_ipython``.

    Starts the reactor thread, once per process, and registers the ``twisted``
    runner and the magics on this shell.  Prints nothing, except when the
    reactor that is installed already cannot run asyncio code.

    Args:
        ipython: the shell.

    Raises:
        RuntimeError: the reactor was stopped, or nobody runs it.

    Thread: cell.
    """
    with _without_collecting():
        from twisted_ipython._extension import load

        load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """
    Unload the extension: ``%unload_ext twisted_ipython``.

    The shell is put back as it was, after the cell that awaits if one does.
    The reactor goes on, as do pending jobs, whose results stay usable; a later
    load finds it.

    Args:
        ipython: the shell.

    Thread: cell.
    """
    from twisted_ipython._extension import unload

    unload(ipython)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Collect no garbage: hundreds of imports leave none, and trying takes a sixth of them."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()  # what is new is old now, so that the next collection is not of all
            gc.unfreeze()
        gc.enable()


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: importing the package is quick.  Thread: any."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
