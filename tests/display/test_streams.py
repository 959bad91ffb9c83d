"""A shell with neither a kernel nor a terminal, whose front end counts no cells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shells import Cell, Shell

JOB = """%%run_in_reactor job
await to_thread(go.wait, 20)
print("late")
print("of", "two", "words", flush=True)
1 / 0"""


class Uncounted(Shell):
    """One whose cells are not stored, and do not count."""

    def run(self, code: str, **options: object) -> Cell:  # type: ignore[override]
        """Run a cell."""
        return super().run(code, **{"store_history": False, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shell() -> Iterator[Uncounted]:
    """A shell, loaded in its first cell."""
    with Uncounted() as shell:
        shell.ok("from asyncio import Event, ensure_future, sleep, to_thread\nimport threading")
        shell.ok(
            "from twisted.internet.defer import Deferred\nfrom twisted.internet import reactor"
        )
        yield shell


def test_late_output_is_labelled(shell: Uncounted) -> None:
    """A job prints in the cell that runs, in whole lines that name its own; so does its failure."""
    shell.ok("go = threading.Event()")
    shell.ok(JOB)
    label = f"[from cell {shell.value('job.job.cell')}] "
    out = shell.ok(
        "print('own', end='')\ngo.set()\nwhile job.state == 'pending': await sleep(0.01)"
    )
    printed, _, failure = out.partition(f"\n{label}job 1 (job)")
    assert printed.rstrip() == f"own\n{label}late\n{label}of two words"
    assert all(line.startswith(label) for line in failure.splitlines()[1:] if line)
    assert failure.startswith(f" of cell {label[11]} failed:")
    assert failure.rstrip().endswith("ZeroDivisionError: division by zero")


def test_cells_have_numbers(shell: Uncounted) -> None:
    """Each cell has the next number; what it runs by `run_cell` has the same one."""
    show = "await sleep(0)\nfrom twisted_ipython._base.work_id import current_work as work"
    cells = [shell.ok(f"{show}\nprint(work().cell)") for _ in range(2)]
    first, second = map(int, cells)
    assert second == first + 1 > 1
    nested = "get_ipython().run_cell('print(work().cell)');print(work().cell)"
    assert shell.ok(nested) == f"{second + 1}\n{second + 1}\n"
    assert shell.ok("print(work().cell)") == f"{second + 2}\n"


def test_value_shows_itself(shell: Uncounted) -> None:
    """A Deferred or a task that is a cell's value has HTML, which follows what it comes to."""
    shell.ok("d = Deferred()")
    shell.ok("d")
    assert "pending since" in shell.ok("print(d._repr_html_())")
    shell.ok("reactor.callFromThread(d.callback, '<42>')\nassert await d == '<42>'")
    assert "&lt;42&gt;" in shell.ok("print(d._repr_html_())")
    shell.ok("await sleep(0)\nt = ensure_future(sleep(0, 43))\nt")
    assert "43" in shell.ok("await t\nprint(t._repr_html_())")
