"""
A cell in a process of its own: what goes there, what comes back, and how it ends.

Each cell has its own process: stopping one stops no other, and nothing is left of earlier ones.
"""

from __future__ import annotations

import dis
import linecache
import os
import pickle
import signal
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any, Final

from IPython.core.error import UsageError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from twisted_ipython._base.formatting import one_line
from twisted_ipython._base.tracebacks import in_one_line
from twisted_ipython._bridge.ending import Ending
from twisted_ipython._process.worker import dumps

NOT_INSTALLED: Final = "--process needs {name}: pip install 'twisted_ipython[process]'"
CANNOT_GO: Final = (
    "{name} ({type}) cannot go to another process: {why}. Make it in the cell, from what can be"
    " pickled"
)
NO_SHELL: Final = (
    "A cell with --process has no shell, and so no magics and no !commands: use them in another"
    " cell, or subprocess in this one"
)
DIED: Final = "The process of the cell {how} before the cell ended{why}"
MEMORY: Final = ". Perhaps memory ran out, as `dmesg` would tell: take less at once"
CRASH: Final = ". Code that is not Python's crashed; what it wrote is above"
_WHY: Final = {"SIGKILL": MEMORY, "SIGSEGV": CRASH, "SIGABRT": CRASH}
# Seconds that `finally` blocks have after a cancellation, and that outputs have after the end.
_GRACE: Final = 0.5


def pickled(function: FunctionType) -> bytes:
    """Pickle a cell's function with what it reads, or raise a UsageError.  Thread: any."""
    try:
        import cloudpickle  # noqa: F401
        import tblib  # noqa: F401
    except ImportError as error:
        raise UsageError(NOT_INSTALLED.format(name=error.name)) from None
    if "get_ipython" in _read(function.__code__):
        raise UsageError(NO_SHELL)
    try:
        cell = dumps(function)
    except Exception as error:
        name, value, why = _culprit(function) or ("The cell", function, error)
        kind, reason = type(value).__name__, one_line(str(why), 200)
        raise UsageError(CANNOT_GO.format(name=name, type=kind, why=reason)) from None
    # Of cells, which are in no file: an entry without a time.
    sources = {name: entry for name, entry in linecache.cache.items() if entry[1:2] == (None,)}
    return pickle.dumps((sys.path, sources, cell))


def _culprit(function: Any, seen: tuple[object, ...] = ()) -> tuple[str, object, Exception] | None:
    """The name that keeps a function from being pickled, its value and why; the innermost."""
    namespace = function.__globals__
    for name in dict.fromkeys(_read(function.__code__)):
        value = namespace.get(name)
        try:
            dumps(value)
        except Exception as why:
            if isinstance(value, FunctionType) and value not in seen:
                return _culprit(value, (*seen, value)) or (name, value, why)
            return name, value, why
    return None


def _read(code: CodeType) -> Iterator[str]:
    """The global names that code reads, and functions within it."""
    yield from (
        one.argval
        for one in dis.get_instructions(code)
        if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"}
    )
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _read(constant)


class ProcessJob(ProcessProtocol):
    """The process of one cell, which `pickled` gave."""

    transport: Any  # Twisted's, once the process is there

    def __init__(self, reactor: Any, cell: bytes) -> None:
        self._reactor = reactor
        self._cell = cell
        self._answer: list[bytes] = []
        self._decoders = {fd: getincrementaldecoder("utf-8")("replace") for fd in (1, 2)}
        self._ended = Ending(self._interrupt)
        self._last_output: Any = None

    async def run(self) -> Any:
        """Start the process and wait; gives the cell's value, or raises.  Thread: reactor."""
        command = [sys.executable, "-u", "-P", "-X", "faulthandler", dumps.__code__.co_filename]
        pipes = {0: "w", 1: "r", 2: "r", 3: "r"}
        self._reactor.spawnProcess(self, command[0], command, env=None, childFDs=pipes)
        self.transport.writeToChild(0, self._cell)  # which stays open: its end is the process's
        ended = await self._ended
        try:
            succeeded, value = pickle.loads(b"".join(self._answer))
        except (EOFError, pickle.UnpicklingError):  # there is nothing, or not all of it
            error = RuntimeError(_death(ended))
            in_one_line(error)
            raise error from None
        if succeeded:
            return value
        raise value

    def _interrupt(self) -> None:
        """End the process as Ctrl-C does, and a little later in any case."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("INT")
        self._reactor.callLater(_GRACE, self._kill)

    def _kill(self) -> None:
        """Kill the process and those that it has started."""
        if self.transport.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.transport.pid, signal.SIGKILL)
            self.transport.loseConnection()

    # ---- Twisted's ProcessProtocol

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Show what is printed, where the job's output belongs, or keep a part of the value."""
        if childFD == 3:
            self._answer.append(data)
            return
        stream = sys.stdout if childFD == 1 else sys.stderr
        print(end=self._decoders[childFD].decode(data), file=stream, flush=True)

    def processExited(self, reason: Failure) -> None:  # noqa: ARG002
        """Wait no longer for outputs that something else holds open."""
        self._last_output = self._reactor.callLater(_GRACE, self.transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        """Go on in `run`: the process has ended, and all of its output is there."""
        self._last_output.cancel()
        self._ended.end(reason.value)


def _death(reason: Any) -> str:
    """How a process died, in a sentence."""
    if reason.signal is None:
        return DIED.format(how=f"ended with exit status {reason.exitCode}", why="")
    name = signal.Signals(reason.signal).name
    return DIED.format(how=f"was killed by {name}", why=_WHY.get(name, ""))
