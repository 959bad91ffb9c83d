"""
A display in a notebook that is updated in place when a result comes, or a line in its place.

A value's representation is the user's code: it may take long, draw with a GUI toolkit, or read
what belongs to the main thread, which may run a long cell.  So the thread that ends the work
replaces what is displayed by the state and, for numbers and short strings, by the value; any
other value is formatted in the main thread, as soon as that is free.  Each update runs in a copy
of the context in which it was displayed: what a representation prints stands there too.  A value
that displays itself (``_ipython_display_``) stands below the display, which has its text.

Thread: any.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from os import urandom
from typing import Any, Final, NamedTuple

from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from twisted.logger import Logger

from twisted_ipython._base.formatting import line_break, one_line, own_text
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.calls import main_thread

_log = Logger()

# Values of these types are formatted in any thread: nothing of the user's runs for them.
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes)
# Characters, bytes or bits of a value that is formatted at once.
_SHORT: Final = 10_000
# What is said of a job's card, for those who send it.
CARD: Final = "twisted_ipython_card"


class Bundle(NamedTuple):
    """What is shown of something: data and metadata, by MIME type."""

    data: dict[str, Any]
    metadata: dict[str, Any]


class DisplayUpdate:
    """One display and its updates; it belongs to the context that makes it."""

    def __init__(self, shell: InteractiveShell, **transient: Any) -> None:
        self._shell = shell
        # What is said of it that no front end saves.
        self._transient = {"display_id": urandom(16).hex(), **transient}
        self._context = copy_context()

    def show(self, bundle: Bundle, *, update: bool = False) -> None:
        """Display what is to be replaced.  Thread: any."""
        data, metadata = bundle
        publish = self._shell.display_pub.publish
        publish(data=data, metadata=metadata, transient=self._transient, update=update)

    def replace(self, bundle: Bundle) -> None:
        """Replace what is displayed.  Thread: any."""
        # In a copy: two threads may be at it.
        self._context.copy().run(self.show, bundle, update=True)

    def finish(
        self, value: object, bundle: Callable[[Bundle | None], Bundle], wanted: Callable[[], bool]
    ) -> None:
        """
        Replace what is displayed by the result of the work; raises nothing.

        Args:
            value: the value of work that is done; None is one.
            bundle: makes what is shown, given what is shown of the value; without it, for the
                time until the main thread is free.
            wanted: whether to go on, asked in the main thread.

        Thread: any.
        """

        def draw(*, with_value: bool) -> None:
            try:
                self.replace(bundle(bundle_of(self._shell, value) if with_value else None))
            except Exception:
                _log.failure("A result could not be displayed in place")

        def draw_value() -> None:
            if wanted():
                self._context.copy().run(partial(draw, with_value=True))

        if is_plain(value):
            draw_value()
        else:
            draw(with_value=False)
            main_thread.call(draw_value)


def notice(shell: InteractiveShell, line: str, value: object, wanted: Callable[[], bool]) -> None:
    """Print that something ended, where displays do not change; raises nothing.  Thread: any."""
    # While IPython prompts, its ``sys.stdout`` is prompt_toolkit's, which draws what any thread
    # prints above what was typed.
    prompts = getattr(shell, "pt_app", None) is not None

    def say() -> None:
        try:
            if wanted():
                said = line if value is None else f"{line}: {own_text(value)}"
                said = one_line(said, shutil.get_terminal_size().columns)
                # A plain prompt, or jupyter console's, is not drawn again: it stands below it.
                print((line_break() if prompts else "\n") + said, flush=True)
        except Exception:
            _log.failure("The end of a job could not be shown")

    if is_plain(value):
        say()
    elif is_terminal(shell) and not prompts:  # where the main thread waits
        current().reactor.callInThread(say)
    else:
        main_thread.call(partial(copy_context().run, say))


def bundle_of(shell: InteractiveShell, value: object) -> Bundle:
    """What the shell's formatters make of a value; never without text.  Thread: any."""
    assert shell.display_formatter is not None
    data, metadata = shell.display_formatter.format(value)
    if "text/plain" not in data:  # it displayed itself, or its repr() failed, which IPython says
        data = {**data, "text/plain": own_text(value)}
    return Bundle(data, metadata)


def is_plain(value: object) -> bool:
    """Whether formatting a value takes no time, and runs nothing of the user's.  Thread: any."""
    size = len(value) if isinstance(value, (str, bytes)) else 0
    size = value.bit_length() if isinstance(value, int) else size
    return type(value) in _PLAIN and size <= _SHORT


def has_updates(shell: InteractiveShell) -> bool:
    """Whether a shell sends updates of what it displays; a terminal cannot.  Thread: any."""
    return type(shell.display_pub).publish is not DisplayPublisher.publish


def can_update(shell: InteractiveShell) -> bool:
    """Whether the front end of the cell that runs shows updates of a display.  Thread: any."""
    manager = getattr(shell, "magics_manager", None)
    settings = None if manager is None else manager.registry.get("TwistedMagics")
    updates = getattr(settings, "updates", "auto")
    if updates != "auto":
        return has_updates(shell) and updates == "display"
    # jupyter console, qtconsole and Spyder ignore them.  No field says so: they have stdin, as
    # front ends for people have, and unlike these they number their requests as Python's
    # jupyter_client does, and name no cell of a notebook.
    request: dict[str, Any] = getattr(getattr(shell, "kernel", None), "get_parent", dict)()
    header, content = request.get("header", {}), request.get("content", {})
    numbered = str(header.get("msg_id")).startswith(f"{header.get('session')}_")
    names_cell = "cellId" in request.get("metadata", {})
    ignores = numbered and bool(content.get("allow_stdin")) and not names_cell
    return has_updates(shell) and not ignores


def is_terminal(shell: InteractiveShell) -> bool:
    """Whether it is a TerminalInteractiveShell.  Thread: any."""
    return hasattr(shell, "simple_prompt")  # elsewhere its module is slow to import


def is_silent(shell: Any) -> bool:
    """Whether a shell shows nothing itself: its front end takes what cells leave.  Thread: any."""
    return getattr(shell, "kernel", None) is None and not is_terminal(shell)


def use_printer(formatter: Any, kind: type, printer: Callable[..., Any]) -> Callable[[], None]:
    """Have a formatter print a class, unless the user's own does; gives the undo.  Thread: cell."""
    if kind in formatter.type_printers:
        return lambda: None
    formatter.for_type(kind, printer)

    def undo() -> None:
        if formatter.type_printers.get(kind) == printer:
            formatter.pop(kind)

    return undo
