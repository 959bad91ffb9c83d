"""
Late output goes to the cell that runs, for a client that keeps no other cell's.

nbclient, and so nbconvert and papermill, drops each message that does not
belong to the cell that it runs.  Its requests say that it has no stdin, which
no front end for people says of a cell.  For such a client a late message is
sent as one of the running cell, and says whose it is: each line of text begins
with `LABEL`, and what is no text comes after a line with it.

- A late failure becomes text on stderr: papermill takes an error among a
  cell's outputs for that cell's own.
- An update in place and a widget's message need no label: clients find what
  they change by its own number.
- A late `clear_output` is left out: it would clear another cell.  Late messages
  that the running cell clears are sent once more at its end.
- While no cell runs, messages wait for the next one, `MOST` of them at most;
  those for which none comes, and the oldest of too many, are given back.

Nothing here sends: a `Late` says what to send in place of a message.  Not safe
for threads.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["KINDS", "LABEL", "MOST", "Late", "Message"]

LABEL: Final = "[from cell {number}] "
# How many messages wait for a cell.
MOST: Final = 1000

# The kinds that the running cell is sent for others, and those that tell of a cell.
_UNLABELLED: Final = frozenset({"update_display_data", "comm_open", "comm_msg", "comm_close"})
_DISPLAYED: Final = frozenset({"display_data", "execute_result"})
_LATE: Final = _UNLABELLED | _DISPLAYED | {"stream", "error", "clear_output"}
KINDS: Final = _LATE | {"execute_input", "status"}

# What begins a line of text: after a line's end, or where a progress bar goes back to.
_BEGINS: Final = re.compile(r"[\r\n]+(?=[^\r\n])")


@dataclass(frozen=True)
class Message:
    """
    A message of a kernel's.

    Attributes:
        kind: its type.
        content: its content, as the messaging protocol has it.
        parent: the request that it belongs to, or that request's header.
        rest: what else its sender says of it.
    """

    kind: str
    content: dict[str, Any]
    parent: dict[str, Any]
    rest: tuple[Any, ...] = ()

    @property
    def header(self) -> dict[str, Any]:
        """The header of its request; empty where there is none."""
        header: dict[str, Any] = self.parent.get("header", self.parent)
        return header

    @property
    def origin(self) -> str:
        """Which request it belongs to."""
        return str(self.header.get("msg_id", ""))


class Late:
    """
    What to send in place of each message.

    Args:
        lost: takes the messages for which no cell came.
    """

    def __init__(self, lost: Callable[[Message], None]) -> None:
        self._lost = lost
        self._ended = False
        self._on = False
        self._running: dict[str, Any] | None = None
        # The cells that such a client ran, and their numbers.
        self._numbers: dict[str, int] = {}
        self._waiting: deque[Message] = deque()
        self._sent: deque[Message] = deque(maxlen=MOST)
        # Of the running cell's last output, where it is text: its stream, whose it is, and
        # whether its line goes on.
        self._line: tuple[str, str, bool] | None = None

    def concerns(self, kind: str) -> bool:
        """Whether `instead` has to be asked about messages of a kind.  Any thread."""
        return self._on or kind == "execute_input"

    def instead(self, message: Message) -> Iterator[Message]:
        """What to send, in order, in place of a message of one of the `KINDS`."""
        if message.kind == "execute_input":
            yield message
            yield from self.begin(message.parent, message.content["execution_count"])
        elif message.kind == "status":
            yield from self._status(message)
        elif not self._on or not self._is_late(message):
            yield message
            if self._on:
                self._note_own(message)
        elif self._running is None:
            self._wait(message)
        else:
            yield from self._redirect(message)

    def begin(self, request: dict[str, Any], number: int) -> Iterator[Message]:
        """A cell begins: what waited for it."""
        content = request.get("content", {})
        keeps_others = content.get("allow_stdin", False) or not content.get("store_history", True)
        header = request.get("header", {})
        if header.get("subshell_id") is not None:
            return
        self._on = not keeps_others
        self._running = header if self._on else None
        if self._on:
            self._numbers[header.get("msg_id", "")] = number
            self._sent.clear()
            self._line = None
        yield from self._send_waiting()

    def end(self) -> None:
        """No cell comes any more: give back what waits, and what would."""
        self._ended = True
        while self._waiting:
            self._lost(self._waiting.popleft())

    def text(self, message: Message) -> str:
        """A late message as text with labels."""
        texts = (one.content.get("text", "") for one in self._labelled(message))
        data = message.content.get("data", {})
        return "".join(texts) + (f"{data['text/plain']}\n" if "text/plain" in data else "")

    # ---- what is late

    def _is_late(self, message: Message) -> bool:
        """Whether it belongs to another cell of this client's, or to none."""
        if self._running is not None and message.origin == self._running.get("msg_id"):
            return False
        foreign = message.header.get("msg_type") == "execute_request"
        return message.origin in self._numbers or not foreign

    def _status(self, message: Message) -> Iterator[Message]:
        running = self._running
        own = running is not None and message.origin == running.get("msg_id")
        if own and message.content.get("execution_state") == "idle":
            yield from self._send_waiting()
            self._running = None
        yield message

    def _note_own(self, message: Message) -> None:
        """Note what the running cell itself sends."""
        self._line = None
        if message.kind == "stream":
            self._note_line(message.content["name"], message.origin, message.content["text"])
        elif message.kind == "clear_output":
            self._waiting.extend(self._sent)
            self._sent.clear()

    # ---- what waits

    def _wait(self, message: Message) -> None:
        if message.kind == "clear_output":
            return
        if self._ended:
            self._lost(message)
            return
        self._waiting.append(message)
        if len(self._waiting) > MOST:
            self._lost(self._waiting.popleft())

    def _send_waiting(self) -> Iterator[Message]:
        while self._waiting:
            message = self._waiting.popleft()
            yield from [message] if self._running is None else self._redirect(message)

    # ---- what is sent

    def _redirect(self, message: Message) -> Iterator[Message]:
        """The messages of the running cell that stand for a late one."""
        assert self._running is not None
        if message.kind not in _UNLABELLED:
            self._sent.append(message)
        for one in self._labelled(message):
            yield replace(one, parent=self._running)

    def _labelled(self, message: Message) -> Iterable[Message]:
        kind, content = message.kind, message.content
        if kind in _UNLABELLED:
            return [message]
        if kind == "stream":
            return [self._as_text(message, content["name"], content["text"])]
        if kind == "error":
            return [self._as_text(message, "stderr", "\n".join(content["traceback"]) + "\n")]
        if kind not in _DISPLAYED:
            return []
        label = self._label(message.origin).strip()
        shown = {name: content[name] for name in content if name != "execution_count"}
        before = [self._as_text(message, "stdout", "\n", label)] if label else []
        self._line = None
        return [*before, replace(message, kind="display_data", content=shown)]

    def _as_text(self, message: Message, name: str, text: str, label: str = "") -> Message:
        goes_on = self._line == (name, message.origin, True)
        breaks = not goes_on and self._line is not None and self._line[::2] == (name, True)
        labelled = self._with_labels(text, self._label(message.origin), goes_on=goes_on)
        self._note_line(name, message.origin, text)
        content = {"name": name, "text": ("\n" if breaks else "") + label + labelled}
        return replace(message, kind="stream", content=content)

    def _note_line(self, name: str, origin: str, text: str) -> None:
        self._line = name, origin, bool(text) and text[-1] not in "\r\n"

    def _label(self, origin: str) -> str:
        number = self._numbers.get(origin)
        return "" if number is None else LABEL.format(number=number)

    @staticmethod
    def _with_labels(text: str, label: str, *, goes_on: bool) -> str:
        begins = not goes_on and text[:1] not in ("", "\r", "\n")
        return (label if begins else "") + _BEGINS.sub(lambda ends: ends[0] + label, text)
