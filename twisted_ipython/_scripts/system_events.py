"""
The calls of a script for its startup and its shutdown, in Twisted's three phases.

As Twisted's own system events, but an object for each script, and nothing here
is private to Twisted.  Runs in the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

_log: Final = Logger()
# Twisted's words for it.
FAILED: Final = "while calling system event trigger handler"
NOT_MAIN_THREAD: Final = "signal only works in main thread"
_PHASES: Final = ("before", "during", "after")


class Trigger:
    """
    One call of an event; what ``addSystemEventTrigger`` gives a script.

    Args:
        phase: ``before``, ``during`` or ``after``.
        call: what is called; what it returns is waited for in the first phase.
        event: what it is a call of.

    Attributes:
        remove: takes it off whatever has it; a ValueError if it was called or taken off before.

    Raises:
        KeyError: there is no such phase.
    """

    def __init__(self, phase: str, call: Callable[[], Any], event: list[Trigger]) -> None:
        if phase not in _PHASES:
            raise KeyError("invalid phase")  # Twisted's words
        self.phase = phase
        self.call = call
        self.remove: Callable[[], object] = lambda: event.remove(self)

    def __call__(self) -> Deferred[Any] | None:
        """Make the call, whose failure is logged; gives a Deferred to wait for, or None."""
        try:
            result = self.call()
        except ValueError as error:
            # Scrapy's `start` and others take the signals, which belong to the session.
            if NOT_MAIN_THREAD not in str(error):
                _log.failure(FAILED)
            return None
        except BaseException:  # not even a SystemExit may leave the reactor's loop
            _log.failure(FAILED)
            return None
        if not isinstance(result, Deferred):
            return None
        return result.addErrback(lambda failure: _log.failure(FAILED, failure))


class Event:
    """Calls in three phases, each made once."""

    def __init__(self) -> None:
        self._triggers: list[Trigger] = []

    def __len__(self) -> int:
        return len(self._triggers)

    def add(self, phase: str, call: Callable[[], Any], *, first: bool = False) -> Trigger:
        """Add a call, after the others of its phase or before them."""
        trigger = Trigger(phase, call, self._triggers)
        self._triggers.insert(0 if first else len(self._triggers), trigger)
        return trigger

    def take(self) -> list[Trigger]:
        """All calls, which are off the event now."""
        taken, self._triggers[:] = self._triggers[:], []
        return taken

    def fire(self) -> Deferred[None]:
        """
        Make the calls, those that are added meanwhile included.

        Returns:
            a Deferred that fires when all have been made; those of the phase
            ``before`` may return Deferreds, which are waited for.

        Thread: reactor.
        """
        waits = [result for one in self._of("before") if (result := one()) is not None]
        return DeferredList(waits).addCallback(self._go_on)

    def _go_on(self, _: object) -> None:
        for phase in ("during", "after"):
            for trigger in self._of(phase):
                trigger()

    def _of(self, phase: str) -> Iterator[Trigger]:
        """The calls of a phase, each off the event by the time it is made."""
        while found := [one for one in self._triggers if one.phase == phase]:
            self._triggers.remove(found[0])
            yield found[0]
