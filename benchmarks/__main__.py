"""``python -m benchmarks [NAME...]``: measure, and print a table."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks._measures import MEASURES
from benchmarks._plot import plot
from benchmarks._subjects import Subjects, subjects
from benchmarks._table import Comparison, save, table

__all__ = ["main"]


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(MEASURES)}")
    parser.add_argument("--check", action="store_true", help="a limit that is missed is a failure")
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="keep the times, for `python -m pyperf`"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table, as .svg or .png")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - set(MEASURES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    return chosen


def _measured(name: str, compared: Subjects) -> list[Comparison]:
    """What one measurement gives; empty if it could not be made, which is printed."""
    print(f"{name}...", file=sys.stderr, flush=True)
    try:
        return MEASURES[name](compared)
    except Exception:
        traceback.print_exc()
        print(f"{name} could not be measured", file=sys.stderr)
        return []


def main(arguments: Sequence[str]) -> int:
    """
    Measure and print.

    Args:
        arguments: of the command line.

    Returns:
        the exit status: 1 if something could not be measured, or if, with
        ``--check``, a limit is missed.
    """
    chosen = _arguments(arguments)
    rows: list[Comparison] = []
    complete = True
    with subjects() as compared:
        for name in chosen.names or MEASURES:
            measured = _measured(name, compared)
            complete = complete and bool(measured)
            rows += measured
    print(table(rows))
    if chosen.save is not None:
        save(rows, chosen.save)
    if chosen.plot is not None:
        plot(rows, chosen.plot)
    kept = all(row.kept for row in rows) or not chosen.check
    return 0 if complete and kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
