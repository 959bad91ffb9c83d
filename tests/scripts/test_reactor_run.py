"""Whose ``run``, ``stop`` and triggers those of the reactor are: `_scripts.reactor_run`."""

from __future__ import annotations

import _thread
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ReactorAlreadyRunning, ReactorNotRestartable
from twisted.logger import globalLogPublisher
from twisted.python.threadpool import ThreadPool

from twisted_ipython._base.work_id import new_work, set_work
from twisted_ipython._reactor.crawls import Crawls
from twisted_ipython._reactor.overrides import Overrides
from twisted_ipython._scripts.reactor_run import IN_CALLBACK, attach
from twisted_ipython._scripts.registry import NOBODY_WAITS, Scripts
from twisted_ipython._scripts.script import Stage
from twisted_ipython._scripts.system_events import Event


class Reactor:
    """A reactor that notes what is called, and is given no turns."""

    def __init__(self) -> None:
        self.resolver = self.nameResolver = None
        self.called: list[Any] = []
        self.pool = ThreadPool()

    def getThreadPool(self) -> ThreadPool:
        """Its pool."""
        return self.pool

    def run(self) -> None:
        """Note it."""
        self.called.append("run")

    def stop(self) -> None:
        """Note it."""
        self.called.append("stop")

    def crash(self) -> None:
        """Note it."""
        self.called.append("crash")

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        """Note it."""
        self.called.append(("callWhenRunning", function))

    def addSystemEventTrigger(self, *where: Any) -> Any:
        """Note it; the call is the handle."""
        self.called.append(where[:2])
        return where[2]

    def removeSystemEventTrigger(self, handle: Any) -> None:
        """Note it."""
        self.called.append(("removed", handle))

    def callFromThread(self, function: Callable[..., object], *args: Any) -> None:
        """Note it."""
        self.called.append((function, *args))


class Thread:
    """The thread of such a reactor, in which the tests are unless they say otherwise."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.pool = self.reactor.pool
        self.ident = threading.get_ident()
        self.crawls, self.overrides = Crawls(self), Overrides()
        self._scripts = Scripts(self)  # type: ignore[arg-type]

    def of(self, _: object) -> Scripts:
        """The scripts."""
        return self._scripts

    def here(self) -> bool:
        """Whether the caller is in it."""
        return threading.get_ident() == self.ident


@pytest.fixture
def thread() -> Thread:
    """A reactor thread."""
    return Thread()


@pytest.fixture
def reactor(thread: Thread) -> Iterator[Reactor]:
    """Its reactor with the methods of scripts, of a program that runs it itself."""
    observers = list(globalLogPublisher._observers)
    detach = attach(thread)  # type: ignore[arg-type]
    thread.reactor.called.clear()
    yield thread.reactor
    detach()
    assert list(globalLogPublisher._observers) == observers
    assert vars(thread.reactor).keys() <= {"resolver", "nameResolver", "called", "pool"}


def in_cell(function: Callable[[], object]) -> object:
    """Call a function in the context of a cell's work."""

    def call() -> object:
        set_work(new_work(1))
        return function()

    return Context().run(call)


def test_of_the_program(reactor: Reactor) -> None:
    """Where no cell's context is, a stop is that of the program, which ends its reactor."""
    Context().run(reactor.stop)
    Context().run(reactor.crash)
    assert reactor.called == ["stop", "crash"]


def test_of_nobody(reactor: Reactor, capsys: pytest.CaptureFixture[str]) -> None:
    """In a cell's where no script waits, it is ignored, and a line says so."""
    in_cell(reactor.stop)
    assert capsys.readouterr().out == NOBODY_WAITS + "\n"
    in_cell(reactor.crash)
    assert capsys.readouterr().out == NOBODY_WAITS.replace("stop()", "crash()") + "\n"
    assert reactor.called == []


def test_all_that_a_thread_runs(reactor: Reactor, thread: Thread) -> None:
    """A stop that is a thread's whole code stops the only script that waits."""
    stopped = threading.Event()
    script: Any = SimpleNamespace(
        work_id=new_work(1), stage=Stage.WAITS, fail=lambda _: None, stop=stopped.set
    )
    thread.of(Scripts).enter(script)
    in_cell(lambda: _thread.start_new_thread(copy_context().run, (reactor.stop,)))
    assert stopped.wait(10)


def test_refused_in_its_thread(reactor: Reactor) -> None:
    """``run`` in the reactor's thread fails, and what the caller has changed is put back."""
    with pytest.raises(ReactorAlreadyRunning, match=re.escape(IN_CALLBACK)):
        in_cell(reactor.run)
    [(run, refuse, cancel)] = reactor.called
    assert run.__name__ == "run"
    assert refuse.__name__ == "refuse"
    assert cancel is None


def test_when_running(reactor: Reactor) -> None:
    """Outside of scripts it is called at once, or soon by the reactor for another thread."""
    called: list[int] = []
    in_cell(lambda: reactor.callWhenRunning(lambda: called.append(threading.get_ident())))
    assert called == [threading.get_ident()]
    other = threading.Thread(target=reactor.callWhenRunning, args=(int,))
    other.start()
    other.join()
    [(run, function)] = reactor.called
    assert run.__name__ == "run"
    assert function is int


def test_triggers(reactor: Reactor, thread: Thread) -> None:
    """A script's are its own, those of other events and of other cells the session's."""
    script: Any = SimpleNamespace(work_id=new_work(1), startup=Event(), shutdown=Event())
    thread.of(Scripts).enter(script)

    def of_script() -> None:
        set_work(script.work_id)
        reactor.addSystemEventTrigger("before", "startup", int)
        reactor.addSystemEventTrigger("during", "shutdown", int)
        reactor.addSystemEventTrigger("after", "other", int)

    Context().run(of_script)
    assert [one.phase for one in script.startup.take()] == ["before"]
    assert [one.phase for one in script.shutdown.take()] == ["during"]
    in_cell(lambda: reactor.addSystemEventTrigger("after", "shutdown", int))
    assert reactor.called == [("after", "other"), ("after", "shutdown")]
    reactor.removeSystemEventTrigger(int)
    assert reactor.called[-1] == ("removed", int)


def test_end(thread: Thread) -> None:
    """When the reactor itself has stopped, ``run`` says that it cannot run again."""
    added: list[Callable[[], object]] = []
    thread.reactor.addSystemEventTrigger = (  # type: ignore[method-assign]
        lambda *where: added.append(where[2])
    )
    detach = attach(thread)  # type: ignore[arg-type]
    for end in added:
        end()
    thread.ident = 0
    with pytest.raises(ReactorNotRestartable):
        Context().run(thread.reactor.run)
    detach()
