"""Measure on demand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

__all__ = ["questions", "serve"]


def questions() -> Callable[[], Callable[[dict[str, float]], None] | None]:
    """
    Keep standard output for answers; whatever else is printed goes nowhere.

    Returns:
        a function that waits for a line of standard input, and returns what
        answers it, or None if there are no more.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def answer(seconds: dict[str, float]) -> None:
        print(json.dumps(seconds), file=answers, flush=True)

    return lambda: answer if sys.stdin.readline() else None


def serve(measure: Callable[[], dict[str, float]]) -> None:
    """Answer each line of standard input with what ``measure`` gives, as a line of JSON."""
    wait = questions()
    while answer := wait():
        answer(measure())
