"""
What a kernel does not do by itself: it ends in time, and answers comms while a cell awaits.

Child processes that have ended do not keep a kernel that shuts down.  ipykernel (7.4) asks
its children to end and waits, up to 28 s, until there are none.  One that `subprocess` started
stays in the table of processes, as a zombie, until somebody asks for its status: a kernel of
which a cell has started a child is then killed by its front end, and nothing ends in order.

ipykernel (7.4) handles a comm's message while a cell awaits, but says neither busy nor idle
for it: ipywidgets waits for that idle, and holds back every later change of the same slider.

An engine of ipyparallel's (9.2) with ipykernel 7 never answers a cell that awaits, whoever runs it.

Thread: cell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from typing import Any, Final

from twisted_ipython._base.instance import override
from twisted_ipython._base.switch_interval import BRIEF, turns_of
from twisted_ipython._private.ipykernel import PROCESS_CHILDREN

__all__ = ["NO_ANSWER", "answers", "ignore_ended", "say_status"]

NO_ANSWER: Final = (
    "An engine of ipyparallel's with ipykernel 7 never answers a cell that awaits, whoever runs it:"
    " install 'ipykernel<7' for the engines. %%run_in_reactor works."
)

# What ipykernel says of a message that it handles beside a cell (7.4).
_CONCURRENT: Final = "concurrent"


def ignore_ended(kernel: Any) -> Callable[[], None]:
    """
    Have a kernel count only children that run.

    Returns:
        what undoes it.

    Thread: cell.
    """
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


def answers(kernel: Any) -> bool:
    """Whether a kernel answers cells that await.  Thread: any."""
    is_engine = type(kernel).__module__.partition(".")[0] == "ipyparallel"
    return not (is_engine and sys.modules["ipykernel"].version_info >= (7,))


def say_status(kernel: Any) -> Callable[[], None]:
    """
    Have a kernel say busy and idle for what it handles beside a cell.

    Returns:
        what undoes it.

    Thread: cell.
    """
    own = getattr(kernel, "dispatch_shell", None)
    if own is None or _CONCURRENT not in signature(own).parameters:
        return lambda: None

    async def dispatch_shell(message: Any, /, **options: Any) -> None:
        if not options.get(_CONCURRENT):
            await own(message, **options)
            return
        _, frames = kernel.session.feed_identities(message, copy=False)
        parent = kernel.session.deserialize(frames, content=False, copy=False)
        _publish(kernel, "busy", parent)
        try:
            await own(message, **options)
        finally:
            _publish(kernel, "idle", parent)

    return override(kernel, {"dispatch_shell": dispatch_shell})


def _publish(kernel: Any, state: str, parent: dict[str, Any]) -> None:
    """Publish a status as ipykernel does."""
    topic = f"kernel.{kernel.ident}.status".encode()
    content = {"execution_state": state}
    kernel.session.send(kernel.iopub_socket, "status", content, parent=parent, ident=topic)
