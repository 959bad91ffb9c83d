"""Trial in a cell: refused, and the reactor goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from kernels import Kernel

from twisted_ipython._reactor import overrides

REFUSED: Final = overrides.REFUSED.format(name="iterate")
CASES = """
import asyncio, os, sys, unittest
from twisted.internet import defer, reactor, task
from twisted.trial import reporter, runner
from twisted.trial.unittest import SynchronousTestCase, TestCase
ran = []
class Case(TestCase):
    def test_one(self): ran.append('one')
    def test_two(self): ran.append('two')
class Waits(TestCase):
    def test_one(self):
        return task.deferLater(reactor, 0.01)
class Synchronous(SynchronousTestCase):
    def test_one(self): ran.append('synchronous')
def trial(case):
    suite = runner.TestLoader().loadClass(case)
    runs = runner.TrialRunner(reporter.TreeReporter, workingDirectory={folder!r})
    runs.stream = sys.stdout
    return runs.run(suite)
"""
SEEN = (
    "len(reactor.getDelayedCalls()), len(reactor.getReaders()), reactor.threadpool.started,"
    " os.getcwd()"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel that tests share which leave it working."""
    folder = tmp_path_factory.mktemp("trial") / "temporary"
    with Kernel() as one:
        one.ok(CASES.replace("{folder!r}", repr(str(folder))))
        one.ok("await asyncio.to_thread(len, '')\nlate = reactor.callLater(100, len)")
        yield one


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """The shared kernel; after each test its reactor has what it had, and works."""
    shared.ok("ran.clear()")
    before = shared.value(f"await asyncio.sleep(0)\n({SEEN})")
    yield shared
    assert shared.value(f"await asyncio.sleep(0.01)\n({SEEN})") == before
    assert shared.value("await task.deferLater(reactor, 0.01, lambda: 'works')") == "'works'"


@pytest.mark.parametrize(
    ("top", "case"),
    [
        ("", "Case"),
        ("", "Waits"),
        ("await asyncio.sleep(0)\n", "Case"),
        ("%%run_in_reactor --wait\n", "Case"),
        ("%%run_in_reactor --wait\n", "Waits"),
    ],
)
def test_trial(kernel: Kernel, case: str, top: str) -> None:
    """Tests fail for a run of trial's, which says to use a child process and ends in order."""
    cell = kernel.run(f"{top}result = trial({case})\nresult.testsRun, result.wasSuccessful()")
    number = {"Case": 2, "Waits": 1}[case]
    assert cell.value == f"({number}, False)"
    # After each test, and after its class.
    assert f"FAILED (errors={2 * number})" in cell.printed()
    for name in ("iterate", "removeAll"):
        assert cell.printed().count(overrides.REFUSED.format(name=name)) == 1


def test_synchronous(kernel: Kernel) -> None:
    """Test cases that need no reactor run, here too."""
    cell = kernel.run("trial(Synchronous).wasSuccessful()")
    assert cell.value == "True"
    assert kernel.value("ran") == "['synchronous']"


@pytest.mark.parametrize("case", ["Case", "Waits"])
def test_unittest(kernel: Kernel, case: str) -> None:
    """So they do when unittest runs trial's test cases."""
    cell = kernel.ok(
        "result = unittest.TestResult()\n"
        f"unittest.defaultTestLoader.loadTestsFromTestCase({case}).run(result)\n"
        "print(result.errors[0][1])\nresult.wasSuccessful()"
    )
    assert REFUSED in cell.printed()
    assert cell.value == "False"


def test_command(kernel: Kernel, tmp_path: Path) -> None:
    """So does the `trial` command in a cell; in a child process it works."""
    # By its name: Twisted 26.10 cannot load a file on Python 3.15.
    (tmp_path / "test_it.py").write_text(
        "from twisted.trial.unittest import TestCase\n"
        "class Case(TestCase):\n    def test_one(self): pass\n"
    )
    folder = f"--temp-directory={tmp_path}/temporary"
    cell = kernel.run(
        "from twisted.scripts import trial as command\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"sys.argv = ['trial', {folder!r}, 'test_it']\ncommand.run()"
    )
    assert cell.error == "SystemExit"
    assert REFUSED in cell.printed()
    shown = kernel.run(f"!cd {tmp_path}; {{sys.executable}} -m twisted.trial {folder} test_it")
    assert "PASSED" in shown.printed()
    assert "(successes=1)" in shown.printed()


@pytest.mark.parametrize(
    ("top", "call"),
    [
        ("", "removeAll()"),
        ("", "fireSystemEvent('shutdown')"),
        ("await asyncio.sleep(0)\n", "iterate()"),
        ("await asyncio.sleep(0)\n", "removeAll()"),
        ("await asyncio.sleep(0)\n", "fireSystemEvent('shutdown')"),
    ],
)
def test_methods(kernel: Kernel, call: str, top: str) -> None:
    """What stops or empties the reactor fails; `iterate` does where the reactor itself is."""
    cell = kernel.run(f"{top}reactor.{call}")
    assert overrides.REFUSED.format(name=call.partition("(")[0]) in cell.traceback


def test_epoll(tmp_path: Path) -> None:
    """On a reactor without an asyncio loop nothing is cancelled either."""
    with Kernel(load=False) as one:
        one.ok("from twisted.internet import epollreactor; epollreactor.install()")
        one.run("%load_ext twisted_ipython")  # says that asyncio cannot be awaited
        one.ok(CASES.replace("{folder!r}", repr(str(tmp_path / "temporary"))))
        one.ok("late = reactor.callLater(100, len)")
        for case in ("Case", "Waits"):
            cell = one.run(f"result = trial({case})\nresult.wasSuccessful(), late.active()")
            assert cell.value == "(False, True)"
            assert REFUSED in cell.printed()


def test_exit(tmp_path: Path) -> None:
    """A kernel in which trial was run still ends, and says nothing."""
    with (tmp_path / "stderr").open("w+") as stderr, Kernel(stderr=stderr) as one:
        one.ok(CASES.replace("{folder!r}", repr(str(tmp_path / "temporary"))))
        one.run("result = trial(Case)")
        one.ask_shutdown()
        assert one.ended_within(10)
        stderr.seek(0)
        assert stderr.read() == ""
