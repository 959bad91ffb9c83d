"""What the session had is put back after a script: `_scripts.cleanup`, in memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from types import SimpleNamespace

from twisted_ipython._base.work_id import NO_WORK, WorkId, new_work, set_work
from twisted_ipython._scripts.cleanup import Kept, Output, put_back_resolvers


class Setting:
    """A number that is kept, and who lives."""

    def __init__(self) -> None:
        self.value = 1
        self.alive: set[int] = set()
        self.kept = Kept(lambda: self.value, self._set, lambda work: work in self.alive)
        self.set_as: Callable[[int], None] = self.kept.setting(self._set)

    def _set(self, value: int) -> None:
        self.value = value

    def set(self, work_id: WorkId, value: int) -> None:
        """Set it in a context that carries this."""

        def run() -> None:
            set_work(work_id)
            self.set_as(value)

        copy_context().run(run)


def script(setting: Setting) -> WorkId:
    """A script that lives."""
    work_id = new_work(1)
    setting.alive.add(work_id.work)
    return work_id


def test_of_a_script() -> None:
    """What it set, however often, is put back once, and not when another one ends."""
    setting = Setting()
    one, two = script(setting), script(setting)
    setting.set(one, 2)
    setting.set(one, 3)
    setting.kept.put_back(two.work)
    assert setting.value == 3
    setting.kept.put_back(one.work)
    assert setting.value == 1
    setting.value = 4
    setting.kept.put_back(one.work)
    assert setting.value == 4


def test_of_the_session() -> None:
    """What other work sets while scripts live stays, and is what later ones put back."""
    setting = Setting()
    one, two = script(setting), script(setting)
    setting.set(one, 2)
    setting.set(new_work(1), 5)
    setting.kept.put_back(one.work)
    assert setting.value == 5
    setting.set(two, 6)
    setting.kept.put_back(two.work)
    assert setting.value == 5


def test_two_scripts() -> None:
    """What a second one sets over it ends with the second, with what the session had."""
    setting = Setting()
    one, two = script(setting), script(setting)
    setting.set(one, 2)
    setting.set(two, 3)
    setting.kept.put_back(one.work)
    assert setting.value == 3
    setting.kept.put_back(two.work)
    assert setting.value == 1


def test_of_a_thread() -> None:
    """What a thread without work set is put back by its identifier."""
    setting = Setting()
    thread = Thread(target=setting.set, args=(NO_WORK, 2))
    thread.start()
    thread.join()
    setting.kept.put_back(new_work(1).work, None)
    assert setting.value == 2
    setting.kept.put_back(new_work(1).work, thread.ident)
    assert setting.value == 1


def test_resolvers() -> None:
    """The resolver that Twisted makes of a name resolver is the one that was there before."""
    installed: list[object] = []
    reactor = SimpleNamespace(resolver="c", nameResolver="d", installNameResolver=installed.append)
    put_back_resolvers(reactor, ("a", "b"))
    assert installed == ["b"]
    assert reactor.resolver == "a"


def test_warnings() -> None:
    """Warnings go where they went, unless they were logged before."""
    show, before = warnings.showwarning, Output()
    logging.captureWarnings(True)
    try:
        Output().put_back()
        assert warnings.showwarning is not show
        before.put_back()
        assert warnings.showwarning is show
    finally:
        logging.captureWarnings(False)
