"""Work ids, and the variables that cells set: `_base.work_id` and `_base.variables`, in memory."""

from __future__ import annotations

from contextvars import Context, ContextVar

from twisted_ipython._base.variables import Variables
from twisted_ipython._base.work_id import NO_WORK, current_work, new_work, set_work, work_in


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
