"""
What cells print in a shell that has neither a kernel nor a terminal.

Its front end takes what is printed while a cell runs for that cell's.  `CellStreams`
stands in front of its streams for as long: what the work of other cells prints is
labelled, as `_display.late_output` says.  What is printed while no cell runs goes to
the streams that stand there then.

Thread: any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from threading import RLock
from typing import Any

from IPython.core.events import EventManager

from twisted_ipython._base.work_id import current_work
from twisted_ipython._display.late_output import Late, Message


class CellStreams:
    """The streams of one shell while its cells run."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._late = Late(self._pass_on)
        self._streams = {name: _Stream(partial(self._write, name)) for name in ("stdout", "stderr")}
        # The cells that run, each in the one before it.
        self._cells: list[str] = []

    def attach(self, events: EventManager) -> Callable[[], None]:
        """Stand there while cells run; gives the undo.  Thread: cell."""
        events.register("pre_run_cell", self._begin)
        events.register("post_run_cell", self._end)

        def undo() -> None:
            events.unregister("pre_run_cell", self._begin)
            events.unregister("post_run_cell", self._end)
            with self._lock:  # a cell may run
                self._cells.clear()
                self._late.end()
                self._leave()

        return undo

    def _begin(self, _: object) -> None:
        with self._lock:
            for name, ours in self._streams.items():
                if getattr(sys, name) is not ours:
                    ours.front = getattr(sys, name)
                    setattr(sys, name, ours)
            self._cells.append(str(current_work().cell))
            self._run(self._cells[-1])

    def _end(self, _: object) -> None:
        with self._lock:
            if self._cells:
                cell = self._cells.pop()
                if self._cells:
                    self._run(self._cells[-1])
                else:
                    idle = Message("status", {"execution_state": "idle"}, {"msg_id": cell})
                    self._print(self._late.to_send(idle))
                    self._leave()

    def _run(self, cell: str) -> None:
        request = {"header": {"msg_id": cell}, "content": {"allow_stdin": False}}
        self._print(self._late.begin(request, int(cell)))

    def _leave(self) -> None:
        for name, ours in self._streams.items():
            if getattr(sys, name) is ours:
                setattr(sys, name, ours.front)

    def _write(self, name: str, text: str) -> None:
        with self._lock:
            if self._cells:
                cell = str(current_work().cell or self._cells[-1])
                message = Message("stream", {"name": name, "text": text}, {"msg_id": cell})
                self._print(self._late.to_send(message))
            else:
                self._streams[name].front.write(text)

    def _print(self, messages: Iterable[Message]) -> None:
        for one in messages:
            if one.kind == "stream":
                self._streams[one.content["name"]].front.write(one.content["text"])

    def _pass_on(self, message: Message) -> None:
        self._streams[message.content["name"]].front.write(self._late.text(message))


class _Stream:
    """A stream in front of another, ``front``, which has all but ``write``."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.front: Any = None
        self._write = write

    def write(self, text: str) -> int:
        """Take a text, and give how long it is.  Thread: any."""
        if text:  # ``print(end="")`` writes nothing, too
            self._write(text)
        return len(text)

    def flush(self) -> None:
        """Have the other one write what it has.  Thread: any."""
        self.front.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.front, name)
