"""asyncio has the private names that are used, and without them it goes on as is said."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from twisted_ipython._bridge.drivers import refuse_timeout
from twisted_ipython._private import asyncio as private
from twisted_ipython._private import asyncio_steps as steps

SEEN = "asyncio has no {name} of {of} any more, which Python 3.11 to 3.15 have: {file}"


async def things() -> dict[str, Any]:
    """One of each of asyncio's things."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read()
    found = {
        "a loop": loop,
        "a task": asyncio.current_task(),
        "a future": loop.create_future(),
        "a timer": loop.call_later(0, int),
        "a handle": loop.call_soon(int),
        "a server": server,
        "a transport": writer.transport,
        "an RLock": threading.RLock(),
    }
    writer.close()
    server.close()
    await server.wait_closed()
    return found


NAMES = {
    "a loop": (
        *(
            "_scheduled",
            "_selector",
            "_current_handle",
            "_ready",
            "_debug",
            "_run_once",
            private.CHECK_THREAD,
            *private.TRANSPORT_METHODS,
        ),
    ),
    "a task": (
        *("_log_destroy_pending", "_asyncio_future_blocking"),
        *("_fut_waiter", "_must_cancel", steps.MESSAGE),
    ),
    "a future": (
        *(private.LOG_TRACEBACK, private.EXCEPTION),
        *("_asyncio_future_blocking", "_callbacks"),
    ),
    "a timer": ("_when", "_args"),
    "a server": (private.LOOP, private.PROTOCOL_FACTORY),
    "a transport": (private.LOOP, private.SOCKET, private.SERVER),
    "a handle": ("_callback", "_context", "_args", "_source_traceback"),
    "an RLock": ("_is_owned",),
}


def test_names() -> None:
    """Each name is there."""
    found = asyncio.run(things())
    for of, names in NAMES.items():
        for name in names:
            assert hasattr(found[of], name), SEEN.format(name=name, of=of, file=private.__file__)


def test_codes() -> None:
    """What needs a task has the code of its name; what is gone, or in C, one that is nothing's."""
    codes = [private.TIMEOUT, private.WAIT_FOR, private.TASK_GROUP]
    names = ["__aenter__", "wait_for", "create_task"]
    assert [code.co_name for code in codes] == names, "asyncio has these in Python 3.11 to 3.15"
    gone = private.code_of(asyncio, "gone")
    assert gone is private.code_of(sys, "exit")
    assert gone.co_filename == "<nothing>"


def test_without_codes() -> None:
    """A function that is not known by its code is not refused: asyncio says what is wrong."""
    task: Any = None
    refuse_timeout(sys._getframe(), task, timeout=private.code_of(asyncio, "gone"))

    async def waits() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    private.set_running_loop(loop)
    try:
        with pytest.raises(RuntimeError, match="Timeout should be used inside a task"):
            waits().send(None)
    finally:
        private.set_running_loop(None)
        loop.close()


def test_timer_is_due() -> None:
    """Only a timer whose time has come is; a loop that keeps its timers to itself sees to them."""
    loop = asyncio.new_event_loop()
    assert not private.timer_is_due(loop)
    loop.call_later(100, int)
    assert not private.timer_is_due(loop)
    loop.call_later(0, int)
    assert private.timer_is_due(loop)
    assert not private.timer_is_due(object())
    loop.close()


def test_lock() -> None:
    """A lock is owned by the thread that holds it."""
    lock = threading.RLock()
    assert not private.owns(lock)
    with lock:
        assert private.owns(lock)


def test_running_loop() -> None:
    """The note of the running loop is read as it was set."""
    assert private.running_loop() is None
    loop = asyncio.new_event_loop()
    private.set_running_loop(loop)
    assert private.running_loop() is asyncio.get_running_loop() is loop
    private.set_running_loop(None)
    loop.close()


def test_default_loop() -> None:
    """The loop that was set is found and set, and none is made by looking."""
    before = private.loop_set()
    loop = asyncio.new_event_loop()
    private.set_loop(loop)
    assert private.loop_set() is asyncio.get_event_loop() is loop
    private.set_loop(before)
    assert private.loop_set() is before
    loop.close()


def test_sets_of_tasks() -> None:
    """asyncio's C code has sets of tasks, by which plain cells list them on Python 3.14."""
    assert bool(private.task_sets()) is (sys.version_info >= (3, 14))
    gc.collect()  # which never ended on Python 3.12, where they were asked for


def test_callback() -> None:
    """A loop in debug mode tells what it calls; one that does not tell calls nothing."""
    found: list[tuple[Any, ...]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda _: found.append(private.arguments_of_callback(loop)), "argument")
        await asyncio.sleep(0.01)

    asyncio.run(main(), debug=True)
    assert found == [("argument",)], "Python 3.11 to 3.15 have `_current_handle` and its `_args`"
    assert private.arguments_of_callback(object()) == ()


def test_clients_are_aborted() -> None:
    """The connections of a server are closed with it, and no others."""
    ended: list[str] = []

    class Client(asyncio.Protocol):
        def connection_lost(self, _: Exception | None) -> None:
            ended.append("client")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        clients: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                clients.put_nowait(transport)

            def connection_lost(self, _: Exception | None) -> None:
                ended.append("accepted")

        server = await loop.create_server(Accepted, "127.0.0.1")
        mine, _ = await loop.create_connection(Client, *server.sockets[0].getsockname())
        accepted = await clients.get()
        server.close()
        private.abort_clients(server, [mine, accepted])
        async with asyncio.timeout(10):
            while len(ended) < 2:
                await asyncio.sleep(0)

    asyncio.run(main())
    assert ended == ["accepted", "client"]


def test_silence() -> None:
    """The switch of a task is set; what has none is left as it is."""
    task = SimpleNamespace(_log_destroy_pending=True)
    private.silence(cast(Any, task))
    assert task._log_destroy_pending is False
    private.silence(cast(Any, object()))


def test_step() -> None:
    """What a Task schedules names its Task, and shows the collector what it throws."""
    loop = asyncio.new_event_loop()
    thrown: list[Any] = []

    class Bad:
        def __await__(self) -> Any:
            yield "bad"

    async def body() -> None:
        task: Any = asyncio.current_task()
        loop.call_soon(lambda: thrown.append(steps.take_step(task)))
        await Bad()

    task = loop.create_task(body())
    loop.run_until_complete(asyncio.sleep(0))
    [taken] = thrown
    assert isinstance(taken.error, RuntimeError)
    assert taken.future is None
    private.silence(task)
    task = loop.create_task(asyncio.sleep(9))
    step = steps.take_first_step(task)
    assert step is not None
    assert steps.take_first_step(task) is None
    loop.call_soon(step)
    loop.run_until_complete(asyncio.sleep(0))
    taken = steps.take_step(task)
    assert taken is not None
    assert isinstance(taken.future, asyncio.Future)
    assert steps.take_step(task) is None
    private.silence(task)
    loop.close()


def test_step_without_names() -> None:
    """A Task that does not show what it waits for, on a loop that shows nothing, keeps its step."""
    task: Any = SimpleNamespace(get_loop=object)
    assert steps.take_step(task) is None
    assert steps.take_first_step(task) is None
