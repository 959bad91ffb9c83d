"""A display that is changed in place, with a shell that keeps what it publishes."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.displaypub import DisplayPublisher
from IPython.core.formatters import DisplayFormatter

from twisted_ipython._display.updates import (
    Bundle,
    DisplayUpdate,
    bundle_of,
    can_update,
    is_plain,
    is_terminal,
    use_printer,
)
from twisted_ipython._waiting.calls import main_thread

cell: ContextVar[int] = ContextVar("cell")


class Publisher:
    """Keeps what is published, and the cell of the context that did it."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bool, int]] = []
        self.numbers: set[str] = set()

    def publish(self, *, data: Any, update: bool, transient: dict[str, str], **_: Any) -> None:
        """Keep it."""
        self.published.append((data["text/plain"], update, cell.get()))
        self.numbers.add(transient["display_id"])


class Broken:
    """What cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no picture")


def shell_of(publisher: Publisher) -> Any:
    """A shell that publishes there."""
    return SimpleNamespace(display_pub=publisher, display_formatter=DisplayFormatter())


def text(words: str) -> Bundle:
    """What is shown of some words."""
    return Bundle({"text/plain": words}, {})


def drawn(own: Bundle | None) -> Bundle:
    """What is shown of work that is done."""
    return text("done" if own is None else f"done, {own.data['text/plain']}")


@pytest.fixture
def publisher() -> Publisher:
    """What a shell of cell 1 has published; the cell that runs is 2 when a display is replaced."""
    cell.set(1)
    return Publisher()


def display_of(publisher: Publisher) -> DisplayUpdate:
    """A display that shows that something is pending."""
    display = DisplayUpdate(shell_of(publisher))
    display.show(text("pending"))
    cell.set(2)
    return display


def test_replaced_in_its_own_cell(publisher: Publisher) -> None:
    """An update has the display's number, and belongs to the cell that displayed it."""
    display_of(publisher).replace(text("done"))
    assert publisher.published == [("pending", False, 1), ("done", True, 1)]
    assert len(publisher.numbers) == 1


def test_a_number_is_shown_at_once(publisher: Publisher) -> None:
    """In the thread that ends the work, since nothing of the user's formats it."""
    display = display_of(publisher)
    display.finish(5, drawn, lambda: True)
    assert publisher.published[1:] == [("done, 5", True, 1)]


@pytest.mark.parametrize("wanted", [True, False])
def test_other_values_wait_for_the_main_thread(publisher: Publisher, wanted: bool) -> None:
    """The state is shown at once, and the value when the main thread is free, if it is wanted."""
    display = display_of(publisher)
    working = threading.Thread(target=display.finish, args=([1], drawn, lambda: wanted))
    working.start()
    working.join()
    assert publisher.published[1:] == [("done", True, 1)]
    main_thread.run()
    assert publisher.published[2:] == [("done, [1]", True, 1)] * wanted


def test_what_cannot_be_shown_raises_nothing(publisher: Publisher) -> None:
    """Where making the update fails, the display stays."""

    def fails(_: Bundle | None) -> Bundle:
        raise ValueError("no bundle")

    display_of(publisher).finish(5, fails, lambda: True)
    assert len(publisher.published) == 1


def test_never_without_text(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """A value whose representation fails has text all the same."""
    shown = bundle_of(shell_of(publisher), Broken())
    assert shown.data["text/plain"] == ("<Broken, whose repr() failed: ValueError: no picture>")
    capsys.readouterr()


def test_plain_values() -> None:
    """Numbers and short strings; no subclasses, which may have a representation of their own."""
    plain = [None, True, 1, 2.5, 1j, "word", b"bytes"]
    others = [[1], "x" * 10_001, 1 << 20_000, type("Own", (str,), {})("x"), object()]
    assert all(map(is_plain, plain))
    assert not any(map(is_plain, others))


def test_front_ends() -> None:
    """A kernel's publisher replaces what it displayed, IPython's own cannot."""
    terminal: Any = SimpleNamespace(display_pub=DisplayPublisher(), simple_prompt=True)
    assert (can_update(terminal), is_terminal(terminal)) == (False, True)
    kernel = shell_of(Publisher())
    assert (can_update(kernel), is_terminal(kernel)) == (True, False)


def test_printers() -> None:
    """One of the user's own stays, whether it was there before ours or came after."""
    formatter = DisplayFormatter().mimebundle_formatter
    undo = use_printer(formatter, Broken, lambda _: ({"text/plain": "ours"}, {}))
    assert formatter(Broken()) == ({"text/plain": "ours"}, {})
    assert use_printer(formatter, Broken, str)() is None
    undo()
    assert Broken not in formatter.type_printers
    undo = use_printer(formatter, Broken, str)
    formatter.for_type(Broken, repr)
    undo()
    assert formatter.type_printers[Broken] is repr
