"""
What the inline backend notes of figures: matplotlib-inline 0.1 and 0.2.

Where the names are gone, nothing counts as drawn, and the figures stay open.
"""

from __future__ import annotations

from typing import Any


def was_drawn(inline: Any) -> bool:
    """Whether a figure was made since this was set to False; ``inline`` is the backend."""
    return bool(getattr(inline.show, "_draw_called", False))


def set_drawn(inline: Any, drawn: bool) -> None:
    """Say whether a figure is to be shown."""
    inline.show._draw_called = drawn


def take_drawn(inline: Any, figure: Any) -> bool:
    """Whether a figure waits to be shown; then it does no longer."""
    waiting = getattr(inline.show, "_to_draw", [])
    if figure in waiting:
        waiting.remove(figure)
        return True
    return False


def metadata_of(inline: Any, figure: Any) -> Any:
    """The metadata that the backend gives a figure."""
    return getattr(inline, "_fetch_figure_metadata", lambda _: None)(figure)
