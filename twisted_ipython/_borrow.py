"""
The reactor, given back by a thread that is about to wait for it.

Any thread.
"""

from __future__ import annotations

__all__ = ["give_back"]


def give_back() -> None:
    """Give the reactor back if this thread has it, for it is about to wait for it."""
