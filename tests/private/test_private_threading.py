"""The names of threading's and of matplotlib's inline backend that `_private` uses."""

from __future__ import annotations

from importlib import import_module
from threading import Thread
from typing import Any

from twisted_ipython._private import matplotlib, threading


def test_threading_tells_who_makes_a_thread() -> None:
    """A thread is in the set as soon as it is made, and calls what was set before its code."""
    called: list[str] = []
    thread = Thread(target=called.append, args=("code",))
    assert thread in threading.made(), "threading has no `_dangling` any more"
    threading.when_begun(thread, lambda: called.append("begun"))
    thread.start()
    thread.join(20)
    # From Python 3.14 on a thread has two contexts.
    assert called in (["begun", "code"], ["begun", "begun", "code"])


def test_matplotlib_inline_notes_what_is_drawn() -> None:
    """The flags of `show` are there."""
    inline: Any = import_module("matplotlib_inline.backend_inline")
    names = {"_draw_called", "_to_draw"}
    assert names <= vars(inline.show).keys(), "matplotlib-inline has other names"
    matplotlib.set_drawn(inline, False)
    assert not matplotlib.was_drawn(inline)
    assert not matplotlib.take_drawn(inline, object())
    assert hasattr(inline, "_fetch_figure_metadata"), "matplotlib-inline has another name for it"
