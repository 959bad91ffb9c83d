"""
A file that IPython runs: ``%run``, and that which it is started with.

Thread: cell.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from twisted_ipython._base.tracebacks import tidy
from twisted_ipython._cells.plain_cell import Exited, PlainCell
from twisted_ipython._waiting.entry import end_entry


def run_file(
    own: Callable[..., object],
    statement: Callable[[], AbstractContextManager[object]],
    fname: Any,
    *where: Any,
    **options: Any,
) -> None:
    """`safe_execfile`, which is ``own``, as a plain cell is run, which may be a script."""
    path = Path(fname).expanduser()
    cell = PlainCell(lambda: compile(path.read_bytes(), path, "exec", dont_inherit=True))
    with cell:
        try:
            with statement():
                own(fname, *where, **options)
        except Exited:
            return
        except SystemExit as error:
            exited = cell.exit(error)
            if exited is None:
                raise
            if exited.error is not None:
                raise exited.error from None
        except KeyboardInterrupt as error:
            tidy(error)  # started with a file, IPython leaves it to Python to show this
            raise
        finally:
            end_entry()
