"""
Cells of an IPython in this process, plain and awaiting; answers with seconds.

With the argument ``grown`` the namespace has 1,000 names more, and 1,000 jobs have ended.
"""

from __future__ import annotations

import sys
from statistics import median
from time import perf_counter
from typing import Final

from IPython.terminal.interactiveshell import TerminalInteractiveShell
from serving import serve

# Without a value to display, which would be most of the time.
_CELLS: Final = {
    "plain": "x = succeed(1)",
    "fired": "x = await succeed(1)",
    "pending": "x = await later()",
}
_PREPARATION: Final = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
def later():
    deferred = Deferred()
    reactor.callLater(0, deferred.callback, 1)
    return deferred
"""
_NAMES: Final = 1000
_JOBS: Final = 1000
# Each answer is the median of so many.
_TIMES: Final = 20


def _grow(shell: TerminalInteractiveShell) -> None:
    shell.user_ns |= {f"name_{number}": [number] for number in range(_NAMES)}
    for _ in range(_JOBS):
        shell.run_cell_magic("run_in_reactor", "job", "return 1")
        shell.run_cell("await job;", store_history=False).raise_error()


def main(*grown: str) -> None:
    """Measure the cells in turn."""
    shell = TerminalInteractiveShell.instance(simple_prompt=True)
    shell.run_line_magic("load_ext", "twisted_ipython")
    shell.run_line_magic("autoawait", "twisted")
    shell.run_cell(_PREPARATION).raise_error()
    waiting = [_grow] if grown else []

    def seconds(code: str) -> float:
        began = perf_counter()
        result = shell.run_cell(code)
        taken = perf_counter() - began
        result.raise_error()
        return taken

    def measure() -> dict[str, float]:
        while waiting:  # only here, where nobody reads what is printed
            waiting.pop()(shell)
        turns = [[seconds(code) for code in _CELLS.values()] for _ in range(_TIMES)]
        return dict(zip(_CELLS, map(median, zip(*turns, strict=True)), strict=True))

    serve(measure)


if __name__ == "__main__":
    main(*sys.argv[1:])
