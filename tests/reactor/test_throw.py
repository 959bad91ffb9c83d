"""An exception that is thrown into a thread: `_reactor.interrupt.throw`."""

from __future__ import annotations

import threading
from pathlib import Path
from time import monotonic

from shells import run_python

from twisted_ipython._reactor import interrupt


def in_thread(code: str) -> tuple[threading.Thread, dict[str, object]]:
    """Run code as a user's in a thread; it must set ``ready``."""
    names: dict[str, object] = {"ready": threading.Event(), "end": threading.Event()}
    thread = threading.Thread(target=exec, args=(compile(code, "cell", "exec"), names))
    thread.start()
    ready = names["ready"]
    assert isinstance(ready, threading.Event)
    assert ready.wait(10)
    return thread, names


def test_throw_into_users_code() -> None:
    """A throw is raised where the user's code loops, and that code may go on."""
    thread, names = in_thread(
        "try:\n    ready.set()\n    while True: pass\n"
        "except BaseException as error: kind = type(error)"
    )
    ident = thread.ident
    assert ident is not None
    deadline = monotonic() + 10
    while thread.is_alive() and monotonic() < deadline:
        interrupt.throw(ident)
    thread.join(10)
    assert not thread.is_alive()
    kind = names["kind"]
    assert isinstance(kind, type)
    assert issubclass(kind, interrupt.ReactorInterrupt)
    assert not issubclass(kind, Exception)
    assert kind.__name__ == "KeyboardInterrupt"


def test_throw_is_taken_back() -> None:
    """What is not raised in time, in C code, is never raised."""
    thread, names = in_thread("ready.set()\nend.wait()\nfor _ in range(1000): pass\nwell = True")
    ident = thread.ident
    assert ident is not None
    end = names["end"]
    assert isinstance(end, threading.Event)
    assert not interrupt.throw(ident)
    end.set()
    thread.join(10)
    assert names["well"] is True


# What a debugger, a profiler or coverage does next.
TRACED = """
import sys, threading
from twisted_ipython._reactor.interrupt import take_back
take_back(threading.get_ident())
def work(): pass
sys.settrace(lambda *_: None)
work()
sys.settrace(None)
print("traced")
"""


def test_tracing_after_a_throw_was_taken_back() -> None:
    """On Python 3.11 what is traced afterwards does not loop for ever."""
    assert run_python("-c", TRACED, seconds=20).stdout == "traced\n"


def test_throw_spares_libraries() -> None:
    """Nothing is thrown where asyncio's frames are the innermost ones but the user's main code."""
    thread, names = in_thread(
        "import asyncio\n"
        "async def main():\n"
        "    ready.set()\n"
        "    while not end.is_set(): await asyncio.sleep(0.2)\n"
        "asyncio.run(main())\nwell = True"
    )
    ident = thread.ident
    assert ident is not None
    end = names["end"]
    assert isinstance(end, threading.Event)
    thrown = [interrupt.throw(ident) for _ in range(100)]
    end.set()
    thread.join(10)
    assert not any(thrown)
    assert names["well"] is True


def test_stress(tmp_path: Path) -> None:
    """Throws under load and interrupts at random moments leave the reactor and kernel working."""
    program = Path(__file__).parents[1] / "stress" / "interrupt.py"
    ran = run_python(program, "--throws", "300", "--interrupts", "6", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "throws: 300 raised" in ran.stdout
    assert "interrupts: 6;" in ran.stdout
