"""
Child processes that have ended do not keep a kernel that shuts down.

ipykernel (7.4) asks its children to end and waits, up to 28 s, until there are
none.  One that `subprocess` started stays in the table of processes, as a
zombie, until somebody asks for its status: a kernel of which a cell has started
a child is then killed by its front end, and nothing ends in order.

Cell thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_ipython._base.instance import override
from twisted_ipython._base.switch_interval import BRIEF, turns_of
from twisted_ipython._private.ipykernel import PROCESS_CHILDREN

__all__ = ["ignore_ended"]


def ignore_ended(kernel: Any) -> Callable[[], None]:
    """Have the kernel count only children that run; returns what undoes it."""
    children = getattr(kernel, PROCESS_CHILDREN, None)
    if children is None:
        return lambda: None

    def running() -> list[Any]:
        # psutil's, which ipykernel has imported by now; its constant is this word.  It reads a
        # file for each process of the machine, which takes long beside a stuck reactor.
        with turns_of(BRIEF):
            return [child for child in children() if _status(child) != "zombie"]

    return override(kernel, {PROCESS_CHILDREN: running})


def _status(child: Any) -> str:
    """A process's state in psutil's words; one that is gone is as good as a zombie."""
    try:
        return str(child.status())
    except Exception:  # psutil.NoSuchProcess
        return "zombie"
