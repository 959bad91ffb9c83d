"""
What the cell of a job has shown is kept, and shown again to whoever asks.

`_display.kernel_messages` hands over each message of such a cell when it sends it.  Kept is
what was printed and displayed, the last megabyte of it, as it was sent: no object of the
user's.  It lives as long as the job stands in the table, or as its result.

What can still go wrong.  What belongs to one cell is one record: two jobs of the same cell
share it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from twisted_ipython._display.late_output import Message
from twisted_ipython._display.updates import CARD
from twisted_ipython._reactor.lifecycle import current

# The kinds of messages that show something.
RECORDED: Final = frozenset(
    {"display_data", "execute_result", "stream", "error", "update_display_data", "clear_output"}
)

LEFT_OUT: Final = "[{size} of earlier output left out]\n"
# How many characters are kept.
MOST: Final = 1_000_000
# Within so many seconds of its end a job's last text is sent, and its failure shown.
_LATE: Final = 2.0
# How many messages are kept, and the characters of one that is text.
_MESSAGES: Final = 10_000
_PIECE: Final = 10_000


class JobOutput:
    """
    What one cell has shown.

    Args:
        send: sends a message.
        lock: is held while a message is recorded and sent.
        asks: gives the header of the cell that runs in this context.
    """

    def __init__(
        self,
        send: Callable[[Message], object],
        lock: AbstractContextManager[Any],
        asks: Callable[[], dict[str, Any]],
    ) -> None:
        self._send = send
        self._lock = lock
        self._asks = asks
        self._kept: deque[Message] = deque()
        self._size = 0
        self._left_out = 0
        self._clears = False
        self._rest: tuple[Any, ...] = ()
        self._readers: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        return self._size + self._left_out > 0

    def __str__(self) -> str:
        return _written(self._size + self._left_out)

    async def show(self, ended: Awaitable[object] | None) -> None:
        """Show it in the cell that asks, and what comes until the job ended.  Thread: reactor."""
        reader = self._asks()
        with self._lock:
            for message in self.shown():
                self._send(message._replace(parent=reader))
            self._readers.append(reader)
        try:
            if ended is not None:
                await ended
        except BaseException:
            self._readers.remove(reader)
            raise
        current().later(_LATE, self._readers.remove, reader)

    def shown(self) -> Iterator[Message]:
        """What it shows now, and what was left out.  Thread: any, with the lock."""
        if self._left_out:
            text = LEFT_OUT.format(size=_written(self._left_out))
            yield Message("stream", {"name": "stdout", "text": text}, {}, self._rest)
        yield from self._kept
        if self._clears:
            yield Message("clear_output", {"wait": True}, {}, self._rest)

    def add(self, message: Message) -> None:
        """Keep what is sent, and send it to those who read.  Thread: any, with the lock."""
        if message.kind == "update_display_data":  # which front ends find by its number
            self._update(message)
            return
        self._rest = message.rest
        shown = message.for_another_cell()
        clear = shown.kind == "clear_output"
        if self._clears or clear:
            self._clears = bool(shown.content.get("wait"))
            if not self._clears:
                self._kept.clear()
                self._size = self._left_out = 0
        if not clear:
            self._keep(shown)
        for reader in [*self._readers]:
            self._send(shown._replace(parent=reader))

    def _keep(self, message: Message) -> None:
        """Keep a message, text in pieces, and leave out the oldest."""
        pieces = [message]
        if message.kind == "stream":
            name, text = message.content["name"], message.content["text"]
            if self._kept and self._kept[-1].content.get("name") == name:
                last = self._kept.pop()
                self._size -= _size(last)
                text = last.content["text"] + text
            starts = range(0, len(text), _PIECE)
            pieces = [message.as_text(name, text[at : at + _PIECE]) for at in starts]
        self._kept.extend(pieces)
        self._size += sum(map(_size, pieces))
        while self._size > MOST or len(self._kept) > _MESSAGES:
            size = _size(self._kept.popleft())
            self._size -= size
            self._left_out += size

    def _update(self, message: Message) -> None:
        """Change what is displayed by the number of the update."""
        number = _number(message)
        for index, kept in enumerate(self._kept):
            if number and _number(kept) == number:
                shown = kept._replace(content=message.content)
                self._size += _size(shown) - _size(kept)
                self._kept[index] = shown


def _number(message: Message) -> Any:
    """The number by which a display can be updated, if it has one."""
    return message.content.get("transient", {}).get("display_id")


def _size(message: Message) -> int:
    """How many characters a message has: its text, or what it displays; a job's value has none."""
    content = message.content
    if CARD in content.get("transient", {}):
        return 0
    return len(content["text"] if "text" in content else repr(content["data"]))


def _written(size: int) -> str:
    """A number of characters, as people say it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
