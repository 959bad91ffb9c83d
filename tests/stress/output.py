"""
Has the output of cells that interleave land where it belongs, again and again.

    python tests/stress/run.py output --seed 1

Each round, two cells print fifty lines each, in turns that chance decides; then
a notebook whose cells print late is run by nbclient, and must keep every line,
once.  Status 1 if a line was lost, doubled or misplaced.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from tempfile import TemporaryDirectory
from time import monotonic

import nbformat.v4
from kernels import SECONDS, Kernel
from nbclient import NotebookClient

LINES = 50
# A notebook for so many rounds, and what its cells print late.
ROUNDS, CELLS, LATE = 25, 20, 20

_SETUP = """
%load_ext twisted_ipython
%autoawait twisted
import random
from twisted.internet import defer, reactor, task, threads
chance, pending = random.Random({seed}), set()
def lines(name, number, last):
    # In one piece: a cell may end between two, and then the rest is late.
    print(f"{{name}} {{number}}\\n", end="")
    if number < last:
        later = chance.choice((soon, in_thread))
        later(lines, name, number + 1, last)
    else:
        pending.discard(name)
def soon(*call):
    reactor.callLater(chance.random() * {spread}, *call)
def in_thread(*call):
    reactor.callInThread(reactor.callFromThread, *call)
def begin(name, last):
    pending.add(name)
    soon(lines, name, 0, last)
"""
_END = "while pending: await task.deferLater(reactor, 0.01)"


def main() -> int:
    """Run what the command line says; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    begun = monotonic()
    wrong = lost = notebooks = 0
    with TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = os.environ["JUPYTER_RUNTIME_DIR"] = folder
        os.environ["JUPYTER_DATA_DIR"] = folder
        for first in range(0, options.rounds, ROUNDS):
            rounds = min(ROUNDS, options.rounds - first)
            wrong += _interleave(rounds, chance.random())
            lost += _save(chance.random())
            notebooks += 1
    print(
        f"{options.rounds} rounds of two cells, {wrong} wrong; {notebooks} notebooks, {lost} wrong"
    )
    print(f"{monotonic() - begun:.0f} s; seed {options.seed}, {sys.version}")
    return int(wrong + lost > 0)


def _interleave(rounds: int, seed: float) -> int:
    """Two cells at once, ``rounds`` times, as a front end runs them; how many went wrong."""
    wrong = 0
    with Kernel(load=False) as kernel:
        kernel.ok(_SETUP.format(seed=seed, spread=0.002))
        for number in range(rounds):
            cells = [kernel.ok(f"begin('{name} {number}', {LINES - 1})") for name in "ab"]
            kernel.ok(_END)
            for name, cell in zip("ab", cells, strict=True):
                printed = cell.printed().splitlines()
                if printed != [f"{name} {number} {line}" for line in range(LINES)]:
                    wrong += 1
                    print("round", number, "cell", name, printed, flush=True)
    return wrong


def _save(seed: float) -> bool:
    """A notebook of cells that print late; whether what is saved is wrong."""
    codes = [f"begin('cell {cell}', {LATE - 1})\nprint('own')" for cell in range(2, CELLS + 2)]
    codes = [_SETUP.format(seed=seed, spread=0.05), *codes, _END]
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=SECONDS).execute()
    found: Counter[str] = Counter()
    for cell in cells:
        for line in "".join(output["text"] for output in cell.outputs).splitlines():
            # What is not late has no label.
            own = line.startswith(f"cell {cell.execution_count} ")
            found[f"[from cell {cell.execution_count}] {line}" if own else line] += 1
    texts = ((cell, line) for cell in range(2, CELLS + 2) for line in range(LATE))
    expected = Counter(f"[from cell {cell}] cell {cell} {line}" for cell, line in texts)
    expected["own"] = CELLS
    for line in (found - expected) + (expected - found):
        print(f"{line!r}: {found[line]} times, expected {expected[line]}", flush=True)
    return found != expected


if __name__ == "__main__":
    sys.exit(main())
