"""
What ipykernel does not do by itself: it ends in time, and answers comms while a cell awaits.

ipykernel (7.4) asks its children to end and waits, up to 28 s, until there are none.  One that
`subprocess` started stays in the table of processes, as a zombie, until somebody asks for its
status.  If zombies counted, a kernel of which a cell has started a child would take more than
25 s to end (seen), not the 2 s that are promised: its front end would kill it.

ipykernel (7.4) handles a comm's message while a cell awaits, but says neither busy nor idle
for it: ipywidgets waits for that idle, and holds back every later change of the same slider.

Thread: cell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from twisted_ipython._base.instance import override
from twisted_ipython._base.running_loop import put_back
from twisted_ipython._base.switch_interval import BRIEF, turns_of
from twisted_ipython._private.ipykernel import PROCESS_CHILDREN
from twisted_ipython._waiting.sigint import watch

NO_ANSWER: Final = (  # seen in ipyparallel 9.2
    "An engine of ipyparallel's with ipykernel 7 never answers a cell that awaits, whoever runs it:"
    " install 'ipykernel<7' for the engines. %%run_in_reactor works."
)

_Method = Callable[..., Any]
# What ipykernel says of a message that it handles beside a cell (7.4).
_CONCURRENT: Final = "concurrent"


def answers(kernel: Any) -> bool:
    """Whether a kernel answers cells that await.  Thread: any."""
    is_engine = type(kernel).__module__.partition(".")[0] == "ipyparallel"
    return not (is_engine and sys.modules["ipykernel"].version_info >= (7,))


def attach(kernel: Any) -> Callable[[], None]:
    """Set on a kernel what it has and does not do by itself; returns what takes it off."""
    ways: dict[str, Callable[[Any, _Method], _Method]] = {
        "post_handler_hook": _watching,
        PROCESS_CHILDREN: _running,
        "dispatch_shell": _saying_status,
    }
    own = {name: getattr(kernel, name) for name in ways if hasattr(kernel, name)}
    return override(kernel, {name: ways[name](kernel, method) for name, method in own.items()})


def _watching(_: Any, own: _Method) -> _Method:
    """Ctrl-C is watched after each message, where ipykernel ignores it."""

    def post_handler_hook() -> None:
        own()
        put_back()  # no Ctrl-C can come between here
        watch()

    return post_handler_hook


def _running(_: Any, own: _Method) -> _Method:
    """Of a kernel's children only those that run."""

    def process_children() -> list[Any]:
        # psutil's, which ipykernel has imported by now; its constant is this word.  It reads a
        # file for each process of the machine, which takes long beside a stuck reactor.
        with turns_of(BRIEF):
            return [child for child in own() if _status(child) != "zombie"]

    return process_children


def _status(child: Any) -> str:
    """A process's state in psutil's words; one that is gone is as good as a zombie."""
    try:
        return str(child.status())
    except Exception:  # psutil.NoSuchProcess
        return "zombie"


def _saying_status(kernel: Any, own: _Method) -> _Method:
    """What handles a message says busy and idle for one beside a cell."""

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

    return dispatch_shell


def _publish(kernel: Any, state: str, parent: dict[str, Any]) -> None:
    topic = f"kernel.{kernel.ident}.status".encode()
    content = {"execution_state": state}
    kernel.session.send(kernel.iopub_socket, "status", content, parent=parent, ident=topic)
