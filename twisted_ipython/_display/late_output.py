"""
Late output goes to the cell that runs, for a client that keeps no other cell's.

nbclient, and so nbconvert and papermill, drops each message that does not
belong to the cell that it runs.  Its requests say that it has no stdin, which
no front end for people says of a cell.  For such a client a late message is
sent as one of the running cell, and `_display.labels` has it say whose it is.

- A failure of the background becomes text on stderr, late or not: papermill
  takes an error among a cell's outputs for that cell's own.
- Late text comes in whole lines; one that nobody ends is sent in the end.
- A late `clear_output` is left out: it would clear another cell.  Late messages
  that the running cell clears are sent once more at its end.
- While no cell runs, messages wait for the next one, `MOST` of them at most;
  those for which none comes, and the oldest of too many, are given back.

Nothing here sends: a `Late` says what to send in place of a message.  Not safe
for threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, Final

from twisted_ipython._base.formatting import say
from twisted_ipython._display.labels import DISPLAYED, UNLABELLED, Labels, Message
from twisted_ipython._display.updates import Bundle, DisplayUpdate, can_update
from twisted_ipython._failures.alike import Tell
from twisted_ipython._failures.show import BACKGROUND

__all__ = ["KINDS", "MOST", "Late", "is_for_program", "telling_on"]

# How many messages wait for a cell.
MOST: Final = 1000

# The kinds that the running cell is sent for others, and those that tell of a cell.
KINDS: Final = (
    UNLABELLED | DISPLAYED | {"stream", "error", "clear_output", "execute_input", "status"}
)
# Those that tell whose the next cell is.
_ALWAYS: Final = frozenset({"execute_input"})


def _is_of_program(request: dict[str, Any]) -> bool:
    """Whether a cell's request came from a client that keeps no other cell's output."""
    content = request.get("content", {"allow_stdin": True})
    return not content.get("allow_stdin", False) and bool(content.get("store_history", True))


def is_for_program(shell: Any) -> bool:
    """Whether the cell that runs may be the last that its client saves."""
    return _is_of_program(getattr(getattr(shell, "kernel", None), "get_parent", dict)() or {})


def telling_on(shell: Any) -> Tell:
    """What shows a line that may be replaced later, where the front end can do that."""

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

    Attributes:
        concerns: the kinds of messages that `instead` has to be asked about now; any thread.

    Args:
        lost: takes the messages for which no cell came.
    """

    def __init__(self, lost: Callable[[Message], None]) -> None:
        self._lost = lost
        self._ended = False
        self.concerns: Set[str] = _ALWAYS
        self._running: dict[str, Any] | None = None
        self._labels = Labels()
        self._waiting: deque[Message] = deque()
        self._sent: deque[Message] = deque(maxlen=MOST)
        # Lines that have not ended, by whose they are and their stream; and those of them
        # that were there when the running cell began.
        self._lines: dict[tuple[str, str], Message] = {}
        self._old: list[Message] = []

    @property
    def _on(self) -> bool:
        """Whether the last cell was that of a client which keeps no other cell's output."""
        return self.concerns is KINDS

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
        else:
            for whole in self._in_lines(message):
                yield from self._wait(whole) if self._running is None else self._redirect(whole)

    def begin(self, request: dict[str, Any], number: int) -> Iterator[Message]:
        """A cell begins: what waited for it."""
        header = request.get("header", {})
        if header.get("subshell_id") is not None:
            return
        self.concerns = KINDS if _is_of_program(request) else _ALWAYS
        self._running = header if self._on else None
        self._sent.clear()
        if self._on:
            self._labels.numbers[header.get("msg_id", "")] = number
            self._labels.shown(None)
            self._old = list(self._lines.values())
        else:
            self._waiting.extend(self._unended(self._lines.values()))
        yield from self._send_waiting()

    def end(self) -> None:
        """No cell comes any more: give back what waits, and what would."""
        self._ended = True
        self._waiting.extend(self._unended(self._lines.values()))
        while self._waiting:
            self._lost(self._waiting.popleft())

    def text(self, message: Message) -> str:
        """A late message as text with labels."""
        return self._labels.text(message)

    # ---- what is late

    def _is_late(self, message: Message) -> bool:
        """Whether it belongs to another cell of this client's, or to none."""
        if self._runs(message.origin):
            return message.kind == "error" and BACKGROUND in (message.rest[-1] or {})
        return message.origin in self._labels.numbers or not message.header

    def _runs(self, origin: str) -> bool:
        return self._running is not None and origin == self._running.get("msg_id")

    def _status(self, message: Message) -> Iterator[Message]:
        if self._runs(message.origin) and message.content.get("execution_state") == "idle":
            self._waiting.extend(self._unended(self._old))
            yield from self._send_waiting()
            self._labels.shown(None)
            self._running = None
        yield message

    def _note_own(self, message: Message) -> None:
        """Note what the running cell itself sends."""
        self._labels.shown(message)
        if message.kind == "clear_output":
            self._waiting.extend(self._sent)
            self._sent.clear()

    # ---- lines

    def _in_lines(self, message: Message) -> list[Message]:
        """What there is to send by now: text waits for its line's end, or what comes after it."""
        origin, content = message.origin, message.content
        if message.kind != "stream" or self._ended:
            before = [line for (whose, _), line in self._lines.items() if whose == origin]
            return [*self._unended(before), message]
        line = self._lines.pop((origin, content["name"]), None)
        text = (line.content["text"] if line is not None else "") + content["text"]
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        if text[end:]:
            rest = message._replace(content={**content, "text": text[end:]})
            self._lines[origin, content["name"]] = rest
        return [message._replace(content={**content, "text": text[:end]})] if end else []

    def _unended(self, lines: Iterable[Message]) -> list[Message]:
        """Those of the lines that still have not ended, which are forgotten here."""
        unended = [line for line in lines if line in self._lines.values()]
        for line in unended:
            del self._lines[line.origin, line.content["name"]]
        return unended

    # ---- what waits, and what is sent

    def _wait(self, message: Message) -> Iterator[Message]:
        if self._ended:
            self._lost(message)
        elif message.kind != "clear_output":
            self._waiting.append(message)
            if len(self._waiting) > MOST:
                self._lost(self._waiting.popleft())
        yield from ()

    def _send_waiting(self) -> Iterator[Message]:
        while self._waiting:
            message = self._waiting.popleft()
            yield from [message] if self._running is None else self._redirect(message)

    def _redirect(self, message: Message) -> Iterator[Message]:
        """The messages of the running cell that stand for a late one."""
        assert self._running is not None
        if message.kind not in UNLABELLED:
            self._sent.append(message)
        for one in self._labels.labelled(message):
            yield one._replace(parent=self._running)
