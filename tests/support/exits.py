"""Processes that are asked to end in some state: how long it takes them, and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from time import monotonic, time

import nbformat
from kernels import Kernel
from nbclient import NotebookClient
from terminals import Terminal

__all__ = ["STATES", "WAYS", "Exit", "State", "cases", "leave"]

# Seconds after which a process that does not end is killed.
KILLED = 25

_BEGIN = """
import asyncio, os, subprocess, sys, time
from threading import Event
from twisted.internet import reactor, task, threads, utils
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol

def trigger():
    with open({folder!r} + "/trigger", "w"):
        pass

async def for_ever():
    try:
        await Deferred()
    finally:
        await asyncio.sleep(0)

def loop():
    looping.set()
    while True:
        pass

looping, working = Event(), Event()

def work():
    working.set()
    time.sleep(20)

SLEEP = ["sleep", "20"]
reactor.callFromThread(reactor.addSystemEventTrigger, "before", "shutdown", trigger)
"""
_ASKED = "open({folder!r} + '/asked', 'w').write(repr(time.time()))\n"


@dataclass(frozen=True)
class State:
    """
    What a process is at when it is asked to end.

    Attributes:
        code: the cell that brings it there.
        abandoned: what its last words name; it says nothing if that is empty.
        turns: whether the reactor still turns.
        waits: whether the cell goes on until the process ends.
    """

    code: str
    abandoned: str = ""
    turns: bool = True
    waits: bool = False


STATES = {
    "idle": State("await asyncio.sleep(0)"),
    "loaded": State("pass"),
    "awaiting a Deferred": State("print('begun'); await Deferred()", waits=True),
    "awaiting asyncio": State(
        """
async with asyncio.TaskGroup() as group:
    group.create_task(asyncio.sleep(1000))
    group.create_task(for_ever())
    print("begun")
""",
        waits=True,
    ),
    "pending jobs": State(
        """
get_ipython().run_cell_magic("run_in_reactor", "one", "await for_ever()")
get_ipython().run_cell_magic("run_in_reactor", "two", "await asyncio.sleep(1000)")
async def begin():
    return asyncio.create_task(for_ever()), asyncio.create_task(asyncio.sleep(1000))
tasks = await begin()
four = Deferred()
await asyncio.sleep(0.01)
"""
    ),
    "listening ports": State(
        """
factory = Factory.forProtocol(Protocol)
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
reader, writer = await asyncio.open_connection("127.0.0.1", port.getHost().port)
"""
    ),
    "LoopingCalls": State(
        """
calls = [task.LoopingCall(lambda: None) for _ in range(3)]
for call in calls:
    call.start(0.01).addErrback(lambda failure: None)
await asyncio.sleep(0.03)
"""
    ),
    "a pool thread asked for in an awaiting cell": State(
        """
async def begin():
    threads.deferToThread(work)
await begin()
working.wait()
""",
        "a pool thread at",
    ),
    "a pool thread asked for in a plain cell": State(
        "reactor.callInThread(work); working.wait()", "a pool thread at"
    ),
    "a thread of asyncio's": State(
        """
async def begin():
    thread = asyncio.create_task(asyncio.to_thread(work))
    while not working.is_set():
        await asyncio.sleep(0.01)
    return thread
thread = await begin()
""",
        "a pool thread at",
    ),
    "a child of subprocess": State("child = subprocess.Popen(SLEEP)"),
    "a child of asyncio's": State("child = await asyncio.create_subprocess_exec(*SLEEP)"),
    "a child of Twisted's": State(
        """
async def begin():
    return reactor.spawnProcess(ProcessProtocol(), SLEEP[0], SLEEP, env=None)
child = await begin()
"""
    ),
    "a stuck reactor": State(
        "reactor.callFromThread(loop); looping.wait()", "the reactor, which is busy at", turns=False
    ),
    "a stuck reactor and an idle pool": State(
        """
await threads.deferToThread(lambda: None)
get_ipython().run_cell("reactor.callInThread(working.set); working.wait()")
reactor.callLater(0, loop)
""",
        "the reactor, which is busy at",
        turns=False,
    ),
}


@dataclass(frozen=True)
class Exit:
    """
    How a process ended.

    Attributes:
        seconds: how long it took from being asked.
        status: its exit status; None if somebody else has seen it.
        said: what it wrote to stderr.
        triggered: whether the trigger "before shutdown" ran.
    """

    seconds: float
    status: int | None
    said: str
    triggered: bool


def _exit(folder: Path, asked: float, ended: float, status: int | None) -> Exit:
    said = (folder / "stderr").read_text()
    return Exit(ended - asked, status, said, (folder / "trigger").exists())


@contextmanager
def _children_of(process: int) -> Iterator[None]:
    """At the end, kill what is left of the process and its children: a group of its own."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def _program(arguments: list[str], folder: Path) -> Exit:
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    with _children_of(process.pid):
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILLED)
        ended = time()
    process.wait()
    asked = folder / "asked"
    begun = float(asked.read_text()) if asked.exists() else 0.0
    return _exit(folder, begun, ended, process.returncode)


def end_of_script(state: State, folder: Path) -> Exit:
    """``ipython script.ipy`` comes to its end."""
    script = folder / "script.ipy"
    loading = "%load_ext twisted_ipython\n%autoawait twisted\n"
    cells = [loading + _BEGIN, state.code, _ASKED]
    script.write_text("\n".join(cells).replace("{folder!r}", repr(str(folder))))
    return _program(["-m", "IPython", "--colors=NoColor", str(script)], folder)


def end_of_command(state: State, folder: Path) -> Exit:
    """``python -m twisted_ipython -c "..."`` fails, which IPython shows first; status 1."""
    code = f"{_BEGIN}\n{state.code}\n{_ASKED}\n1 / 0"
    code = code.replace("{folder!r}", repr(str(folder)))
    return _program(["-m", "twisted_ipython", "--colors=NoColor", "-c", code], folder)


def exit_typed(state: State, folder: Path) -> Exit:
    """``exit`` is typed at the prompt of a terminal."""
    file = folder / "cell.ipy"
    file.write_text(f"{_BEGIN}\n{state.code}".replace("{folder!r}", repr(str(folder))))
    with Terminal() as terminal, _children_of(terminal.process.pid):
        shown = terminal.run(f"%run -i {file}")
        assert "Traceback" not in shown, shown
        asked = time()
        terminal.type("exit")
        terminal.ended_within(KILLED)
        ended = time()
        said = terminal.text.partition("exit")[2].strip()
        (folder / "stderr").write_text(said)
        return _exit(folder, asked, ended, terminal.process.exitstatus)


def _in_kernel(state: State, folder: Path, end: Callable[[Kernel], None]) -> Exit:
    with (folder / "stderr").open("w") as stderr, Kernel(stderr=stderr) as kernel:
        process = kernel.manager.provisioner.process
        with _children_of(process.pid):
            kernel.ok(_BEGIN.format(folder=str(folder)))
            cell = kernel.submit(state.code)
            cell.wait_for("begun") if state.waits else cell.wait()
            assert cell.error is None, cell.traceback
            asked = time()
            end(kernel)
            with suppress(subprocess.TimeoutExpired):
                process.wait(KILLED)
            ended = time()
        process.wait()
        stderr.write(_heard(kernel))
        stderr.flush()
        return _exit(folder, asked, ended, process.returncode)


def _heard(kernel: Kernel) -> str:
    """What a kernel that has ended said last to its front end."""
    heard = []
    with suppress(Empty):
        while True:
            message = kernel.client.get_iopub_msg(timeout=0.1)
            if message["msg_type"] == "stream":
                heard.append(message["content"]["text"])
    return "".join(heard)


def shutdown_request(state: State, folder: Path) -> Exit:
    """A kernel gets a shutdown request."""
    return _in_kernel(state, folder, Kernel.ask_shutdown)


def restart(state: State, folder: Path) -> Exit:
    """A kernel is asked to end in order to be started again."""

    def ask(kernel: Kernel) -> None:
        message = kernel.client.session.msg("shutdown_request", {"restart": True})
        kernel.client.control_channel.send(message)

    return _in_kernel(state, folder, ask)


def end_of_notebook(state: State, folder: Path) -> Exit:
    """Nbclient has run all cells of a notebook, and ends the kernel."""
    spec = folder / "data" / "kernels" / "tested" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    argv.append("--log-level=ERROR")
    spec.write_text(json.dumps({"argv": argv, "display_name": "", "language": "python"}))
    loading = "%load_ext twisted_ipython\n%autoawait twisted\n"
    cells = [loading, _BEGIN, state.code, _ASKED]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(cell.replace("{folder!r}", repr(str(folder))))
            for cell in cells
        ]
    )
    client = NotebookClient(notebook, kernel_name="tested", timeout=KILLED)
    client.create_kernel_manager()
    client.km.kernel_spec_manager.kernel_dirs.append(str(spec.parent.parent))
    with (folder / "stderr").open("w") as stderr:
        client.execute(stderr=stderr)
    return _exit(folder, float((folder / "asked").read_text()), time(), None)


Way = Callable[[State, Path], Exit]
WAYS: dict[str, Way] = {
    "script": end_of_script,
    "command": end_of_command,
    "terminal": exit_typed,
    "shutdown": shutdown_request,
    "restart": restart,
    "notebook": end_of_notebook,
}
_SOME = {
    "idle",
    "pending jobs",
    "a pool thread asked for in a plain cell",
    "a child of subprocess",
    "a stuck reactor",
}
_STATUS = {"command": 1, "notebook": None}


def cases(all_of: Collection[str] = tuple(WAYS)) -> list[tuple[str, str]]:
    """Ways of ending in states in which they can happen: in all states for the ways named."""
    in_kernel = {"shutdown", "restart"}
    return [
        (way, name)
        for way in WAYS
        for name, state in STATES.items()
        if (way in in_kernel or not state.waits) and (way in all_of or name in _SOME)
    ]


def leave(way: str, name: str, folder: Path) -> list[str]:
    """
    Have a process end; give what was wrong with it.

    Args:
        way: how it is asked to.
        name: in which state it is.
        folder: an empty one.
    """
    state = STATES[name]
    begun = monotonic()
    found = WAYS[way](state, folder)
    if "Address already in use" in found.said:
        # Another process took a port between its choice and the kernel's start.
        folder = folder / "again"
        folder.mkdir()
        begun = monotonic()
        found = WAYS[way](state, folder)
    wrong = []
    if found.seconds > 2.0:
        wrong.append(f"it took {found.seconds:.1f} s, of {monotonic() - begun:.1f} s in all")
    if found.status != _STATUS.get(way, 0):
        wrong.append(f"its status was {found.status}")
    if found.triggered != state.turns:
        wrong.append(f"the trigger ran: {found.triggered}")
    lines = found.said.splitlines()
    if len(lines) != bool(state.abandoned) or any(state.abandoned not in line for line in lines):
        wrong.append(f"it said {found.said!r}")
    return wrong
