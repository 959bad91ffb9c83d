"""
What asyncio, and Python below it, keep private, as seen in Python 3.11 to 3.15.

`running_loop`, `set_running_loop`, `enter_task` and `leave_task` are what asyncio has for
other loops and tasks: without them nothing here works.  Each of the others says what is
done without its name.

Thread: any.
"""

from __future__ import annotations

import _asyncio
import _signal  # type: ignore[import-not-found]  # typeshed leaves it out
import asyncio
import gc
import sys
import threading
from asyncio import AbstractEventLoop, Future, Server
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from types import CodeType
from typing import Any, Final
from weakref import WeakSet

# Where asyncio has the policies that it begins with.
_DEFAULT_POLICIES: Final = ("asyncio.unix_events", "asyncio.windows_events")
# As those of `signal`, which take 5 us or more each to look for the handler in an enum: an
# awaiting cell calls four of them.  Without: those.
getsignal, set_signal = _signal.getsignal, _signal.signal
enter_task, leave_task = asyncio.tasks._enter_task, asyncio.tasks._leave_task
running_loop = asyncio._get_running_loop
set_running_loop = asyncio._set_running_loop

# What transports call on a loop, and what a loop calls in debug mode: those that are gone are
# not set.
TRANSPORT_METHODS: Final = ("_add_reader", "_remove_reader", "_add_writer", "_remove_writer")
CHECK_THREAD: Final = "_check_thread"
# True for a future that failed and that nobody handled; its exception, which stays unhandled.
# Without: asyncio tells when it is collected; it is shown as done.
LOG_TRACEBACK: Final = "_log_traceback"
EXCEPTION: Final = "_exception"
# The loop of a transport or a server, a server's factory, and what only sockets' transports have.
# Without: `%reactor` lists none.
LOOP: Final = "_loop"
PROTOCOL_FACTORY: Final = "_protocol_factory"
# The server that accepted a connection.  Without: it is nobody's.
SERVER: Final = "_server"
SOCKET: Final = "_sock_fd"

_NOTHING: Final = compile("", "<nothing>", "exec")


def code_of(owner: Any, name: str) -> CodeType:
    """What the frames of a function have; without, or in C, a code that no frame has."""
    code = getattr(getattr(owner, name, None), "__code__", None)
    return code if isinstance(code, CodeType) else _NOTHING


# What needs a task, as one of the two frames above tells.  Without: asyncio's own words.
TIMEOUT: Final = code_of(asyncio.Timeout, "__aenter__")
WAIT_FOR: Final = code_of(asyncio, "wait_for")
# What runs a callback of the loop's, and with it a Task's step.
RUN: Final = code_of(asyncio.Handle, "_run")
TASK_GROUP: Final = code_of(asyncio.TaskGroup, "create_task")

# Whether this thread holds an RLock.
owns: Callable[[Any], bool] = type(threading.RLock())._is_owned  # type: ignore[attr-defined]


def timer_is_due(loop: Any) -> bool:
    """Whether a timer of the loop may be due; without, no: uvloop runs what is due first."""
    heap: list[Any] = getattr(loop, "_scheduled", [])
    return bool(heap) and heap[0]._when <= loop.time()


def silence(task: Future[Any]) -> None:
    """Have nothing logged if the task is collected while it is pending."""
    with suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def abort_clients(server: Server, transports: Iterable[Any]) -> None:
    """`Server.abort_clients`, and what it does for those before Python 3.13; without, nothing."""
    if sys.version_info >= (3, 13):
        server.abort_clients()
        return
    for transport in transports:
        if getattr(transport, "_server", None) is server:
            transport.abort()


def context_served(loop: Any, descriptor: int) -> Context | None:
    """The context in which a loop serves a file descriptor; without, none."""
    selector = getattr(loop, "_selector", None)
    key = None if selector is None else selector.get_map().get(descriptor)
    handle = None if key is None else key.data[0] or key.data[1]
    return getattr(handle, "_context", None)


# The module of the code that called, so many frames up, without its frame, which costs more.
# Without, as on Python 3.11: None, and the caller is known by its frame.
module_of_caller: Final[Callable[[int], str | None] | None] = getattr(
    sys, "_getframemodulename", None
)


def context_of(task: asyncio.Task[Any]) -> Context | None:
    """The context in which a task runs; without, none."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    # What the Task refers to has it before those of its callbacks.
    return next((one for one in gc.get_referents(task) if isinstance(one, Context)), None)


def in_handle(handle: Any) -> tuple[Any, Context | None]:
    """The function that a handle runs, and its context; without, none."""
    return getattr(handle, "_callback", None), getattr(handle, "_context", None)


def arguments_of_callback(loop: Any) -> tuple[Any, ...]:
    """Those of the callback that a loop in debug mode runs; without, none."""
    return getattr(getattr(loop, "_current_handle", None), "_args", None) or ()


def task_sets() -> list[Any]:
    """The sets of tasks that are not of asyncio's class; without, as before 3.14, none."""
    # There the module refers to objects that it has freed for later use: to hold one would
    # free it twice, and the next collection of garbage would never end.
    found = gc.get_referents(_asyncio) if sys.version_info >= (3, 14) else []
    return [one for one in found if isinstance(one, WeakSet)]


def foreign_policy() -> str | None:
    """The class of a loop policy that is not asyncio's, in words; without, none."""
    # Python 3.14 warns of the public name.
    get = getattr(asyncio.events, "_get_event_loop_policy", None)
    kind = type(get() if get is not None else asyncio.get_event_loop_policy())
    if any(one.__module__ in _DEFAULT_POLICIES for one in kind.__mro__):
        return None
    return f"{kind.__module__}.{kind.__name__}"


if sys.version_info >= (3, 14):

    def loop_set() -> AbstractEventLoop | None:
        """The loop that `asyncio.get_event_loop` gives, if there is one."""
        with suppress(RuntimeError):
            return asyncio.get_event_loop()
        return None

    set_loop = asyncio.set_event_loop

else:

    def loop_set() -> AbstractEventLoop | None:
        """The loop that `asyncio.get_event_loop` would give; without, none."""
        # That would make one on Python 3.11, and warn of it on 3.12 and 3.13.
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
        loop: AbstractEventLoop | None = getattr(local, "_loop", None)
        return loop

    def set_loop(loop: AbstractEventLoop | None) -> None:
        """Have `asyncio.get_event_loop` give a loop, or make one as if none had been set."""
        asyncio.set_event_loop(loop)
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
        if loop is None and local is not None:
            local._set_called = False
