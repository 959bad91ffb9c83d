"""`%%run_in_reactor --process`: cells that run in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from kernels import Execution, Kernel, fail
from terminals import Terminal

from twisted_ipython._process import worker
from twisted_ipython._process.job import NO_SHELL

SETUP = """
import functools, multiprocessing, os, signal, threading, time, warnings

lock = threading.Lock()
limit = 3

class Point:
    def __init__(self, x):
        self.x = x

class NotTwo(Exception):
    def __init__(self, *, number):
        super().__init__(f"{number} is not two")
        self.number = number

def double(point):
    warnings.warn("doubling")
    return Point(2 * point.x // (limit - 2 if point.x else 0))

@functools.lru_cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

def locked():
    return lock
"""
RUN = "%%run_in_reactor --process --wait x\n"


def failed(kernel: Kernel, code: str) -> str:
    """What a cell shows that fails, in one text."""
    ran = fail(kernel, code)
    return ran.printed("stderr").strip() + ran.traceback


def pid_in(execution: Execution) -> int:
    """The number of a cell's process, which it has printed."""
    execution.wait_for("\n")
    return int(execution.printed().split()[0])


def gone(pid: int, seconds: float = 1) -> bool:
    """Whether a process ends in time; one that nobody has waited for yet has ended too."""
    end = monotonic() + seconds
    while True:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        if monotonic() > end:
            return False
        sleep(0.01)


def test_value_and_names(kernel: Kernel) -> None:
    """It reads names, functions and classes of the notebook; its value is one of its classes."""
    ran = kernel.run(RUN + "point = double(Point(4))\nprint(os.getpid())\npoint")
    assert ran.reply is not None
    assert ran.reply["status"] == "ok"
    assert ran.value is not None
    assert ran.value.startswith("<__main__.Point")
    assert kernel.value("value = x.wait(); type(value) is Point, value.x") == "(True, 8)"
    assert int(ran.printed()) != int(kernel.value("os.getpid()") or 0)
    assert "UserWarning: doubling\n  warnings.warn(" in ran.printed("stderr")
    assert kernel.value("'point' in globals()") == "False"


def test_functions_that_go_by_name(kernel: Kernel) -> None:
    """One with a cache, which calls itself, and one for a pool that the cell makes."""
    pool = "with multiprocessing.get_context('fork').Pool(1) as pool:\n    "
    assert kernel.value(RUN + pool + "return pool.map(abs, [-1]), fibonacci(80)") == (
        "([1], 23416728348467685)"
    )
    kernel.ok("def square(n): return n * n")
    assert kernel.value(RUN + pool + "return pool.map(square, [3, 4])") == "[9, 16]"


def test_prints_come_as_they_are_printed(kernel: Kernel, tmp_path: Path) -> None:
    """In the cell, while it runs, in the order of the bytes; the result is the EventualResult."""
    ran = kernel.ok(
        "%%run_in_reactor --process x\n"
        "print('é', end='', flush=False)\n"
        f"while not os.path.exists('{tmp_path}/go'): time.sleep(0.01)\n"
        "print(' rest')\nos.system('echo of a child')\n'value'"
    )
    ran.wait_for("é")
    (tmp_path / "go").touch()
    assert kernel.value("await x") == "'value'"
    ran.wait_for("of a child")
    assert ran.printed() == "é rest\nof a child\n"


def test_a_failure_has_the_lines_of_the_cells(kernel: Kernel) -> None:
    """The traceback is that of the cell's process; the exception is of the notebook's class."""
    kernel.ok("def divide(x):\n    'a line'\n    return 1 / x")
    ran = fail(
        kernel, RUN + "\ntry:\n    divide(0)\nexcept Exception as e:\n    raise OSError(5) from e"
    )
    number = ran.reply and ran.reply["execution_count"]
    heads = re.findall(r"^Cell In\[(\d+)\], line (\d+)(.*)$", ran.traceback, re.MULTILINE)
    assert heads == [
        (f"{number}", "4", ""),
        (f"{number - 1}", "3", ", in divide()"),
        (f"{number}", "6", ""),
    ]
    assert re.search("^----> 3 +return 1 / x$", ran.traceback, re.MULTILINE)
    assert "direct cause" in ran.traceback
    assert "worker" not in ran.traceback
    assert failed(kernel, RUN + "raise NotTwo(number=3)").endswith("NotTwo: 3 is not two")
    assert kernel.value("try: await x\nexcept NotTwo as e: print(e.number)") is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("lock", "lock (lock) cannot go to another process: cannot pickle '_thread.lock' object"),
        ("locked()", "lock (lock) cannot go to another process: cannot pickle"),
        ("!ls", NO_SHELL),
    ],
)
def test_what_cannot_go(kernel: Kernel, body: str, said: str) -> None:
    """One line says which name, its type and what to do; nothing is started."""
    text = failed(kernel, RUN + body)
    assert text.startswith(f"UsageError: {said}")
    assert body == "!ls" or text.endswith("Make it in the cell, from what can be pickled")
    assert "\n" not in text


def test_what_cannot_come_back(kernel: Kernel) -> None:
    """A value, or an exception, that cannot be pickled is said to be one."""
    text = failed(kernel, RUN + "threading.Lock()")
    assert "The value of the cell, of type lock, cannot come back from its process (cannot" in text
    assert text.endswith("or write it to a file and return its path")
    text = failed(kernel, RUN + "e = KeyError('k'); e.lock = threading.Lock(); raise e")
    assert "The exception of the cell, of type KeyError ('k'), cannot come back" in text
    assert "line 2, in <module>\n    e = KeyError('k')" in text


@pytest.mark.parametrize("other", ["thread", "global"])
def test_options_that_exclude_each_other(kernel: Kernel, other: str) -> None:
    """Neither `--thread` nor `--global` stands beside `--process`."""
    said = f"UsageError: --process cannot stand beside --{other}: the cell runs in a process of its"
    assert failed(kernel, f"%%run_in_reactor --process --{other}\n1").startswith(said)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os._exit(3)", "ended with exit status 3 before the cell ended"),
        ("os._exit(0)", "ended with exit status 0 before the cell ended"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL before the cell ended. Perhaps memory"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV before the cell ended. Code"),
    ],
)
def test_a_process_that_dies(kernel: Kernel, code: str, said: str) -> None:
    """What ended it is said in one line; what it printed is there."""
    ran = fail(kernel, RUN + f"print('printed')\n{code}")
    assert ran.traceback.startswith(f"RuntimeError: The process of the cell {said}")
    assert "\n" not in ran.traceback
    assert ran.printed() == "printed\n"
    if "SIGSEGV" in said:
        assert ", line 3 in <module>" in ran.printed("stderr")


STUBBORN = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint(os.getpid())\nwhile True: pass"
POLITE = "try:\n    print(os.getpid())\n    while True: pass\nfinally:\n    print('cleaned up')"


@pytest.mark.parametrize("body", [POLITE, STUBBORN], ids=["polite", "stubborn"])
@pytest.mark.parametrize("way", ["interrupt", "cancel", "replace"])
def test_stopping(kernel: Kernel, way: str, body: str) -> None:
    """Ctrl-C, `cancel` and `--replace` end the process in a second, and no other one."""
    other = kernel.ok("%%run_in_reactor --process other\nprint(os.getpid())\nwhile True: pass")
    waits = "--wait" if way == "interrupt" else ""
    ran = kernel.submit(f"%%run_in_reactor --process {waits} x\n{body}")
    pid = pid_in(ran)
    began = monotonic()
    if way == "interrupt":
        kernel.interrupt()
        assert ran.wait().error == "KeyboardInterrupt"
    elif way == "cancel":
        kernel.ok("%reactor cancel x")
    else:
        assert kernel.value("%%run_in_reactor --replace --wait x\n'new'") == "'new'"
        assert gone(pid, 0)
    assert gone(pid)
    assert monotonic() - began < 1
    if body is POLITE:
        ran.wait_for("cleaned up")
    if way == "cancel":
        assert kernel.value("try: await x\nexcept BaseException: pass\nx.state") == "'cancelled'"
    assert not gone(pid_in(other), 0.1)
    kernel.ok("other.cancel()")
    assert gone(pid_in(other))


def test_what_it_started_goes_with_it(kernel: Kernel) -> None:
    """A stubborn process is killed with its own children."""
    ran = kernel.ok(
        "%%run_in_reactor --process x\nimport subprocess\n"
        "print(subprocess.Popen(['sleep', '60']).pid)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('ready')\nwhile True: pass"
    )
    child = pid_in(ran.wait_for("ready"))
    kernel.ok("x.cancel()")
    assert gone(child)


@pytest.mark.parametrize("way", ["asked", "killed"])
def test_the_end_of_the_kernel(way: str) -> None:
    """The kernel's exit, and its death, take the processes and their children along."""
    with Kernel() as kernel:
        ran = kernel.ok(
            "%%run_in_reactor --process x\nimport os, re, subprocess, sys\n"
            "sys.stdout.write(f\"{os.getpid()} {subprocess.Popen(['sleep', '60']).pid}\\n\")\n"
            "re.match('(a+)+$', 'a' * 60 + 'b')"  # C code, which never gives the GIL up
        )
        pid_in(ran)
        pids = [int(word) for word in ran.printed().split()]
        if way == "asked":
            kernel.ask_shutdown()
        else:
            kernel.manager.provisioner.process.kill()
        assert kernel.ended_within(2)
        try:
            assert list(map(gone, pids)) == [True, True]
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)


def test_in_a_terminal() -> None:
    """At a prompt: the value, what it prints, Ctrl-C, and the end of IPython."""
    with Terminal() as terminal:
        terminal.run("import os")
        run = "get_ipython().run_cell_magic('run_in_reactor', '--process --wait x', {!r})"
        shown = terminal.run(run.format("print('printed', os.getpid()); 6 * 7"))
        assert re.search(r"printed \d+\n", shown)
        assert "Out[4]: 42" in shown
        terminal.type(run.format("print('pid', os.getpid())\nwhile True: pass"))
        pid = int(terminal.expect(r"pid \d+").split()[1])
        began = monotonic()
        terminal.interrupt()
        assert "KeyboardInterrupt" in terminal.shown()
        assert gone(pid)
        assert monotonic() - began < 1


def test_the_program_is_light() -> None:
    """What the process imports before the cell is nothing of ours, of Twisted's or IPython's."""
    code = (
        f"import sys; sys.argv = ['x']; import runpy; runpy.run_path({worker.__file__!r});"
        "import cloudpickle; print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    heavy = {"twisted", "twisted_ipython", "IPython", "asyncio", "numpy", "ipykernel"}
    assert not heavy & set(ran.stdout.split())
    assert ran.returncode == 0
