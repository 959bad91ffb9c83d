"""
A kernel's messages: each belongs to the cell whose work sent it, and none is lost.

What the kernel publishes goes through one method of its one session, in the thread that
published it, except text: that is sent a little later by a thread of ipykernel's, with the
parent that it had when it was written.  The method is set on the session instance:

- ipykernel before 7 keeps one parent for all displays.  What is displayed in
  the reactor thread and the pool's gets that of the context's cell.
- Before 7.1 it also keeps one for each thread without a cell in its context: that of
  the cell that made the thread.  Text of a call in the reactor thread that belongs to no
  cell would go to the cell that loaded us, and displays of 7.0.0 would fail.  Such calls
  are made in a copy of the running cell's context.
- `_display.late_output` decides what a client gets that keeps the running cell's output only.
  Deciding and sending are one step: a message that is to come before a cell's
  end must not be sent after it.
- What the cell of a job shows is kept, as `_display.job_output` says.
- `_display.threads` has the threads that a cell's code makes belong to that cell.

``shell.set_parent`` does nothing in the reactor thread and the pool's: what
runs there has its cell, and what it would set holds for other threads too
(ipywidgets' ``with Output():`` calls it).

What can still go wrong.  A child that `os.fork` made sends its text by itself,
under the cell that made it.

Thread: any.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

from twisted_ipython._base.instance import override
from twisted_ipython._display import threads
from twisted_ipython._display.job_output import RECORDED, JobOutput
from twisted_ipython._display.late_output import Late, Message
from twisted_ipython._private.ipykernel import NEW_THREADS_PARENT, PARENT
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.lifecycle import current

# The header of the request that runs a cell, in that cell's context.
_cell: Final[ContextVar[dict[str, Any]]] = ContextVar("twisted_ipython_cell")
_PER_CONTEXT: Final = frozenset({"display_data", "update_display_data", "clear_output", "error"})


def attach(
    shell: Any, kernel: Any, elsewhere: Callable[[], bool], loop: AbstractEventLoop | None
) -> Callable[[], None]:
    """
    Set what sends messages on the session of the shell's kernel, if it has one.

    Args:
        shell: the shell.
        kernel: the shell's, or None.
        elsewhere: whether the caller runs in the reactor thread or the pool's.
        loop: the reactor's loop, if it has one.

    Returns:
        what takes it off; what waits for a cell then goes to the process's stderr.

    Thread: cell.
    """
    session: Any = getattr(kernel, "session", None)
    if session is None or not hasattr(kernel, "get_parent"):
        return lambda: None
    # ipykernel up to 6.31 keeps one parent for all displays.
    one_parent = hasattr(shell.display_pub, "set_parent") and not hasattr(shell.display_pub, PARENT)
    messages = _Messages(session.send, elsewhere, one_parent=one_parent)
    messages.begin(kernel.get_parent() or {}, shell.execution_count)
    undo = ExitStack()
    undo.callback(messages.end)
    undo.callback(override(session, {"send": messages.send}))
    if loop is not None and hasattr(kernel, NEW_THREADS_PARENT):  # before 7.1
        undo.callback(override(loop, {"call_soon_threadsafe": messages.in_a_cell(loop)}))
    if loop is not None:
        undo.callback(override(loop, {"run_in_executor": threads.run_in_executor(loop)}))
    jobs = current().jobs
    jobs.when_begun.append(messages.record)
    undo.callback(jobs.when_begun.remove, messages.record)
    undo.callback(threads.attach(_cell))
    if hasattr(shell, "set_parent"):
        own = shell.set_parent
        undo.callback(
            override(shell, {"set_parent": lambda *a, **k: None if elsewhere() else own(*a, **k)})
        )
    undo.callback(atexit.unregister, messages.end)
    atexit.register(messages.end)
    return undo.close


class _Messages:
    """What one kernel sends."""

    def __init__(
        self, send: Callable[..., Any], elsewhere: Callable[[], bool], *, one_parent: bool
    ) -> None:
        self._send = send
        self._elsewhere = elsewhere
        self._one_parent = one_parent
        self._late = Late(self._write)
        self._lock = threading.RLock()  # what a collected object prints comes in the middle
        # What cells of jobs have shown, by the requests that ran them; the jobs hold it.
        self._outputs: WeakValueDictionary[str, JobOutput] = WeakValueDictionary()
        self._process = os.getpid()
        self._stderr = 2
        with suppress(AttributeError, OSError, ValueError):
            self._stderr = sys.stderr.fileno()  # ipykernel's is the process's own
        self._running = copy_context()

    def begin(self, request: dict[str, Any], number: int) -> None:
        """Note a cell that runs already."""
        if request.get("header"):
            self._enter(request["header"])
            for _ in self._late.begin(request, number):
                pass

    def record(self, job: Job) -> None:
        """Keep what the cell of a job that begins shows.  Thread: any, in the cell's context."""
        number = _cell.get({}).get("msg_id")
        if number is not None:
            job.output = self._outputs.get(number)
            if job.output is None:
                job.output = JobOutput(self._send_message, self._lock, lambda: _cell.get({}))
                self._outputs[number] = job.output

    def in_a_cell(self, loop: AbstractEventLoop) -> Callable[..., Any]:
        """``loop.call_soon_threadsafe``, whose calls belong to the running cell or another."""
        original = loop.call_soon_threadsafe

        def call_soon_threadsafe(
            callback: Callable[..., object], *args: Any, context: Context | None = None
        ) -> Any:
            if context is None and _cell not in copy_context():
                context = self._running.copy()
            return original(callback, *args, context=context)

        return call_soon_threadsafe

    def send(self, stream: Any, msg_or_type: Any, *args: Any, **kwargs: Any) -> Any:
        """``session.send``; any thread."""
        kind = msg_or_type if isinstance(msg_or_type, str) else msg_or_type["msg_type"]
        as_asked = partial(self._send, stream, msg_or_type, *args, **kwargs)
        # First what most messages come to: a cell has at least four.
        concerned = kind in self._late.concerns or (
            kind in RECORDED and (self._one_parent or self._outputs)
        )
        if not concerned or os.getpid() != self._process:
            return as_asked()
        return self._publish(_message(stream, msg_or_type, *args, **kwargs), as_asked)

    def _publish(self, message: Message, as_asked: Callable[[], Any]) -> Any:
        """Send a message, or what is sent in its place."""
        if self._one_parent and message.kind in _PER_CONTEXT and self._elsewhere():
            message = message._replace(parent=_cell.get(message.parent))
            as_asked = partial(self._send_message, message)
        output = self._outputs.get(message.origin) if message.kind in RECORDED else None
        if output is None and message.kind not in self._late.concerns:
            return as_asked()
        if message.kind == "execute_input":
            self._enter(message.header)
        with self._lock:
            sent = None
            for one in self._late.to_send(message):
                sent = as_asked() if one is message else self._send_message(one)
            if output is not None:
                output.add(message)
            return sent

    def _enter(self, header: dict[str, Any]) -> None:
        """Note the cell that runs, in its context."""
        _cell.set(header)
        self._running = copy_context()

    def _send_message(self, message: Message) -> Any:
        stream, ident, buffers, about = message.rest
        kind, content, parent = message.kind, message.content, message.parent
        return self._send(stream, kind, content, parent, ident, buffers, metadata=about)

    def end(self) -> None:
        """Give what waits for a cell to the process's own stderr.  Thread: cell."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
                stream.flush()
        with self._lock:
            self._late.end()

    def _write(self, message: Message) -> None:
        with suppress(OSError):  # nobody reads it any more
            os.write(self._stderr, self._late.text(message).encode())


def _message(
    stream: Any,
    msg_or_type: Any,
    content: dict[str, Any] | None = None,
    parent: dict[str, Any] | None = None,
    ident: Any = None,
    buffers: Any = None,
    track: bool = False,  # noqa: ARG001  # these two are its own
    header: dict[str, Any] | None = None,  # noqa: ARG001
    metadata: dict[str, Any] | None = None,
) -> Message:
    """What ``session.send`` was asked for."""
    if isinstance(msg_or_type, str):
        kind = msg_or_type
    else:
        kind, metadata = msg_or_type["msg_type"], msg_or_type["metadata"]
        content, parent = msg_or_type["content"], msg_or_type["parent_header"]
    return Message(kind, content or {}, parent or {}, (stream, ident, buffers, metadata))
