"""Startup and shutdown triggers of a script: `_scripts.system_events`, in memory."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.defer import Deferred

from twisted_ipython._scripts.system_events import Event


def test_phases_in_order() -> None:
    """Each phase after the one before it, whose Deferreds are waited for; each call once."""
    event, made = Event(), list[str]()
    waits: Deferred[None] = Deferred()

    def before() -> Deferred[None]:
        made.append("before")
        return waits

    event.add("after", partial(made.append, "after"))
    event.add("during", partial(made.append, "during"))
    event.add("before", partial(before))
    event.add("during", partial(made.append, "first"), first=True)
    fired = event.fire()
    assert (made, fired.called) == (["before"], False)
    waits.callback(None)
    assert made == ["before", "first", "during", "after"]
    assert (fired.called, len(event)) == (True, 0)


def test_added_meanwhile() -> None:
    """A call that another one adds is made too."""
    event, made = Event(), list[str]()
    event.add("during", partial(lambda: event.add("after", partial(made.append, "added"))))
    event.fire()
    assert made == ["added"]


def test_removed() -> None:
    """A call that is taken off is not made, nor taken off twice; one that moved is elsewhere."""
    event, made = Event(), list[str]()
    trigger = event.add("during", partial(made.append, "removed"))
    trigger.remove()
    with pytest.raises(ValueError, match="not in list"):
        trigger.remove()
    [moved] = [event.add("during", partial(int))]
    assert event.take() == [moved]
    moved.remove = partial(made.append, "elsewhere")
    moved.remove()
    event.fire()
    assert made == ["elsewhere"]


def test_no_such_phase() -> None:
    """A phase that Twisted does not know is refused in its words."""
    with pytest.raises(KeyError, match="invalid phase"):
        Event().add("never", partial(int))
