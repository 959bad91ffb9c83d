"""The reactor thread, reached from others: `_reactor.thread`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context

import pytest
from reactor_thread import Oops, in_reactor, reactor
from session import in_reactor_thread
from shells import run_python
from twisted.internet.threads import deferToThread

from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._reactor.thread import ReactorThread

SECONDS = 20

# In a process of its own: in that of the tests, what other tests need would be taken off.
ALSO = """
from twisted_ipython._reactor.lifecycle import start

def attach(_):
    print("set")
    return lambda: print("taken off")

thread = start()
thread.attach_also(attach)
thread.attach_also(attach)
thread.detach()
thread.attach_also(attach)
print("not set")
thread.attach()
thread.attach_also(attach)
thread.detach()
"""


@pytest.fixture(autouse=True)
def thread() -> ReactorThread:
    """The reactor thread of this process, which runs."""
    reactor()
    return current()


class Kept:
    """What a folder above keeps."""

    def __init__(self, thread: ReactorThread) -> None:
        self.thread = thread


def test_keeps_one_of_each_kind(thread: ReactorThread) -> None:
    """What is kept is made when it is first asked for, by what it is asked for with."""
    kept = thread.of(Kept)
    assert kept.thread is thread
    assert thread.of(Kept) is kept


def test_where_it_is(thread: ReactorThread) -> None:
    """It knows its thread and its loop, and what works for it in the pool."""
    assert not thread.here()
    assert not thread.works_here()
    assert in_reactor_thread(threading.get_ident) == thread.ident
    assert in_reactor_thread(thread.here)
    assert in_reactor_thread(thread.works_here)
    in_pool = thread.run(lambda: deferToThread(lambda: (thread.here(), thread.works_here())))
    assert in_pool.wait(SECONDS) == (False, True)


def test_calls(thread: ReactorThread) -> None:
    """What another thread has it call is called there, at once or after a time."""
    called, idents = threading.Event(), list[int]()

    def call(then: Callable[[], object]) -> None:
        idents.append(threading.get_ident())
        then()

    thread.call(call, int)
    thread.call(thread.later, 0.001, call, called.set)
    assert called.wait(SECONDS)
    assert idents == [thread.ident] * 2


@in_reactor
async def test_deferred_of_a_coroutine() -> None:
    """The Deferred of a coroutine has what it returns or raises."""

    async def fail() -> None:
        raise Oops

    async def succeed() -> str:
        return "value"

    assert await current().deferred(succeed(), copy_context()) == "value"
    with pytest.raises(Oops):
        await current().deferred(fail(), copy_context())


def test_what_a_folder_above_sets_is_set_once() -> None:
    """It is set once while what is below it is set, taken off with it, and not set without."""
    run = run_python("-c", ALSO)
    assert (run.returncode, run.stdout, run.stderr) == (
        0,
        "set\ntaken off\nnot set\nset\ntaken off\n",
        "",
    )


def test_explains_only_without_a_loop(thread: ReactorThread) -> None:
    """An error that the lack of a loop causes elsewhere has no note where there is one."""
    error = RuntimeError("no running event loop")
    thread.explain(error)
    assert not hasattr(error, "__notes__")
