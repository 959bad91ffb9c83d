"""
Threads that a cell's code makes print in that cell.

ipykernel keeps the cell that output belongs to in context variables.  A thread begins with none
(Python 3.11 to 3.15), and from ipykernel 7.1 on what it prints goes to the cell that ran last.
Nothing public tells who makes a thread: each enters a set of `threading`'s, an instance, when it
is made, and sets an event of its own when it begins.

What can still go wrong.  A thread that serves several cells, as in an executor
that is kept, prints in the cell that made it.  What rich's live display redirects
(``redirect_stdout``) it redirects for all cells.

Thread: any.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Final, TypeVar

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import is_work_variable
from twisted_ipython._private import threading
from twisted_ipython._private.async_kernel import JOB
from twisted_ipython._private.ipyparallel import OUTPUT_THREAD

_T = TypeVar("_T")
# The name that ipykernel 6.29 to 7.4 gives all of its variables, and that of async-kernel's.
_KERNELS: Final = {"parent_header", JOB}


def attach(cell: ContextVar[Any]) -> Callable[[], None]:
    """Have threads made from now on belong to their maker's cell; gives the undo.  Thread: any."""
    made = threading.made()
    add: Callable[[Any], None] | None = getattr(made, "add", None)
    if add is None:
        return lambda: None

    def add_thread(thread: Any) -> None:
        add(thread)
        context = copy_context()
        if cell in context and type(thread).__name__ != OUTPUT_THREAD:
            carried = [
                (one, value)
                for one, value in context.items()
                if one is cell or one.name in _KERNELS or is_work_variable(one)
            ]
            threading.when_begun(thread, partial(_set, carried))

    return override(made, {"add": add_thread})


def _set(values: list[tuple[ContextVar[Any], Any]]) -> None:
    for variable, value in values:
        variable.set(value)


def run_in_executor(loop: Any) -> Callable[..., Any]:
    """``loop.run_in_executor``, whose threads print in the cell of who asks.  Thread: any."""
    original: Callable[..., Any] = loop.run_in_executor

    def run(executor: Executor | None, func: Callable[..., _T], *args: Any) -> Any:
        if executor is None:
            func = partial(copy_context().run, func)
        return original(executor, func, *args)

    return run
