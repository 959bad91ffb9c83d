"""
Late messages, labelled with the cell that they belong to.

Each line of text begins with `LABEL`; what is no text comes after a line with it.
Pure, and not safe for threads.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

__all__ = ["DISPLAYED", "LABEL", "UNLABELLED", "Labels", "Message"]

LABEL: Final = "[from cell {number}] "

# Clients find by its own number what these change.
UNLABELLED: Final = frozenset({"update_display_data", "comm_open", "comm_msg", "comm_close"})
DISPLAYED: Final = frozenset({"display_data", "execute_result"})

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
        """The header of its request; empty where there is none."""
        header: dict[str, Any] = self.parent.get("header", self.parent)
        return header

    @property
    def origin(self) -> str:
        """Which request it belongs to."""
        return str(self.header.get("msg_id", ""))


class Labels:
    """
    Labels late messages.

    Attributes:
        numbers: the cells' numbers, by the requests that ran them.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        # The stream in which the last line shown has not ended.
        self._open: str | None = None

    def shown(self, message: Message | None) -> None:
        """Note what is shown last; None at the beginning and the end of a cell."""
        text = message.content["text"] if message and message.kind == "stream" else ""
        self._open = message.content["name"] if message and text[-1:] not in "\r\n" else None

    def labelled(self, message: Message) -> list[Message]:
        """What stands for a late message; empty for one to be left out."""
        kind, content = message.kind, message.content
        if kind in UNLABELLED:
            return [message]
        if kind == "stream":
            return [self._as_text(message, content["name"], content["text"])]
        if kind == "error":
            return [self._as_text(message, "stderr", "\n".join(content["traceback"]) + "\n")]
        if kind not in DISPLAYED:
            return []
        label = self._label(message.origin).strip()
        before = [self._as_text(message._replace(parent={}), "stdout", label + "\n")]
        self.shown(None)
        shown = {name: content[name] for name in content if name != "execution_count"}
        return [*before, message._replace(kind="display_data", content=shown)][not label :]

    def text(self, message: Message) -> str:
        """A late message as text."""
        shown = self.labelled(message)
        texts = [one.content.get("text", "") for one in shown]
        texts += [one.content["data"].get("text/plain", "") + "\n" for one in shown[1:]]
        return "".join(texts)

    def _as_text(self, message: Message, name: str, text: str) -> Message:
        label = self._label(message.origin)
        breaks = "\n" if self._open == name else ""
        text = breaks + _BEGINS.sub(lambda begins: begins[0] + label, text)
        one = message._replace(kind="stream", content={"name": name, "text": text})
        self.shown(one)
        return one

    def _label(self, origin: str) -> str:
        number = self.numbers.get(origin)
        return "" if number is None else LABEL.format(number=number)
