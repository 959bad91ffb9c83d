"""
A pyplot figure is shown in the cell whose code drew it.

matplotlib's inline backend shows all figures at the end of whichever cell ends next.  Here each
is shown in the context in which it was made: at the end of the job that draws it, or, for other
code, at the end of the next cell.  The context is noted by matplotlib's own ``figure.hooks``.

What can still go wrong.  ``plt.show()`` shows all figures that are open, and
``plt.gcf()`` gives the latest: a job names its own (``fig, ax = plt.subplots()``).

Thread: cell; figures are made in any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context, copy_context
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from twisted_ipython._base.instance import override
from twisted_ipython._base.work_id import work_in
from twisted_ipython._private.matplotlib import metadata_of, set_drawn, take_drawn, was_drawn
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import main_thread

_HOOK: Final = f"{__name__}:note_context"
_INLINE: Final = "matplotlib_inline.backend_inline"

# The attribute of a figure with the context in which it was made, until it is shown.
_MADE_IN: Final = "_twisted_ipython_made_in"


class _MadeIn:
    """A context; in a copy of a figure, and a pickled one, stands None in its place."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def attach(shell: InteractiveShell) -> Callable[[], None]:
    """Have a shell show each figure in its own cell; gives the undo.  Thread: cell."""
    events: Any = shell.events
    register = events.register
    undo = ExitStack()

    def register_event(event: str, function: Callable[..., Any]) -> None:
        """The backend registers itself while it makes the first figure, before the hooks run."""
        register(event, function)
        begin()

    def begin() -> None:
        """Until the backend is there, events cost what they cost."""
        if _INLINE in sys.modules and "trigger" not in vars(events):
            undo.callback(override(events, {"trigger": _trigger(shell)}))
        _add_hook()

    def show_ended() -> None:
        if _flush_figures(shell) is not None:
            _show_ended(shell)

    def ended(*_: object) -> None:
        if _INLINE in sys.modules:
            main_thread.call(show_ended)

    undo.callback(_remove_hook)
    undo.callback(override(events, {"register": register_event}))
    begin()
    jobs = current().jobs
    jobs.when_ended.append(ended)
    undo.callback(jobs.when_ended.remove, ended)
    return undo.close


def _trigger(shell: InteractiveShell) -> Callable[..., None]:
    """``EventManager.trigger``, with our way to show figures in it.  Thread: cell."""
    events, trigger = shell.events, shell.events.trigger

    def trigger_event(event: str, *args: Any, **kwargs: Any) -> None:
        if event == "pre_execute":
            _add_hook()
        flush = _flush_figures(shell) if event == "post_execute" else None
        if flush is None:
            trigger(event, *args, **kwargs)
            return
        registered = events.callbacks[event]
        index = registered.index(flush)
        registered.remove(flush)
        try:
            trigger(event, *args, **kwargs)
        finally:
            registered.insert(index, flush)
            _show_ended(shell)

    return trigger_event


def note_context(figure: Any) -> None:
    """Note in which context a figure is made, as one of ``figure.hooks``.  Thread: any."""
    setattr(figure, _MADE_IN, _MadeIn(copy_context()))


def _hooks() -> list[str]:
    """The hooks of matplotlib where the inline backend is loaded."""
    matplotlib = sys.modules["matplotlib"] if _INLINE in sys.modules else None
    hooks: list[str] = getattr(matplotlib, "rcParams", {}).get("figure.hooks", [_HOOK])
    return hooks


def _add_hook() -> None:
    hooks = _hooks()
    if _HOOK not in hooks:
        hooks.append(_HOOK)


def _remove_hook() -> None:
    with suppress(ValueError):
        _hooks().remove(_HOOK)


def _flush_figures(shell: Any) -> Any:
    """What the backend has registered to show all figures; None if it is not in use."""
    flush = getattr(sys.modules.get(_INLINE), "flush_figures", None)
    return flush if flush in shell.events.callbacks["post_execute"] else None


def _show_ended(shell: InteractiveShell) -> None:
    """Do as ``flush_figures`` does, but leave what jobs draw.  Thread: cell."""
    inline: Any = sys.modules[_INLINE]
    if not was_drawn(inline):
        return
    set_drawn(inline, False)  # a job may draw meanwhile, which sets it
    pending = {job.work_id.work for job in current().jobs.pending()}
    closes = inline.InlineBackend.instance().close_figures
    for manager in inline.Gcf.get_all_fig_managers():
        figure = manager.canvas.figure
        if work_in(_made_in(figure)).work in pending:
            set_drawn(inline, True)
        elif take_drawn(inline, figure) or closes:
            _show(shell, figure, metadata_of(inline, figure))
            if closes:
                inline.Gcf.destroy(manager.num)


def _made_in(figure: Any) -> Context | None:
    made: _MadeIn | None = getattr(figure, _MADE_IN, None)
    return None if made is None else made.context


def _show(shell: InteractiveShell, figure: Any, metadata: Any) -> None:
    """Show a figure in the context in which it was made; the next time in that of who asks."""
    context = _made_in(figure) or copy_context()
    setattr(figure, _MADE_IN, None)
    try:
        context.run(display, figure, metadata=metadata)
    except Exception:
        context.run(shell.showtraceback)
