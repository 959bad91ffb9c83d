"""
The pieces, hung on one shell, and taken off it.

Runs in the thread that runs the shell's cells.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from weakref import WeakKeyDictionary

from IPython.core.interactiveshell import InteractiveShell

from twisted_ipython import _awaiting, _reactor
from twisted_ipython._autoawait import runner
from twisted_ipython._magics import TwistedMagics
from twisted_ipython._settings import Settings

__all__ = ["load", "settings_of_last_load", "unload"]

_KINDS: Final = ("line", "cell")

_loaded: WeakKeyDictionary[InteractiveShell, _Extension] = WeakKeyDictionary()
_last: list[TwistedMagics] = []


def load(shell: InteractiveShell) -> None:
    """
    Start the reactor thread and put the extension on ``shell``; twice is as once.

    Raises:
        RuntimeError: the reactor was stopped, or nobody runs it.
    """
    extension = _loaded.get(shell)
    if extension is not None:
        extension.magics.auto.stay()
        return
    thread = _reactor.start()
    thread.attach()
    extension = _Extension(shell)
    _loaded[shell] = extension
    if thread.loop is None:
        print(thread.refusal)
    if extension.magics.autoawait:
        extension.magics.switch_autoawait("twisted")


def unload(shell: InteractiveShell) -> None:
    """Put ``shell`` back as it was; if one of its cells awaits, after that cell."""
    extension = _loaded.get(shell)
    if extension is None:
        return

    def close() -> None:
        if _loaded.pop(shell, None) is not None:
            extension.close()
        thread = _reactor.started()
        if not _loaded and thread is not None:
            thread.detach()

    extension.magics.auto.when_idle(close)


def settings_of_last_load() -> Settings | None:
    """The settings of the shell that loaded the extension last."""
    return _last[-1] if _last else None


class _Extension:
    """What the extension put on one shell; `close` takes it off."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._undo = ExitStack()
        self._shell = shell
        configurables = list(shell.configurables)
        self.magics = TwistedMagics(shell)
        self._undo.callback(shell.configurables.__setitem__, slice(None), configurables)
        _last.append(self.magics)
        self._undo.callback(_last.remove, self.magics)
        self._register_magics()
        self._choose_runner()
        for name, method in self.magics.auto.methods().items():
            self._set(name, method)
        self._set("loop_runner_map", {**shell.loop_runner_map, "twisted": (runner, True)})
        shell.events.register("pre_execute", _awaiting.run_later_calls)
        self._undo.callback(shell.events.unregister, "pre_execute", _awaiting.run_later_calls)
        way = _way_to_main_thread(shell)
        _awaiting.main_ways.append(way)
        self._undo.callback(_awaiting.main_ways.remove, way)

    def close(self) -> None:
        """Take everything off the shell, the last thing first."""
        self._undo.close()

    def _set(self, name: str, value: Any) -> None:
        """Set an attribute of this one shell."""
        own = vars(self._shell)
        if name in own:
            self._undo.callback(own.__setitem__, name, own[name])
        else:
            self._undo.callback(own.pop, name, None)
        own[name] = value

    def _register_magics(self) -> None:
        manager = self._shell.magics_manager
        for kind in _KINDS:
            for name in self.magics.magics[kind]:
                # IPython 9.18 keeps placeholders until a magic is looked for.
                before = manager.find(kind, name) if hasattr(manager, "find") else None
                before = before or manager.magics[kind].get(name)
                self._undo.callback(_put_back, manager.magics[kind], name, before)
        self._undo.callback(manager.registry.pop, "TwistedMagics", None)
        manager.register(self.magics)

    def _choose_runner(self) -> None:
        """Note the runner, to be put back."""
        shell = self._shell
        before = shell.loop_runner, shell.autoawait, shell.trio_runner

        def put_back() -> None:
            self.magics.auto.on = False
            shell.loop_runner, shell.autoawait, shell.trio_runner = before

        self._undo.callback(put_back)


def _put_back(table: dict[str, Any], name: str, before: Any) -> None:
    if before is None:
        table.pop(name, None)
    else:
        table[name] = before


def _way_to_main_thread(shell: InteractiveShell) -> Callable[[Callable[[], None]], bool]:
    """How to have the shell's thread, which is the main one, run something while it idles."""

    def call(function: Callable[[], None]) -> bool:
        loop = getattr(getattr(shell, "kernel", None), "io_loop", None)
        if loop is not None:
            loop.add_callback(function)
            return True
        application = getattr(getattr(shell, "pt_app", None), "app", None)
        if application is not None and application.is_running:
            application.loop.call_soon_threadsafe(function)
            return True
        return False

    return call
