"""crochet's EventualResult, awaited: `_reactor.eventual_result`."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import crochet
import pytest
from reactor_thread import Oops, forwards, in_reactor, later, logged, reactor
from shells import run_python
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.python import threadable

from twisted_ipython._reactor.eventual_result import EventualResult, adopt
from twisted_ipython._reactor.lifecycle import start

SECONDS = 20


@pytest.fixture(scope="module", autouse=True)
def started() -> None:
    """The reactor thread runs, and adopts crochet's results."""
    reactor()


def run(value: Any) -> EventualResult:
    """What crochet gives for work that ends with ``value`` a little later."""
    result = crochet.run_in_reactor(later)(value, 0.01)
    assert isinstance(result, EventualResult)
    return result


@pytest.mark.parametrize("driven", [False, True])
@in_reactor
async def test_in_the_reactor_thread(driven: bool) -> None:
    """It is awaited any number of times, by tasks and by coroutines that Twisted drives."""
    wait = (lambda each: ensureDeferred(forwards(each))) if driven else forwards
    result = run("value")
    assert [await wait(result) for _ in range(3)] == ["value"] * 3
    assert await asyncio.gather(wait(result), wait(run(1))) == ["value", 1]
    error = Oops()
    failing = run(error)
    for _ in range(2):
        with pytest.raises(Oops) as caught:
            await wait(failing)
        assert caught.value is error


def test_on_a_loop_of_another_thread() -> None:
    """Any asyncio loop awaits it, without blocking."""

    async def main() -> None:
        assert not threadable.isInIOThread()
        result = run("value")
        assert await asyncio.gather(forwards(result), forwards(result)) == ["value"] * 2
        assert await result == "value"
        with pytest.raises(Oops):
            await run(Oops())

    asyncio.run(main())


def test_cancelled_on_a_loop_of_another_thread() -> None:
    """Cancelling the await there cancels the work here."""
    work: Deferred[Any] = Deferred()
    result = crochet.run_in_reactor(lambda: work)()

    async def main() -> None:
        task = asyncio.create_task(forwards(result))
        await asyncio.sleep(0)
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task

    asyncio.run(main())
    with pytest.raises(CancelledError):
        result.wait(SECONDS)
    assert work.called


def test_loop_closed_before_the_result() -> None:
    """A result that comes when the loop that awaited it is closed harms nothing."""
    work: list[Deferred[Any]] = [Deferred()]
    result = crochet.run_in_reactor(lambda: work[0])()

    async def begin(waiting: Any) -> None:
        waiting.send(None)
        waiting.close()

    asyncio.run(begin(result.__await__()))
    with logged() as errors:
        crochet.run_in_reactor(lambda: work.pop().callback("value"))().wait(SECONDS)
        assert result.wait(SECONDS) == "value"
        del result
    assert errors == []


def test_wait() -> None:
    """`wait` blocks other threads, with and without a limit."""
    assert run("value").wait() == "value"
    assert run("value").wait(SECONDS) == "value"
    never = crochet.run_in_reactor(Deferred)()
    with pytest.raises(crochet.TimeoutError):
        never.wait(0.01)
    never.cancel()
    with pytest.raises(CancelledError):
        never.wait(SECONDS)


@in_reactor
async def test_wait_in_the_reactor_thread() -> None:
    """`wait` fails at once in the reactor thread, and says to await."""
    result = run("value")
    for seconds in (None, 0, SECONDS):
        with pytest.raises(RuntimeError, match=r"wait for itself for ever.*`await` the result"):
            result.wait(seconds)
    assert await result == "value"
    with pytest.raises(RuntimeError, match="await"):
        result.wait()


@in_reactor
async def test_unawaited_failure_is_logged() -> None:
    """A failure that nobody looks at is logged when the result goes, as crochet does."""
    with logged() as errors:
        run(Oops("unseen"))
        seen = run(Oops("seen"))
        await later(None, 0.02)
        with pytest.raises(Oops):
            await seen
        del seen
        for _ in range(500):  # it is looked at after a while, whether somebody else has it
            if not errors:
                await later(None, 0.01)
    assert errors == ["Oops('unseen')"]


def test_when_done() -> None:
    """`when_done` calls once, in the reactor thread, or at once if there is a result."""
    work: Deferred[Any] = Deferred()
    result = crochet.run_in_reactor(lambda: work)()
    called: list[int] = []
    done = threading.Event()
    result.when_done(lambda: called.append(threading.get_ident()))
    result.when_done(done.set)
    assert called == []
    crochet.run_in_reactor(work.callback)("value").wait(SECONDS)
    assert done.wait(SECONDS)
    assert called == [start().ident]
    result.when_done(lambda: called.append(threading.get_ident()))
    assert called == [start().ident, threading.get_ident()]


def test_adopt() -> None:
    """Only crochet's very own results change their class."""

    class Own(crochet.EventualResult):  # type: ignore[misc]  # its stub and mypy's view of it
        """A subclass of the user's."""

    plain, own = (kind(None, reactor()) for kind in (crochet.EventualResult, Own))
    assert type(adopt(plain)) is EventualResult
    assert adopt(plain) is plain
    assert type(adopt(own)) is Own
    assert "__await__" not in vars(crochet.EventualResult)


BEFORE = """
import asyncio, crochet
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.SelectorEventLoop())
from twisted.internet import defer, task, reactor

crochet.setup()
pending = crochet.run_in_reactor(lambda: task.deferLater(reactor, 0.5, lambda: "pending"))()
fired = crochet.run_in_reactor(lambda: "fired")()
failed = crochet.run_in_reactor(lambda: defer.fail(ValueError("failed")))()
fired.wait(20)

from twisted_ipython import runner
from twisted_ipython._reactor import lifecycle
assert type(pending) is crochet.EventualResult
thread = lifecycle.start()

async def main():
    print(await fired, await asyncio.gather(pending, fired))
    try:
        await failed
    except ValueError as error:
        print(error)

runner(main())
thread.detach()
print(type(crochet.run_in_reactor(int)()) is crochet.EventualResult)

async def again():
    return await pending, await fired

print(asyncio.run(again()), pending.wait(1))
"""


def test_made_before_the_load_and_used_after_the_unload() -> None:
    """Results from before the extension can be awaited; after it, all stay usable."""
    ignored = "ignore:isSet() is deprecated:DeprecationWarning"  # crochet 2.1.1
    done = run_python("-W", "error", "-W", ignored, "-c", BEFORE)
    assert done.stdout.splitlines() == [
        "fired ['pending', 'fired']",
        "failed",
        "True",
        "('pending', 'fired') pending",
    ]
    assert done.stderr == ""


KEPT = """
import sys, time, types
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "twisted_ipython")
shell.run_cell_magic("run_in_reactor", "result", "return 1")
sys.modules["keeps"] = keeps = types.ModuleType("keeps")
keeps.result = shell.user_ns["result"]
while keeps.result.state == "pending":
    time.sleep(0.01)
print(keeps.result.state)
"""


def test_kept_to_the_end() -> None:
    """A result that a module keeps makes no noise when the interpreter takes it apart."""
    run = run_python("-c", KEPT)
    assert (run.returncode, run.stdout) == (0, "done\n")
    assert run.stderr == ""


@in_reactor
async def test_dropped() -> None:
    """A result that nobody holds any more takes a success in silence."""
    fired: list[Deferred[Any]] = []

    def pending() -> Deferred[Any]:
        fired.append(Deferred())
        return fired[-1]

    with logged() as failures:
        crochet.run_in_reactor(pending)()
        await later(None, 0)
        gc.collect()
        fired[0].callback(None)
        gc.collect()
    assert failures == []
