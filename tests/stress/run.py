"""
The long repetitions: what has to hold every time, done again and again.

    python tests/stress/run.py --seed 1            everything, in full: a quarter of an hour
    python tests/stress/run.py --seed 1 --short    a little of each: seconds
    python tests/stress/run.py exits interrupts    these stages only

Each stage is a program of its own, which prints its figures; it does the same
again for the same seed.  Status 1 if any of them found something wrong.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import NamedTuple

__all__ = ["STAGES", "Stage"]

HERE = Path(__file__).parent
# What the programs import: the package, and what tests share.
PATHS = [HERE.parents[1], HERE.parent / "support"]


class Stage(NamedTuple):
    """
    One program, and how often it does its thing.

    Attributes:
        program: its file, here.
        full: its arguments for the whole of it.
        short: its arguments for a little of it.
    """

    program: str
    full: tuple[str, ...]
    short: tuple[str, ...]


STAGES = {
    "throws": Stage(
        "interrupt.py",
        ("--throws=10000", "--interrupts=0"),
        ("--throws=500", "--interrupts=0"),
    ),
    "interrupts": Stage(
        "interrupt.py", ("--throws=0", "--interrupts=200"), ("--throws=0", "--interrupts=10")
    ),
    "borrow": Stage("borrow.py", ("--rounds=1000",), ("--rounds=30",)),
    "output": Stage("output.py", ("--rounds=100",), ("--rounds=3",)),
    "exits": Stage("exit.py", ("--repeat=50",), ("--repeat=1",)),
}


def main() -> int:
    """Run what the command line says; gives the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a little of each")
    options = parser.parse_args()
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    wrong = [
        name
        for name in options.stages or STAGES
        if not _passes(name, STAGES[name], options.seed, short=options.short)
    ]
    print(f"wrong: {', '.join(wrong)}" if wrong else "all stages passed", flush=True)
    return bool(wrong)


def _passes(name: str, stage: Stage, seed: int, *, short: bool) -> bool:
    arguments = stage.short if short else stage.full
    print(f"===== {name}: {stage.program} {' '.join(arguments)} --seed={seed}", flush=True)
    begun = monotonic()
    command = [sys.executable, HERE / stage.program, *arguments, f"--seed={seed}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    status = subprocess.run(command, check=False, env=environment).returncode
    print(f"===== {name}: status {status} after {monotonic() - begun:.0f} s", flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
