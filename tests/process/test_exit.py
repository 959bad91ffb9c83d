"""A process ends when it is asked to, in every state; its children work and end too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from exits import cases, leave
from kernels import Kernel

from twisted_ipython._reactor.interrupt import FORKED

Case = tuple[str, str]
# The ways that are tried in every state; the others in some. `python tests/stress/run.py exits`
# tries them all, again and again.
USUAL = ("script", "terminal", "shutdown")
# How many processes are brought into their states and ended at once.
AT_ONCE = 2


@pytest.fixture(scope="module")
def leaving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Case], list[str]]]:
    """What was wrong with the end of a process; those of all selected tests run meanwhile."""
    ends: dict[Case, Future[list[str]]] = {}
    # Processes: what watches over a kernel leaves an open loop in each thread.
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as executor:
        for item in request.session.items:
            case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # type: ignore[attr-defined]  # a Function
            if case in cases(all_of=USUAL):
                folder = tmp_path_factory.mktemp("exit")
                ends[case] = executor.submit(leave, *case, folder)
        yield lambda case: ends[case].result()
        for end in ends.values():
            end.cancel()


@pytest.mark.parametrize("case", cases(all_of=USUAL), ids=" - ".join)
def test_ends(case: Case, leaving: Callable[[Case], list[str]]) -> None:
    """It takes 2 s at most, with the usual status, and says only what it had to abandon."""
    assert leaving(case) == []


@pytest.mark.parametrize("work", ["pass", "while True: pass"])
def test_programs_own_crochet(work: str) -> None:
    """The process ends too if crochet was set up before, in threads that hold it, even stuck."""
    with Kernel(load=False) as one:
        one.ok("import crochet; crochet.setup()")
        one.ok("%load_ext twisted_ipython\nfrom threading import Event; working = Event()")
        one.ok(f"def work():\n    working.set()\n    {work}")
        one.ok("from twisted.internet import reactor; reactor.callFromThread(work); working.wait()")
        one.ask_shutdown()
        assert one.ended_within(2)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A kernel with the extension."""
    with Kernel() as one:
        yield one


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("before", ["", "import asyncio; await asyncio.sleep(0)\n"])
def test_multiprocessing(kernel: Kernel, method: str, before: str) -> None:
    """Processes of each kind work and end, started by a plain and by an awaiting cell."""
    code = f"""
import math, multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's on forks where threads are
{before}
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    roots = pool.map(math.isqrt, [4, 9])
roots
"""
    assert kernel.value(code) == "[2, 3]"


@pytest.mark.parametrize("before", ["", "import asyncio; await asyncio.sleep(0)\n"])
def test_subprocess(kernel: Kernel, before: str) -> None:
    """Python's own way to run a program, and IPython's, work in plain and in awaiting cells."""
    code = f"""
import subprocess
{before}
shown = !echo shown
subprocess.run(["echo", "run"], capture_output=True, text=True).stdout.strip(), shown[0]
"""
    assert kernel.value(code) == "('run', 'shown')"


_FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's on forks where threads are
reader, writer = os.pipe()
child = os.fork()
if not child:
    os.dup2(writer, 2)
    sys.stderr = sys.__stderr__
    {child}
_, status = os.waitpid(child, 0)
os.close(writer)
with open(reader) as pipe:
    said = pipe.read()
print(repr((os.waitstatus_to_exitcode(status), said)), end="")
"""


def test_fork_works(kernel: Kernel) -> None:
    """A fork that does not await works and ends as it says."""
    assert kernel.ok(_FORK.format(child="os._exit(5)")).printed() == "(5, '')"


def test_fork_that_awaits(kernel: Kernel) -> None:
    """A fork of a plain cell that needs the reactor gets an error at once, which says why."""
    child = """
    from twisted_ipython import runner
    async def nothing(): pass
    coro = nothing()
    try:
        runner(coro)
    except RuntimeError as error:
        os.write(2, str(error).encode())
    coro.close()
    os._exit(6)"""
    assert kernel.ok(_FORK.format(child=child.strip())).printed() == repr((6, FORKED))


def test_fork_of_reactor_thread(kernel: Kernel) -> None:
    """A fork of an awaiting cell that awaits says why it cannot, and ends; the reactor goes on."""
    child = "await asyncio.sleep(0.1)"
    awaiting = "import asyncio; await asyncio.sleep(0)\n"
    assert kernel.ok(awaiting + _FORK.format(child=child)).printed() == repr((1, FORKED + "\n"))
    assert kernel.value("await asyncio.sleep(0.01, 'goes on')") == "'goes on'"


def test_twisted_children(kernel: Kernel) -> None:
    """Twisted reports the ends of its child processes within 1 s."""
    code = """
import time
from twisted.internet import reactor, utils
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

class Ends(ProcessProtocol):
    def __init__(self):
        self.ended = Deferred()
    def processEnded(self, reason):
        self.ended.callback(reason.value.exitCode)

begun = time.monotonic()
output = await utils.getProcessOutput("/bin/echo", ["said"])
ends = Ends()
reactor.spawnProcess(ends, "/bin/sh", ["sh", "-c", "exit 7"])
status = await ends.ended
output, status, time.monotonic() - begun < 1
"""
    assert kernel.value(code) == r"(b'said\n', 7, True)"
