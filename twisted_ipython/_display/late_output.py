"""
Late output goes to the cell that runs, for a client that keeps no other cell's.

nbclient, and so nbconvert and papermill, drops each message that does not belong to the cell
that it runs.  Its requests say that it has no stdin, which no front end for people says of a
cell.  For such a client a late message is sent as one of the running cell.  Each line of its
text begins with `LABEL`, and what is no text comes after a line with it.

- A failure of the background becomes text on stderr, late or not: papermill
  takes an error among a cell's outputs for that cell's own.
- Late text comes in whole lines.  One that nobody ends is sent when the cell ends
  before which it began.
- A late `clear_output` is left out: it would clear another cell.  Late messages
  that the running cell clears are sent once more at its end.
- While no cell runs, messages wait for the next one, `MOST` of them at most;
  those for which none comes, and the oldest of too many, are given back.

Nothing here sends: a `Late` says what to send in place of a message.

Thread: any, one at a time.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, Final, NamedTuple

from twisted_ipython._base.formatting import say
from twisted_ipython._display.updates import CARD, Bundle, DisplayUpdate, can_update, is_silent
from twisted_ipython._failures.alike import Tell
from twisted_ipython._failures.show import BACKGROUND

LABEL: Final = "[from cell {number}] "

# How many messages wait for a cell.
MOST: Final = 1000

# Clients find by its own number what these change, so they need no label.
_UNLABELLED: Final = frozenset({"update_display_data", "comm_open", "comm_msg", "comm_close"})
# The kinds that the running cell is sent for others, and those that tell of a cell.
KINDS: Final = (
    _UNLABELLED
    | {"display_data", "execute_result", "stream", "error", "clear_output"}
    | {"execute_input", "status"}
)
# Those that tell whose the next cell is.
_ALWAYS: Final = frozenset({"execute_input"})

# Where a line begins: in the beginning, and after a line's end or a way back to its start.
_BEGINS: Final = re.compile(r"(?:\A|[\r\n]+)(?=[^\r\n])")


class Message(NamedTuple):
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
        """The header of its request; empty where there is none.  Thread: any."""
        header: dict[str, Any] = self.parent.get("header", self.parent)
        return header

    @property
    def origin(self) -> str:
        """Which request it belongs to.  Thread: any."""
        return str(self.header.get("msg_id", ""))

    def as_text(self, name: str, text: str) -> Message:
        """Text on a stream, in its place.  Thread: any."""
        return self._replace(kind="stream", content={"name": name, "text": text})

    def for_another_cell(self) -> Message:
        """What can stand for it in any cell: no result of that, nor its error.  Thread: any."""
        content = self.content
        if self.kind == "error":
            return self.as_text("stderr", "\n".join(content["traceback"]) + "\n")
        if self.kind != "execute_result":
            return self
        shown = {"data": content["data"], "metadata": content["metadata"]}
        return self._replace(kind="display_data", content={**shown, "transient": {CARD: True}})


def _is_of_program(request: dict[str, Any]) -> bool:
    """Whether a cell's request came from a client that keeps no other cell's output."""
    content = request.get("content", {"allow_stdin": True})
    return not content.get("allow_stdin", False) and bool(content.get("store_history", True))


def is_for_program(shell: Any) -> bool:
    """Whether the cell that runs may be the last that its client saves.  Thread: cell."""
    return is_silent(shell) or _is_of_program(
        getattr(getattr(shell, "kernel", None), "get_parent", dict)() or {}
    )


def telling_on(shell: Any) -> Tell:
    """What shows a line that may be replaced later, if the front end can do that.  Thread: any."""

    def tell(line: str) -> Callable[[str], None] | None:
        if is_for_program(shell) or not can_update(shell):
            say(line)
            return None
        display = DisplayUpdate(shell)
        display.show(Bundle({"text/plain": line}, {}))
        return lambda line: display.replace(Bundle({"text/plain": line}, {}))

    return tell


class Late:
    """
    What to send in place of each message.

    Args:
        lost: takes the messages for which no cell came.

    Attributes:
        concerns: the kinds of messages that `to_send` has to be asked about now.
    """

    def __init__(self, lost: Callable[[Message], None]) -> None:
        self._lost = lost
        self._most = MOST
        self.concerns: Set[str] = _ALWAYS
        # The request that runs, while the last cell was that of a client as above.
        self._running: dict[str, Any] | None = None
        # The cells' numbers, by their requests.
        self._numbers: dict[str, int] = {}
        # The stream in which the last line sent to the running cell has not ended.
        self._open: str | None = None
        self._waiting: deque[Message] = deque()
        self._sent: deque[Message] = deque(maxlen=MOST)
        # Lines that have not ended, by whose they are and their stream; and those of them
        # that were there when the running cell began.
        self._lines: dict[tuple[str, str], Message] = {}
        self._old: list[tuple[str, str]] = []

    def to_send(self, message: Message) -> Iterator[Message]:
        """What to send, in order, in place of a message of one of the `KINDS`.  Thread: any."""
        if message.kind == "execute_input":
            yield message
            yield from self.begin(message.parent, message.content["execution_count"])
        elif message.kind == "status":
            if self._runs(message) and message.content.get("execution_state") == "idle":
                yield from self._send(self._take(self._old))
                self._running = self._open = None
            yield message
        elif self.concerns is KINDS and self._is_late(message):
            yield from self._send(self._in_lines(message))
        else:
            yield message
            self._note_sent(message)
            if message.kind == "clear_output":
                self._waiting.extend(self._sent)
                self._sent.clear()

    def begin(self, request: dict[str, Any], number: int) -> Iterator[Message]:
        """A cell begins: what waited for it.  Thread: any."""
        header = request.get("header", {})
        if header.get("subshell_id") is not None:
            return
        self._sent.clear()
        self._open = None
        self._old = [*self._lines]
        if _is_of_program(request):
            self.concerns, self._running = KINDS, header
            self._numbers[header.get("msg_id", "")] = number
            yield from self._send(self._take([]))
        else:
            self.concerns, self._running = _ALWAYS, None
            yield from self._take(self._old)

    def end(self) -> None:
        """No cell comes any more: give back what waits, and what would.  Thread: cell."""
        self._most, self._running = 0, None
        for message in self._take([*self._lines]):
            self._lost(message)

    def text(self, message: Message) -> str:
        """A late message as text with labels.  Thread: any."""
        shown = self._labelled(message)
        texts = [one.content.get("text", "") for one in shown]
        texts += [one.content["data"].get("text/plain", "") + "\n" for one in shown[1:]]
        return "".join(texts)

    def _runs(self, message: Message) -> bool:
        return self._running is not None and message.origin == self._running.get("msg_id")

    def _is_late(self, message: Message) -> bool:
        """Whether it belongs to another cell of this client's, or to none."""
        if self._runs(message):
            return message.kind == "error" and BACKGROUND in (message.rest[-1] or {})
        return message.origin in self._numbers or not message.header

    def _in_lines(self, message: Message) -> list[Message]:
        """What there is to send by now: text waits for its line's end, or what comes after it."""
        if message.kind != "stream":
            keys = [key for key in self._lines if key[0] == message.origin]
            return [*(self._lines.pop(key) for key in keys), message]
        key = message.origin, message.content["name"]
        begun = self._lines.pop(key, None)
        text = (begun.content["text"] if begun else "") + message.content["text"]
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        if text[end:]:
            self._lines[key] = message.as_text(key[1], text[end:])
        return [message.as_text(key[1], text[:end])] if end else []

    def _take(self, keys: list[tuple[str, str]]) -> list[Message]:
        """What waits, and some of the lines that have not ended, all forgotten here."""
        waiting, self._waiting = [*self._waiting], deque()
        return waiting + [self._lines.pop(key) for key in keys if key in self._lines]

    def _send(self, late: Iterable[Message]) -> Iterator[Message]:
        """The messages of the running cell that stand for late ones; without one they wait."""
        for message in late:
            if self._running is not None:
                if message.kind not in _UNLABELLED:
                    self._sent.append(message)
                for one in self._labelled(message):
                    yield one._replace(parent=self._running)
            elif message.kind != "clear_output":
                self._waiting.append(message)
                if len(self._waiting) > self._most:
                    self._lost(self._waiting.popleft())

    def _labelled(self, message: Message) -> list[Message]:
        """What stands for a late message; empty for one to be left out."""
        number = self._numbers.get(message.origin)
        label = "" if number is None else LABEL.format(number=number)
        if message.kind in _UNLABELLED:
            return [message]
        shown = message.for_another_cell()
        if shown.kind == "stream":
            return [self._label(shown, label)]
        if shown.kind != "display_data":
            return []
        title = [self._label(shown.as_text("stdout", f"{label.strip()}\n"), "")] if label else []
        self._open = None
        return [*title, shown]

    def _label(self, message: Message, label: str) -> Message:
        """Text with a label in front of each line, on a line of its own."""
        name, text = message.content["name"], message.content["text"]
        breaks = "\n" if self._open == name else ""
        labelled = message.as_text(
            name, breaks + _BEGINS.sub(lambda begins: begins[0] + label, text)
        )
        self._note_sent(labelled)
        return labelled

    def _note_sent(self, message: Message) -> None:
        """Note whether the line that is shown last has ended."""
        text = message.content["text"] if message.kind == "stream" else ""
        self._open = message.content["name"] if text and text[-1] not in "\r\n" else None
