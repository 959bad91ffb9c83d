"""
Has processes end in every state, again and again.

    python tests/stress/run.py exits --seed 1

In each state as often as it is said, the ways to end taken in turn; the order
is random, by the seed.  Status 1 if any end was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from exits import STATES, cases, leave


def main() -> int:
    """Run what the command line says; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    runs = _runs(options.repeat, random.Random(options.seed))
    with TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = os.environ["JUPYTER_RUNTIME_DIR"] = folder
        os.environ["NO_COLOR"] = "1"
        failures = _run(runs, Path(folder), options.at_once)
    print(f"{len(runs)} exits, {failures.total()} wrong; seed {options.seed}, {sys.version}")
    for (way, name), number in failures.items():
        print(f"{number} of {runs.count((way, name))}: {way}, {name}")
    return min(failures.total(), 1)


def _runs(repeat: int, chance: random.Random) -> list[tuple[str, str]]:
    """Each state ``repeat`` times, in a random order."""
    runs = []
    for state in STATES:
        ways = [case for case in cases() if case[1] == state]
        chance.shuffle(ways)
        runs += list(islice(cycle(ways), repeat))
    chance.shuffle(runs)
    return runs


def _run(runs: list[tuple[str, str]], folder: Path, at_once: int) -> Counter[tuple[str, str]]:
    failures: Counter[tuple[str, str]] = Counter()
    with ProcessPoolExecutor(at_once, get_context("spawn")) as executor:
        ends = {}
        for number, run in enumerate(runs):
            place = folder / str(number)
            place.mkdir()
            ends[executor.submit(leave, *run, place)] = run
        for end in as_completed(ends):
            error = end.exception()
            wrong = [repr(error)] if error is not None else end.result()
            if wrong:
                failures[ends[end]] += 1
                print(ends[end], wrong, flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
