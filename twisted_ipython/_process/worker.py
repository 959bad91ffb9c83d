"""
The program of a cell's process: it reads the cell's function, calls it, and writes what came of it.

It starts anew for each cell, so it imports little.  Its stdin gives the function and stays open:
when it closes, the kernel is gone, and the system ends this process with all that it started, even
inside of C code.  Its stdout and stderr are the cell's; 3 is for the value.

Thread: the only one of its process.
"""

from __future__ import annotations

import fcntl
import io
import linecache
import marshal
import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, ModuleType, TracebackType
from typing import Any, Final

CANNOT_COME_BACK: Final = (
    "The {what} of the cell, of type {type}, cannot come back from its process ({why}). Return what"
    " can be pickled, or write it to a file and return its path"
)
RESULT: Final = 3


def main() -> None:
    """Run one cell, as `job.ProcessJob` sends it."""
    os.setpgid(0, 0)  # a Ctrl-C at the terminal is for the shell
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a kernel may have it ignored
    os.set_inheritable(RESULT, False)
    with open(0, "rb", closefd=False) as stdin:
        path, sources, cell = pickle.load(stdin)
    _end_with(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:] = path
    linecache.cache.update(sources)
    try:
        function = pickle.loads(cell)
        # Not in this module's own names: for what pickles by name, as pools of `multiprocessing`.
        sys.modules["__main__"] = main_module = ModuleType("__main__")
        vars(main_module).update(function.__globals__)
        value = function()
    except KeyboardInterrupt:
        os.killpg(0, signal.SIGTERM)  # what it has started, and itself
    except Exception as error:
        data = _pickled_error(error)
    else:
        data = _pickled(value)
    with os.fdopen(RESULT, "wb") as result:
        result.write(data)


def _end_with(pipe: int) -> None:
    """Have SIGIO, which ends a process, sent to this one's group when ``pipe`` closes."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # it has closed already
        sys.exit(1)


def dumps(value: object) -> bytes:
    """Pickle by cloudpickle, but with the file names of code, for tracebacks.  Thread: any."""
    from cloudpickle import CloudPickler

    class Pickler(CloudPickler):
        dispatch_table = CloudPickler.dispatch_table.new_child(_REDUCERS)

    file = io.BytesIO()
    Pickler(file).dump(value)
    return file.getvalue()


def _reduce_cached(function: Any) -> Any:
    """A function of the notebook with `lru_cache`, which would go by its name."""
    if function.__module__ != "__main__":
        return function.__qualname__
    return _cached, (function.__wrapped__, function.cache_parameters())


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(function)


def _reduce_traceback(first: TracebackType) -> Any:
    places = []
    for frame, line in traceback.walk_tb(first):
        kept = {name: getattr(frame.f_code, name) for name in _KEPT}
        module = frame.f_globals.get("__name__")
        places.append((frame.f_code.co_filename, kept, line, module))
    return _traceback, (places,)


def _traceback(places: list[tuple[str, dict[str, Any], int | None, str]]) -> TracebackType | None:
    """A traceback of frames that stand at these lines.  Thread: any, in the kernel's process."""
    from types import TracebackType

    made = None
    for file, kept, at, module in reversed(places):
        first = kept["co_firstlineno"]
        line = at or first  # an instruction may be on none
        code = compile("\n" * (line - first) + "raise Exception", file, "exec")
        try:
            exec(code.replace(**kept), {"__name__": module})
        except Exception as error:
            link = error.__traceback__ and error.__traceback__.tb_next
        if link:
            made = TracebackType(made, link.tb_frame, link.tb_lasti, line)
    return made


_KEPT: Final = ("co_name", "co_qualname", "co_firstlineno")
_REDUCERS: Final = {
    CodeType: lambda code: (marshal.loads, (marshal.dumps(code),)),
    TracebackType: _reduce_traceback,
    type(lru_cache(len)): _reduce_cached,
}


def _pickled(value: object) -> bytes:
    try:
        return dumps((True, value))
    except Exception as error:
        return _refusal("value", value, error)


def _pickled_error(error: BaseException) -> bytes:
    """An exception with its traceback, without the frame of this file."""
    from tblib import pickling_support

    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    pickling_support.install(error)
    try:
        data = dumps((False, error))
        pickle.loads(data)  # an exception's own arguments may not suffice to make it again
    except Exception as why:
        traceback.print_exception(error)
        return _refusal("exception", error, why)
    return data


def _refusal(what: str, value: Any, why: Exception) -> bytes:
    kind = type(value).__name__ + (f" ({value})" if isinstance(value, BaseException) else "")
    error = TypeError(CANNOT_COME_BACK.format(what=what, type=kind, why=why))
    return pickle.dumps((False, error))


if __name__ == "__main__":
    main()
