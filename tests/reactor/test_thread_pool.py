"""Threads of Twisted's pool never keep the process, and asyncio's executor is that pool."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextvars import ContextVar

import pytest
from reactor_thread import in_reactor
from session import in_reactor_thread
from twisted.python.threadpool import ThreadPool

from twisted_ipython._reactor.lifecycle import start
from twisted_ipython._reactor.thread_pool import Daemon, PoolExecutor, abandoned

SECONDS = 30


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """A pool of one thread, of its own."""
    one = ThreadPool(0, 1, "tested")
    one.threadFactory = Daemon
    one.start()
    yield one
    if not one.joined:
        one.stop()


def test_daemons(pool: ThreadPool) -> None:
    """A thread that the main thread asks for is a daemon."""
    executor = PoolExecutor(lambda: pool)
    assert executor.submit(lambda: threading.current_thread().daemon).result(SECONDS)
    assert not threading.current_thread().daemon


def test_stop_does_not_wait(pool: ThreadPool) -> None:
    """A pool that stops leaves a busy thread to itself."""
    working, end = threading.Event(), threading.Event()

    def work() -> None:
        working.set()
        end.wait(SECONDS)

    pool.callInThread(work)
    assert working.wait(SECONDS)
    [thread] = pool.threads
    pool.stop()
    assert thread.is_alive()
    end.set()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_executor_fails(pool: ThreadPool) -> None:
    """What the work raises is what its future raises."""
    with pytest.raises(ZeroDivisionError):
        PoolExecutor(lambda: pool).submit(lambda: 1 / 0).result(SECONDS)


def test_executor_cancels(pool: ThreadPool) -> None:
    """Work that is cancelled while it queues is not begun."""
    executor, end, begun = PoolExecutor(lambda: pool), threading.Event(), []
    first = executor.submit(end.wait, SECONDS)
    second = executor.submit(begun.append, True)
    assert second.cancel()
    end.set()
    assert first.result(SECONDS)
    assert executor.submit(lambda: "third").result(SECONDS) == "third"
    with pytest.raises(CancelledError):
        second.result(SECONDS)
    assert begun == []


def test_executor_context(pool: ThreadPool) -> None:
    """Work runs in the context in which it was asked for."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    variable.set("set")
    assert PoolExecutor(lambda: pool).submit(variable.get).result(SECONDS) == "set"


@in_reactor
async def test_asyncio_uses_it() -> None:
    """`asyncio.to_thread` in the reactor thread runs in a daemon thread of the reactor's pool."""
    thread = await asyncio.to_thread(threading.current_thread)
    assert thread in start().pool.threads
    assert thread.daemon


def test_abandoned(pool: ThreadPool) -> None:
    """What the process does not wait for is named with its line; idle threads are not."""
    working, end = threading.Event(), threading.Event()

    def work() -> None:
        working.set()
        end.wait(SECONDS)

    ended = threading.Thread(target=lambda: None)
    pool.callInThread(work)
    assert working.wait(SECONDS)
    line = abandoned(ended, pool)
    assert line is not None
    assert f"a pool thread at {__file__}, line " in line
    alive = abandoned(threading.current_thread(), pool)
    assert alive is not None
    assert "the reactor, which is busy at " in alive
    end.set()
    assert PoolExecutor(lambda: pool).submit(lambda: 1).result(SECONDS) == 1
    pool.stop()
    assert abandoned(ended, pool) is None


def test_reactors_pool() -> None:
    """The reactor's own pool makes daemons, whoever asks."""
    asked = threading.Event()
    in_reactor_thread(lambda: None)
    daemons: list[bool] = []

    def work() -> None:
        daemons.append(threading.current_thread().daemon)
        asked.set()

    start().reactor.callInThread(work)
    assert asked.wait(SECONDS)
    assert daemons == [True]
