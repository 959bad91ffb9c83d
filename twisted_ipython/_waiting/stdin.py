"""
`input()` and `getpass()` in the reactor thread: asked where a cell waits.

The goal.  Code of an awaiting cell may ask the user, and so may a debugger in
it: `pdb` asks by ``input``.  Code that nobody waits for is told so at once.

What fails.  In the reactor thread a question blocks everything, and Ctrl-C,
which only reaches the main thread, does not end it.  At a prompt two threads
would read the same terminal.  A kernel that idles would read a pipe into which
nobody ever writes.

What we do.  While the extension is loaded ``builtins.input`` and
``getpass.getpass`` are ours, as ipykernel's are while it runs a cell (ours are
what it puts back).  ipykernel's end in one method of the kernel, which is set
on that instance.  A question of the reactor thread, or of another thread that
works for a cell, is put by the thread that waits for the cell, which gets
Ctrl-C; the one that asks blocks until then.  All other threads ask as ever.
``breakpoint()`` in a kernel is debugpy's, and does nothing while no front end
debugs; then ours starts IPython's debugger for code of the reactor thread and
its pool.

What can still go wrong.  While a question stands, the reactor does not turn.
Who took ``getpass.getpass`` by ``from`` import at a terminal, before loading,
has Python's own.
"""

from __future__ import annotations

import builtins
import getpass
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from time import monotonic
from typing import Any, Final

from twisted_ipython._base.borrowed_sigint import give_back
from twisted_ipython._base.frames import callers, module_of
from twisted_ipython._base.instance import override
from twisted_ipython._private.ipykernel import INPUT_REQUEST, SAVED_GETPASS, SAVED_INPUT
from twisted_ipython._reactor.interrupt import CHECK_INTERVAL, wait_for
from twisted_ipython._reactor.lifecycle import started
from twisted_ipython._waiting.calls import waiting_cell
from twisted_ipython._waiting.cell_thread import Waitable
from twisted_ipython._waiting.sigint import Breakable

NOBODY_WAITS: Final = (
    "input() was called in the reactor thread while no cell waits, so nobody can answer. Ask"
    " before, in a plain cell, or in a cell that awaits (or `%%run_in_reactor --wait`)."
)
NO_DEBUGGER: Final = (
    "A debugger was started in the reactor thread while no cell waits, so nobody can talk to it."
    " Use breakpoint() in a cell that awaits (or `%%run_in_reactor --wait`), or `%debug` after a"
    " failure."
)


class _Question(Breakable):
    """
    One question, put in the thread that waits for a cell.

    Args:
        cell: the cell.
        ask: what asks, and gives the answer.
        debugs: whether a debugger asks, which would ask again after Ctrl-C: it
            is told that nothing more comes, and the cell is interrupted.
    """

    def __init__(self, cell: Waitable, ask: Callable[[], str], *, debugs: bool) -> None:
        super().__init__(self._put)
        self._cell = cell
        self._ask = ask
        self._debugs = debugs
        self._answered = threading.Event()
        self._answer = ""
        self._error: BaseException | None = None

    def __call__(self) -> None:
        """Ask, if the cell still waits; never raises.  Thread: cell."""
        if not self._cell.waits:
            return
        asked = monotonic()
        try:
            super().__call__()
        except BaseException as error:
            self._error = error.with_traceback(None)
            if self._debugs and isinstance(error, KeyboardInterrupt):
                self._error = EOFError()
                self._cell.interrupt()
        finally:
            self._cell.extend_deadline(monotonic() - asked)
            self._answered.set()

    def _put(self) -> None:
        self._answer = self._cell.in_context(self._ask)

    def answer(self) -> str:
        """Block until it is answered, by an exception where nobody does.  In who asks."""
        self._cell.cell_thread.call(self)
        wait_for(self._answered, lambda: CHECK_INTERVAL if self._cell.waits else 0)
        if not self._answered.is_set():
            raise RuntimeError(NOBODY_WAITS)
        if self._error is not None:
            raise self._error
        return self._answer


def _ask(here: Callable[[], str], there: Callable[[], str]) -> str:
    """Ask in the right thread: by ``here`` if it is this one.  Thread: any."""
    give_back()
    if threading.current_thread() is threading.main_thread():
        return here()
    thread = started()
    in_reactor = thread is not None and thread.here()
    cell = waiting_cell(any_cell=in_reactor)
    if cell is None and in_reactor:
        raise RuntimeError(NO_DEBUGGER if _in_debugger() else NOBODY_WAITS)
    if cell is None or cell.cell_thread.thread == threading.get_ident():
        return here()
    return _Question(cell, there, debugs=_in_debugger()).answer()


def _in_debugger() -> bool:
    """Whether the loop of a debugger asks."""
    if (cmd := sys.modules.get("cmd")) is None:  # then none has begun
        return False
    for frame in callers(sys._getframe(1)):
        if frame.f_code is cmd.Cmd.cmdloop.__code__:
            return True
        if not module_of(frame).startswith((__name__, "ipykernel.")):
            break  # who asks
    return False


def attach(kernel: Any) -> Callable[[], None]:
    """Have questions asked in the right thread; returns what undoes it.  Thread: cell."""
    undo = ExitStack()
    request = getattr(kernel, INPUT_REQUEST, None)
    if request is not None:

        def input_request(prompt: str, *args: Any, password: bool = False) -> str:
            return _ask(
                partial(request, prompt, *args, password=password),
                partial(kernel.getpass if password else kernel.raw_input, prompt),
            )

        undo.callback(override(kernel, {INPUT_REQUEST: input_request}))
    undo.callback(_replace(builtins, "input", kernel, SAVED_INPUT, "raw_input"))
    undo.callback(_replace(getpass, "getpass", kernel, SAVED_GETPASS, "getpass"))
    undo.callback(_replace_breakpoint())
    return undo.close


def _replace_breakpoint() -> Callable[[], None]:
    """Have `breakpoint` debug code that a cell waits for; returns what puts back what there was."""
    own: Any = sys.breakpointhook
    if not str(getattr(own, "__module__", "")).startswith("debugpy."):
        return lambda: None

    def hook(*args: Any, **kwargs: Any) -> Any:
        thread = started()
        here = thread is not None and thread.works_here()
        # A front end debugs, by way of debugpy.
        debugged = here and sys.modules["debugpy"].is_client_connected()
        if not here or debugged or os.environ.get("PYTHONBREAKPOINT"):
            return own(*args, **kwargs)  # it stops at the next line: the user's
        from IPython.core import debugger

        return debugger.set_trace(sys._getframe(1), *args, **kwargs)

    def put_back() -> None:
        if sys.breakpointhook is hook:
            sys.breakpointhook = own

    sys.breakpointhook = hook
    return put_back


def _replace(module: Any, name: str, kernel: Any, saved: str, forwarded: str) -> Callable[[], None]:
    """
    Put ours in place of a module's function; returns what puts it back.

    While ipykernel runs a cell its own (``forwarded``) stands there, and it keeps what it
    will put back (in ``saved``): then that is replaced.
    """
    places = [(module, name), (kernel, saved)]
    in_kernel = getattr(kernel, forwarded, None)
    holder, attribute = places[getattr(module, name) == in_kernel and hasattr(kernel, saved)]
    own = getattr(holder, attribute)

    @wraps(own)
    def ask(*args: Any, **kwargs: Any) -> str:
        return _ask(partial(own, *args, **kwargs), partial(in_kernel or own, *args, **kwargs))

    def put_back() -> None:
        for holder, attribute in places:
            if getattr(holder, attribute, None) is ask:
                setattr(holder, attribute, own)

    setattr(holder, attribute, ask)
    return put_back
