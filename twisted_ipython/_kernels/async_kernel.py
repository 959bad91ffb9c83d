"""
async-kernel (0.23), whose cells are tasks of a loop, asyncio's or trio's.

`attach` sets a few methods on the shell's instance, and gives the kernel by the names that
ipykernel has for the same things, which is what the package asks for.

What is different.  Each ``%magic`` and ``!command`` of a cell becomes an ``await`` in its
text: that is the kernel's, and makes no awaiting cell; in one it is done by the kernel's loop.
The stop button is a message, which cancels what runs cells, and is a signal only for a loop that
stands still.  A cell's KeyboardInterrupt, which would end the kernel, is shown as IPython shows it.

Each subshell is a shell of its own, which loads the extension for itself.

Thread: cell, unless a docstring says otherwise.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from contextvars import ContextVar
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell
from twisted.internet.defer import Deferred, execute

from twisted_ipython._base.borrowed_sigint import sigint
from twisted_ipython._base.instance import override
from twisted_ipython._base.tracebacks import tidy, users_frames_only
from twisted_ipython._cells.autoawait import AutoAwait
from twisted_ipython._plain.sharing import Statement, shares
from twisted_ipython._private.async_kernel import CANCELLER, INTERRUPTED
from twisted_ipython._reactor.thread import ReactorThread
from twisted_ipython._waiting.calls import waiting_cell
from twisted_ipython._waiting.cell_thread import CellThread, Waitable, is_blocking
from twisted_ipython._waiting.loop_thread import current_thread

# What it makes of a magic that `_cells.await_magics` has awaited already, and what is meant.
_TWICE: Final = re.compile(r"await (await get_ipython\(\)\.run_(?:line|cell)_magic)_async\(")
_ONCE: Final = r"\1("
# What asyncio and trio raise in a task that is cancelled, as a magic of a plain cell is.
_CANCELLED: Final = {"CancelledError", "Cancelled"}
_COMMS: Final = ("comm_open", "comm_msg", "comm_close")
# Its magics that name the loop that is to run a cell.
_BACKENDS: Final = frozenset({"asyncio", "trio"})

_named: Final[ContextVar[bool]] = ContextVar("twisted_ipython_named", default=False)


def prepare(shell: Any) -> Callable[[], None]:
    """What has to be set on the shell before `AutoAwait` is made; returns what undoes it."""
    # async-kernel's own leaves a KeyboardInterrupt to its loop, which would end.
    run_code = InteractiveShell.run_code.__get__(shell)
    runners = {str(shell.kernel.caller.backend): (None, True)}
    own: Callable[..., None] = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        error: Any = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        if type(error).__name__ in _CANCELLED and INTERRUPTED in str(error):
            interrupt = KeyboardInterrupt().with_traceback(error.__traceback__)
            tidy(users_frames_only(interrupt))
            exc_tuple = type(interrupt), interrupt, interrupt.__traceback__
        own(exc_tuple, *args, **kwargs)

    methods = {"run_code": run_code, "loop_runner_map": runners, "showtraceback": showtraceback}
    return override(shell, methods)


def attach(shell: Any, auto: AutoAwait, thread: ReactorThread, undo: ExitStack) -> Any:
    """Set what async-kernel needs on its shell; gives the kernel by ipykernel's names."""
    from async_kernel.kernel import KernelInterrupt

    kernel = AsyncKernel(shell.kernel)
    auto.thread_of_cell = lambda: _thread_of_cell(kernel.caller.current_pending())
    auto.left = _named.get
    transform: Callable[[str], str] = shell.transform_cell_async
    awaited = {
        "run_line_magic_async": _awaiting(shell.run_line_magic, "line", kernel, auto),
        "run_cell_magic_async": _awaiting(shell.run_cell_magic, "cell", kernel, auto),
        "system": shell.system,
    }
    methods = {name: _in_kernel(own, kernel, thread) for name, own in awaited.items()}
    methods["transform_cell_async"] = lambda text: _TWICE.sub(_ONCE, transform(text))
    undo.callback(override(shell, methods))
    comms = kernel.own.comm_manager
    undo.callback(override(comms, {name: shares(getattr(comms, name)) for name in _COMMS}))
    for connection in kernel.own.parent.connections:
        undo.callback(override(connection, {"iopub_send": kernel.publishing(connection)}))
    undo.callback(sigint.translate(KernelInterrupt))
    _note_values(shell, undo)
    return kernel


class AsyncKernel:
    """A kernel of async-kernel's, ``own``, by the names that ipykernel has."""

    def __init__(self, own: Any) -> None:
        import async_kernel

        self.own = own
        self.caller: Any = async_kernel.Caller
        self.pending: Any = async_kernel.Pending
        self.get_parent: Callable[[], Any] = own.get_parent
        self.raw_input: Callable[..., str] = own.raw_input
        self.getpass: Callable[..., str] = own.getpass
        self.io_loop = self.session = self

    def add_callback(self, function: Callable[[], object]) -> None:
        """Call a function in the kernel's loop.  Thread: any."""
        self.own.caller.call_direct(function)

    def publish(self, kind: str, content: dict[str, Any], **about: Any) -> None:
        """Publish a message of the current context's cell.  Thread: any."""
        self.own.parent.iopub_send(kind, content, **about)

    def send(
        self,
        connection: Any,
        kind: str,
        content: dict[str, Any],
        parent: Any,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,  # noqa: ARG002  # these two are ipykernel's
        header: Any = None,  # noqa: ARG002
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """``session.send``, for a connection as the stream.  Thread: any."""
        about = {"parent": parent, "metadata": metadata, "buffers": buffers}
        message = connection.msg(kind, content, "iopub", **about)
        connection.send_message_no_reply(message, ident)

    def publishing(self, connection: Any) -> Callable[..., None]:
        """A connection's ``iopub_send``, by way of `send`, which may be set on this instance."""

        def iopub_send(kind: str, content: Any, *, parent: Any = ..., **rest: Any) -> None:
            if not isinstance(parent, dict | None):  # async-kernel has its own mark of none given
                parent = self.get_parent()
            # Its update_display_data has a name that no front end knows.
            kind = str(kind).removeprefix("iopub_")
            self.send(connection, kind, content, parent, **rest)

        return iopub_send


class _KernelThread:
    """A cell thread of async-kernel's: who cancels its task interrupts the cell, each time."""

    def __init__(self, thread: CellThread, pending: Any) -> None:
        self.thread = thread.thread
        self.call = thread.call
        self._wait = thread.wait
        self._pending = pending

    async def wait(self, cell: Waitable) -> None:
        """See `CellThread`."""
        before = getattr(self._pending, CANCELLER, None) or (lambda _: None)
        self._pending.set_canceller(lambda _: self.call(cell.interrupt))
        try:
            await self._wait(cell)
        finally:
            self._pending.set_canceller(before)


def _thread_of_cell(pending: Any) -> CellThread:
    """This thread, for a cell that is a task of the kernel's, or is run inside of one."""
    thread = current_thread()
    return thread if pending is None or is_blocking() else _KernelThread(thread, pending)


def _awaiting(
    own: Callable[..., Any], kind: str, kernel: AsyncKernel, auto: AutoAwait
) -> Callable[..., Any]:
    """``shell.run_line_magic_async`` and its like, which shares the reactor as statements do."""
    shell: Any = auto.shell

    async def run_magic(magic_name: str, *args: Any) -> Any:
        token = _named.set(magic_name in _BACKENDS)
        try:
            async with kernel.caller().create_pending_group(mode=1):
                with Statement() if auto.on else nullcontext():
                    result = _call(own, magic_name, *args)
                # What async-kernel's own give is awaited, but no Deferred that is a value.
                is_own = iscoroutinefunction(shell.find_magic(magic_name, kind))
                return await result if is_own or isinstance(result, kernel.pending) else result
        finally:
            _named.reset(token)

    return run_magic


def _call(_magic: Callable[..., Any], /, *_args: Any) -> Any:
    """Call a magic, which looks names up in the frame that calls it."""
    return _magic(*_args)


def _in_kernel(
    own: Callable[..., Any], kernel: AsyncKernel, thread: ReactorThread
) -> Callable[..., Any]:
    """A method that awaits a magic or command: that of an awaiting cell, in the kernel's loop."""

    @wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        """What is to be awaited.  Thread: any."""
        if not thread.here():
            return own(*args, **kwargs)
        cell = waiting_cell(any_cell=False)
        ident = None if cell is None else cell.cell_thread.thread
        caller = (ident and kernel.caller.get_existing(ident)) or kernel.own.caller

        async def awaited() -> Any:
            return await own(*args, **kwargs)  # `system` gives what is no coroutine

        pending = caller.call_soon(awaited)
        result: Deferred[Any] = Deferred(lambda _: pending.cancel())
        pending.add_done_callback(lambda _: thread.call(_fire, result, pending))
        return result

    return call


def _fire(result: Deferred[Any], pending: Any) -> None:
    """Fire a Deferred with what a task of the kernel's came to.  Thread: reactor."""
    if not result.called:
        execute(pending.result).chainDeferred(result)


def _note_values(shell: Any, undo: ExitStack) -> None:
    """Have results of cells hold their values, as IPython's do."""
    shown: ContextVar[Any] = ContextVar("twisted_ipython_shown", default=None)
    own = shell.displayhook.update_user_ns

    def update_user_ns(value: Any) -> None:
        shown.set(value)
        own(value)

    def end_cell(result: Any) -> None:
        if result is not None:
            result.result = shown.get()
        shown.set(None)  # a context may live long

    undo.callback(override(shell.displayhook, {"update_user_ns": update_user_ns}))
    shell.events.register("post_run_cell", end_cell)
    undo.callback(shell.events.unregister, "post_run_cell", end_cell)
