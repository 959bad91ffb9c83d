"""Work ids, and the variables that cells set: `_base.work_id` and `_base.variables`, in memory."""

from __future__ import annotations

from contextvars import Context, ContextVar
from types import SimpleNamespace

from twisted_ipython._base.variables import Variables
from twisted_ipython._base.work_id import (
    NO_WORK,
    CellNumbers,
    current_work,
    new_work,
    set_work,
    work_in,
)


def test_work_ids() -> None:
    """Each has another number; a context has the one that was set in it, and none before."""
    one, two = new_work(5), new_work(5)
    assert one.work != two.work
    assert one.cell == two.cell == 5
    context = Context()
    assert work_in(None) == work_in(context) == context.run(current_work) == NO_WORK
    context.run(set_work, one)
    assert work_in(context) == context.run(current_work) == one


def test_variables_go_from_cell_to_cell() -> None:
    """What a cell sets is set in the next one, whose context is another; a work id is not."""
    name: ContextVar[str] = ContextVar("name")
    variables, cell, later = Variables(), Context(), Context()
    before = cell.run(variables.begin)
    cell.run(name.set, "set")
    cell.run(set_work, new_work(1))
    variables.end(before, cell)
    later.run(variables.begin)
    assert later.run(name.get) == "set"
    assert work_in(later) == NO_WORK


def test_numbers_of_cells() -> None:
    """A context has its cell's number until that ends, then that of the cell around it, if any."""
    shell = SimpleNamespace(execution_count=4, displayhook=SimpleNamespace(prompt_count=4))
    numbers, context, seen = CellNumbers(shell), Context(), list[int]()
    for step in (lambda: numbers.begin(counted=True), lambda: numbers.begin(counted=False)):
        context.run(step)
        seen.append(work_in(context).cell)
    outer, inner = work_in(context), seen[:]
    context.run(numbers.end)
    assert (inner, work_in(context).cell) == ([4, 4], 4)
    assert work_in(context) != outer
    context.run(numbers.end)
    context.run(numbers.end)  # one that did not begin
    assert work_in(context) == NO_WORK


def test_numbers_where_nothing_counts() -> None:
    """Cells of a shell that counts none are counted here; one inside of another has its number."""
    shell = SimpleNamespace(execution_count=1, displayhook=SimpleNamespace(prompt_count=1))
    numbers, seen = CellNumbers(shell), list[int]()
    for context in (Context(), Context()):
        for _ in range(2):
            context.run(numbers.begin, counted=False)
            seen.append(work_in(context).cell)
    assert seen == [1, 1, 2, 2]
