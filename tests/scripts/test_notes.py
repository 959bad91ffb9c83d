"""A name that a background cell kept to itself, missed in a later cell, in a real kernel."""

from __future__ import annotations

from kernels import Execution, Kernel, fail

from twisted_ipython._scripts.notes import WAS_LOCAL

SETUP = "import asyncio"


def last_line(execution: Execution) -> str:
    """The last line of the traceback that a cell shows."""
    return execution.traceback.splitlines()[-1]


def test_name_of_a_background_cell(kernel: Kernel) -> None:
    """Plain and awaiting cells say which cell had it, the last of several; bound, it is found."""
    kernel.ok("%%run_in_reactor\nkept = 1")
    second = kernel.ok("%%run_in_reactor --wait\nkept, other = 1, 2\nawait asyncio.sleep(0)")
    number = second.messages("execute_input")[0]["content"]["execution_count"]
    line = WAS_LOCAL.format(name="kept", cell=number)
    missed = fail(kernel, "kept")
    assert (missed.error, last_line(missed)) == ("NameError", line)
    missed = fail(kernel, "await asyncio.sleep(0)\nprint(kept)")
    assert (missed.error, last_line(missed)) == ("NameError", line)
    assert "run_in_reactor" not in fail(kernel, "never_bound").traceback
    assert kernel.value("kept = 3; kept") == "3"


def test_name_of_a_script(kernel: Kernel) -> None:
    """With `--global` the name is in the namespace, and nothing is said."""
    kernel.ok("%%run_in_reactor --wait --global\nshared = 1")
    assert kernel.value("shared") == "1"
    kernel.ok("del shared")
    assert "run_in_reactor" not in fail(kernel, "shared").traceback
