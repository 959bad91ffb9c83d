"""How late the reactor calls while two cells of ``--process`` compute: the median, in seconds."""

from __future__ import annotations

import json
from statistics import median
from time import perf_counter, sleep
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

_CALLS: Final = 300
_PAUSE: Final = 0.005
_BODY: Final = "while True: sum(range(100_000))"


def _latency(reactor: Any) -> float:
    """Seconds from a timer's time to its call."""
    late: list[float] = []
    due = perf_counter() + _PAUSE
    reactor.callFromThread(reactor.callLater, _PAUSE, lambda: late.append(perf_counter() - due))
    while not late:
        sleep(_PAUSE)
    return late[0]


def main() -> None:
    """Begin both cells, and measure when both compute."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "twisted_ipython")
    from twisted.internet import reactor

    for name in ("one", "other"):
        shell.run_cell_magic("run_in_reactor", f"--process {name}", _BODY)
    sleep(1)
    seconds = median(_latency(reactor) for _ in range(_CALLS))
    states = [shell.user_ns[name].state for name in ("one", "other")]
    assert states == ["pending", "pending"], states
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
