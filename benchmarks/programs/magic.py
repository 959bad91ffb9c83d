"""``%%run_in_reactor NAME``, from the magic's call to its return; answers with seconds."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Final

from IPython.core.interactiveshell import InteractiveShell
from serving import serve

# Version 2.0.0 fails on a cell with an indented line.
_LINES: Final = "".join(f"name_{number} = len(str({number}))\n" for number in range(20))
_BODIES: Final = {"one line": "return 6 * 7\n", "20 lines": f"{_LINES}return 6 * 7\n"}
# Each answer is the median of so many.
_TIMES: Final = 10


def main() -> None:
    """Measure the magic on each body in turn; each cell has ended before the next begins."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "twisted_ipython")

    def seconds(body: str) -> float:
        began = perf_counter()
        shell.run_cell_magic("run_in_reactor", "made", body)
        taken = perf_counter() - began
        value = shell.user_ns.pop("made").wait(10)
        if value != 6 * 7:
            raise RuntimeError(f"{body!r} gave {value!r}")
        return taken

    def measure() -> dict[str, float]:
        turns = [[seconds(body) for body in _BODIES.values()] for _ in range(_TIMES)]
        return dict(zip(_BODIES, map(median, zip(*turns, strict=True)), strict=True))

    serve(measure)


if __name__ == "__main__":
    main()
