"""What is sent to the main thread, in process: `in_main_thread`."""

from __future__ import annotations

import re

import pytest
from shells import Shell


def test_in_main_thread(shell: Shell) -> None:
    """`in_main_thread` runs a function with its arguments there and gives what it returns."""
    assert shell.value("await in_main_thread(here)") == "'MainThread'"
    assert shell.value("await in_main_thread(divmod, 7, 2)") == "(3, 1)"


def test_in_main_thread_fails(shell: Shell) -> None:
    """A failure of the function is raised at the await, with the function's frame."""
    cell = shell.run("def fail(): raise KeyError('there')\nawait in_main_thread(fail)")
    assert cell.error == "KeyError"
    assert re.findall(r", in (\S+?)\(", cell.out) == ["fail"]


@pytest.mark.parametrize(
    "code",
    [
        "await defer.ensureDeferred(deep())",
        "await asyncio.create_task(deep())",
        "await asyncio.gather(deep(), deep())",
    ],
)
def test_in_main_thread_from_below(shell: Shell, code: str) -> None:
    """It works in coroutines and tasks under the cell, while the cell waits."""
    shell.ok("async def deep():\n    await later()\n    return await in_main_thread(here)")
    assert "'MainThread'" in shell.value(code)


def test_signals_and_sqlite(shell: Shell) -> None:
    """A signal handler can be set with it, and an sqlite object of a plain cell used."""
    shell.ok("base = sqlite3.connect(':memory:')\ncaught = []")
    shell.ok("handler = lambda number, frame: caught.append((number, here()))")
    shell.ok("await in_main_thread(signal.signal, signal.SIGUSR1, handler)")
    shell.ok("await in_main_thread(signal.raise_signal, signal.SIGUSR1)")
    assert shell.value("caught") == "[(<Signals.SIGUSR1: 10>, 'MainThread')]".replace(
        "<Signals.SIGUSR1: 10>", "10"
    )
    code = "await in_main_thread(lambda: base.execute('select 5').fetchone())"
    assert shell.value(code) == "(5,)"


def test_in_main_thread_waits_for_plain_cell(shell: Shell) -> None:
    """Background work that asks while a plain cell runs gets its turn at that cell's end."""
    shell.ok(
        "ran, ran_inside, ran_at_end, ip = [], [], [], get_ipython()\n"
        "note = lambda result: ran_at_end.append(list(ran))\n"
        "ip.events.register('post_run_cell', note)"
    )
    shell.ok(
        "ran_at_end.clear()\n"
        "threads.blockingCallFromThread(\n"
        "    reactor, lambda: in_main_thread(lambda: ran.append(here())) and None)\n"
        "other = threading.Thread(target=ip.run_cell, args=('1;',))\n"
        "other.start()\n"
        "other.join()\n"
        "ran_inside += ran"
    )
    shell.ok("ip.events.unregister('post_run_cell', note)")
    assert shell.value("ran_inside, ran_at_end[-1]") == "([], ['MainThread'])"


def test_in_main_thread_in_main_thread(shell: Shell) -> None:
    """Called in the main thread, it runs the function at once."""
    shell.ok("ran = []\nresult = in_main_thread(ran.append, 5)\nnow = list(ran)")
    assert shell.value("now, await result") == "([5], None)"
