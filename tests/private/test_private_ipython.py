"""IPython has the private names that are used, and without them it goes on as is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from IPython import embed, get_ipython
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magics import execution
from session import Session

from twisted_ipython._private import ipython as private

SEEN = f"IPython 8.18 to 9.18 have it: look for its new name, for {private.__file__}"


def test_names() -> None:
    """Each name is there."""
    assert hasattr(execution, "_format_time"), f"%time's `_format_time` is gone; {SEEN}"
    assert hasattr(InteractiveShell, "_showtraceback"), f"`_showtraceback` is gone; {SEEN}"
    assert hasattr(InteractiveShell, "_walk_mro"), f"`_walk_mro` is gone; {SEEN}"
    assert f"{embed.__module__}.{embed.__name__}" == ".".join(private.EMBED), SEEN
    assert private.format_time(0.0015) == "1.5 ms"


def test_shell_of_a_cell(session: Session) -> None:
    """A cell that was not begun tells its shell; if it does not, it is the one shell there is."""
    cell = session.shell.run_cell_async("1", transformed_cell="1")
    assert cell.cr_code.co_name == "run_cell_async", f"the name of a cell's code; {SEEN}"
    assert cell.cr_frame.f_locals["self"] is private.shell_of(cell) is session.shell, SEEN
    cell.close()
    nameless: Any = SimpleNamespace(cr_code=cell.cr_code, cr_frame=SimpleNamespace(f_locals={}))
    assert private.shell_of(nameless) is get_ipython() is session.shell
    assert private.shell_of(cast(Any, object())) is None


def test_showing_a_traceback(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines are shown as the shell shows them, and printed if it has no way of its own."""
    private.show_traceback(session.shell, ValueError(), ["one", "two"])
    shown = capsys.readouterr().out
    private.show_traceback(cast(Any, object()), ValueError(), ["one", "two"])
    assert shown == capsys.readouterr().out == "one\ntwo\n"


def test_runner_of_asyncio() -> None:
    """IPython's runner for asyncio, which kernels look for, is found without its name."""
    from IPython.core import async_helpers

    ours = InteractiveShell.loop_runner_map["asyncio"][0]
    assert ours is async_helpers._asyncio_runner, f"ipykernel looks for that one; {SEEN}"
