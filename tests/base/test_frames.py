"""Where threads and coroutines stand."""

from __future__ import annotations

import threading
import types
from collections.abc import AsyncIterator, Generator
from contextlib import closing
from typing import Any

from shells import run_python
from twisted.internet.defer import Deferred

from twisted_ipython._base.frames import Place, of_coroutine, of_thread, waits_at

HERE = __file__

# Each new frame object is a reason to collect, and each collection leaves garbage for the next.
COLLECTED = """
import gc, threading
from twisted_ipython._base.frames import of_thread

class Local(threading.local):
    pass

def litter(*_):
    garbage = [Local()]
    garbage.append(garbage)

end = threading.Event()
threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(20)]
for one in threads:
    one.start()
gc.set_threshold(1)
gc.callbacks.append(litter)
of_thread(threads[0].ident)
assert gc.isenabled()
gc.disable()
of_thread(threads[0].ident)
assert not gc.isenabled()
"""


class Waitable:
    """Something that a coroutine awaits by a generator of its own."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@types.coroutine
def later() -> Generator[None, None, None]:
    """Suspend once, by a generator."""
    yield


async def inner(awaited: Any) -> None:
    """Await in a function of the user's."""
    await awaited


async def outer(awaited: Any) -> None:
    """Await in two functions of the user's."""
    await inner(awaited)


def line_of(function: Any, number: int = 2) -> int:
    """The line in this file of a line of a function: by default the one below its docstring."""
    first: int = function.__code__.co_firstlineno
    return first + number


def functions(places: list[Place]) -> list[str]:
    """What functions the places are in."""
    return [place.function for place in places]


def test_a_coroutine_waits_at_its_innermost_line_of_the_users() -> None:
    """The line is that of the inner function, whatever library frames are below it."""
    with closing(outer(Deferred())) as coro:
        coro.send(None)
        place = waits_at(coro)
        assert place is not None
        assert (place.file, place.line, place.function) == (HERE, line_of(inner), "inner")
        assert place.users
        assert place.text == "await awaited"
        assert functions(of_coroutine(coro))[-2:] == ["inner", "outer"]


def test_a_coroutine_that_waits_in_a_generator_is_followed() -> None:
    """`types.coroutine` and `__await__` are looked through, the innermost first."""
    with closing(outer(later())) as coro:
        coro.send(None)
        assert functions(of_coroutine(coro)) == ["later", "inner", "outer"]
    with closing(outer(Waitable())) as coro:
        coro.send(None)
        assert functions(of_coroutine(coro)) == ["__await__", "inner", "outer"]


def test_a_generator_waits_at_its_yield() -> None:
    """A generator, as `inlineCallbacks` drives it, waits where it yielded."""

    def steps() -> Generator[int, None, None]:
        yield 1
        yield 2

    with closing(steps()) as generator:
        next(generator)
        assert waits_at(generator) == Place(HERE, line_of(steps, 1), "steps", users=True)
        next(generator)
        assert waits_at(generator) == Place(HERE, line_of(steps, 2), "steps", users=True)


def test_a_coroutine_over_an_async_generator_waits_at_its_loop() -> None:
    """What cannot be looked through is the end: the line of the `async for`."""

    async def values() -> AsyncIterator[None]:
        yield await later()

    async def loop() -> None:
        async for _ in values():
            pass

    with closing(loop()) as coro:
        coro.send(None)
        place = waits_at(coro)
        assert place is not None
        assert (place.function, place.line) == ("loop", line_of(loop, 1))


def test_what_has_ended_waits_nowhere() -> None:
    """A coroutine that is over, and what is none, has no place."""
    coro = inner(later())
    coro.send(None)
    coro.close()
    assert waits_at(coro) is None
    assert waits_at(object()) is None


def test_a_thread_stands_in_the_users_code_and_in_libraries() -> None:
    """The innermost call comes first, and each frame says whose it is."""
    stop, ready = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        stop.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        assert ready.wait(10)
        assert thread.ident is not None
        places = of_thread(thread.ident)
    finally:
        stop.set()
        thread.join()
    assert [place.function for place in places if place.users] == ["wait"]
    names = functions(places)
    assert names.index("wait") < names.index("run")


def test_a_thread_that_is_gone_stands_nowhere() -> None:
    """A thread that has ended has no places."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.ident is not None
    assert of_thread(thread.ident) == []


def test_garbage() -> None:
    """Garbage that knows threads is not collected while Python holds the lock of all threads."""
    run = run_python("-c", COLLECTED, seconds=20)
    assert (run.returncode, run.stderr) == (0, "")
