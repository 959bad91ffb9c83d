"""
Where a thread, a task or a coroutine stands: file, line and function, the user's frames first.

Thread: any.
"""

from __future__ import annotations

import gc
import linecache
import site
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

_DEBUGGERS: Final = ("_pydevd", "pydevd", "debugpy", "bdb", "pdb")


@cache
def _libraries() -> tuple[str, ...]:
    import sysconfig  # not at load: it takes 2 ms

    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return (*folders, "<frozen ", "<twisted_ipython>")


class Place(NamedTuple):
    """A line of code; ``users`` says whether it is the user's, no library's and not ours."""

    file: str  # or what IPython calls a cell's
    line: int
    function: str
    users: bool

    @property
    def text(self) -> str:
        """The line itself, or nothing if its source is not known."""
        return linecache.getline(self.file, self.line).strip()


# How to write a place.
Label = Callable[[Place], str]


def in_files(place: Place) -> str:
    """A place by its file."""
    return f"{place.file}, line {place.line}"


def labels_of(shell: Any) -> Label:
    """How a shell writes places: those in cells by the cells' numbers."""

    def label(place: Place) -> str:
        name = shell.compile.format_code_name(place.file)
        return f"{' '.join(name)}, line {place.line}" if name else in_files(place)

    return label


def module_of(frame: FrameType) -> str:
    """The name of the module whose code a frame runs; empty if it has none.  Thread: any."""
    return str(frame.f_globals.get("__name__", ""))


def is_user_frame(frame: FrameType) -> bool:
    """Whether the code of ``frame`` is the user's, no library's and not ours."""
    return not is_our_frame(frame) and is_user_code(frame.f_code)


def is_user_code(code: CodeType) -> bool:
    """Whether code, which is not ours, is the user's and no library's."""
    return not code.co_filename.startswith(_libraries())


def is_our_frame(frame: FrameType) -> bool:
    """Whether a frame is of our code, or of crochet's.  Thread: any."""
    return module_of(frame).partition(".")[0] in {"twisted_ipython", "crochet"}


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame, if there is one, and those that called it, the innermost first.  Thread: any."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> Place:
    code = frame.f_code
    return Place(code.co_filename, frame.f_lineno, code.co_name, users=is_user_frame(frame))


def of_thread(ident: int | None) -> list[Place]:
    """Where the thread ``ident`` is now: the innermost call first; empty if it is gone."""
    return of_frame(frame_of(ident))


def frame_of(ident: int | None) -> FrameType | None:
    """The frame that the thread ``ident`` runs now; None if it is gone.  Thread: any."""
    # Until 3.11.8, Python may collect garbage here, which waits for a lock that it has for ever.
    pauses = sys.version_info < (3, 12) and gc.isenabled()
    if pauses:
        gc.disable()
    try:
        return sys._current_frames().get(ident or 0)
    finally:
        if pauses:
            gc.enable()


def users_place(ident: int | None) -> Place | None:
    """The innermost line of the user's that the thread ``ident`` is at.  Thread: any."""
    return next((place for place in of_thread(ident) if place.users), None)


def of_frame(frame: FrameType | None) -> list[Place]:
    """A frame and those that called it, without ours: the innermost call first."""
    return [_place(one) for one in callers(frame) if not is_our_frame(one)]


def of_coroutine(coro: Any) -> list[Place]:
    """What a suspended coroutine, or generator, waits in: the innermost await first."""
    return [_place(one) for one in frames_of_coroutine(coro) if not is_our_frame(one)][::-1]


def waits_at(coro: Any) -> Place | None:
    """The innermost line of the user's, or any, that a coroutine or a greenlet waits at."""
    frame = getattr(coro, "gr_frame", None)
    places = of_coroutine(coro) if frame is None else of_frame(frame)
    users = [place for place in places if place.users]
    return next(iter(users or places), None)


def frames_of_coroutine(coro: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, the outermost first."""
    for _ in range(1000):  # an await chain is never this deep: it may change while it is read
        if frame := _first(coro, "cr_frame", "gi_frame", "ag_frame"):
            yield frame
        coro = _first(coro, "cr_await", "gi_yieldfrom", "ag_await")
        if coro is None:
            return


def _first(coro: Any, *names: str) -> Any:
    return next((one for name in names if (one := getattr(coro, name, None)) is not None), None)


def is_debugged(ident: int) -> bool:
    """Whether a thread stands in a debugger."""
    inner = islice(callers(frame_of(ident)), 10)
    return any(module_of(one).partition(".")[0].startswith(_DEBUGGERS) for one in inner)
