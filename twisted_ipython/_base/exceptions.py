"""Exceptions of ours that several layers know.  Thread: any."""

from __future__ import annotations


class ReactorInterrupt(BaseException):
    """Thrown into the reactor thread to break the code that holds it."""
