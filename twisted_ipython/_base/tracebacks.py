"""
Tracebacks that hold the user's frames, and lines that explain what a thread caused.

Thread: any.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb
from types import TracebackType
from typing import Final, TypeVar

from twisted.python.reflect import safe_str

from twisted_ipython._base.frames import is_user_frame, module_of
from twisted_ipython._private.ipython import EMBED
from twisted_ipython._private.scrapy import PROMPT as INSPECT_RESPONSE

_E = TypeVar("_E", bound=BaseException)

# Whose frames say nothing to a user: how a result gets from the reactor thread
# to the cell.  Twisted's other modules stay: they are what the user called.
_PLUMBING: Final = ("twisted_ipython", "crochet", "wrapt", "async_kernel", "aiologic")
_PLUMBING_MODULES: Final = {
    "IPython.core.debugger",
    "ipykernel.kernelbase",
    "bdb",
    "cmd",
    "pdb",
    "twisted._threads._threadworker",
    "twisted._threads._team",
    "twisted.internet.defer",
    "twisted.internet.task",
    "twisted.internet.threads",
    "twisted.python.context",
    "twisted.python.failure",
    "twisted.python.threadpool",
}

OTHER_THREAD: Final = (
    "The statements of an awaiting cell run in the reactor thread, not in the main thread."
    " This needs the thread it was made for: await twisted_ipython.in_main_thread(function, *args)"
)
OTHER_DRIVER: Final = (
    "The coroutine that did this is driven by Twisted (ensureDeferred, inlineCallbacks or a Klein"
    " route) and has no asyncio Task. Run it as a task: await asyncio.create_task(...)"
)
ONE_REACTOR: Final = (
    "The reactor of this process was installed when twisted_ipython was loaded, and runs: delete"
    " the line that installs another one. It is Twisted's asyncio reactor, unless something had"
    " installed one before (see %reactor)."
)
NO_LOOP_HERE: Final = (
    "No asyncio loop runs in this thread; the reactor's runs in its own: put `await` in front of"
    " what needs it, or `%%run_in_reactor` on top of the cell"
)
AWAIT_IT: Final = (
    "The reactor's loop runs already, in this cell too: put `await` in front of the coroutine in"
    " place of asyncio.run(...), or of what runs it in a loop of its own"
)
USE_FETCH: Final = (
    "scrapy.shell.inspect_response() opens a prompt in the middle of a crawl, which would stop the"
    " reactor. Fetch the page in a cell instead: response = await treq.get(url), then"
    " scrapy.Selector(text=await response.text())"
)
WRAP_IT: Final = (
    "A future of threads (concurrent.futures, ipyparallel's AsyncResult) is awaited by way of"
    " asyncio: await asyncio.wrap_future(...); several by twisted_ipython.progress([...])"
)
NO_PROMPT: Final = (
    "IPython.embed() in code that awaits runs in the reactor thread, whose loop runs already, and"
    " its prompt wants a loop of its own. Write IPython.embed(simple_prompt=True): it asks in the"
    " cell's thread"
)
NO_AWAIT: Final = (
    "A magic that runs its code by exec(), as %prun, %lprun and %memit do, knows no `await`. Have a"
    " cell await it: `profile = cProfile.Profile()`, or `line_profiler.LineProfiler(function)`;"
    " `with profile: await ...`; `profile.print_stats()`. The memory before and after it is what"
    " `memory_profiler.memory_usage()` gives."
)

# What the message of an exception begins or ends with when a thread or driver is the cause.
_CAUSES: Final = (
    ("SQLite objects created in a thread can only be used in that same thread", OTHER_THREAD),
    ("signal only works in main thread", OTHER_THREAD),
    ("set_wakeup_fd only works in main thread", OTHER_THREAD),
    ("main thread is not in main loop", OTHER_THREAD),
    ("Calling Tcl from different apartment", OTHER_THREAD),
    ("There is no current event loop in thread 'MainThread'", NO_LOOP_HERE),
    ("no running event loop", NO_LOOP_HERE),
    ("asyncio.run() cannot be called from a running event loop", AWAIT_IT),
    ("Runner.run() cannot be called from a running event loop", AWAIT_IT),
    ("Cannot run the event loop while another loop is running", AWAIT_IT),
    ("'await' outside function", NO_AWAIT),
    ("Timeout should be used inside a task", OTHER_DRIVER),
    ("cannot determine the parent task", OTHER_DRIVER),
    ("await wasn't used with future", OTHER_DRIVER),
    ("reactor already installed", ONE_REACTOR),
    *(
        (message.format(kind), WRAP_IT)
        for kind in ("Future", "AsyncResult", "AsyncMapResult")
        for message in (
            "object {} can't be used in 'await' expression",
            "'{}' object can't be awaited",  # since Python 3.14
        )
    ),
)


def tidy(error: BaseException) -> None:
    """Take the frames that are not the user's out of an exception's tracebacks, and its causes'."""
    for one in chain(error):
        drop = _is_librarys if "_twisted_ipython_users" in one.__dict__ else _is_plumbing
        kept = [link for link in _links(one.__traceback__) if not drop(link)]
        after: TracebackType | None = None
        for link in reversed(kept):
            after = TracebackType(after, link.tb_frame, link.tb_lasti, link.tb_lineno)
        one.__traceback__ = after or one.__traceback__


@contextmanager
def tidied(error: BaseException) -> Iterator[None]:
    """Within, an exception of the background has the user's frames, and those that they called."""
    before = [(one, one.__traceback__) for one in chain(error)]
    tidy(error)
    for one, _ in before:
        links = [*_links(one.__traceback__)]
        users = (link for link in links if is_user_frame(link.tb_frame))
        one.__traceback__ = next(users, links[-1] if links else None)
    try:
        yield
    finally:
        for one, found in before:
            one.__traceback__ = found


def explain(error: BaseException) -> bool:
    """Add lines on what the reactor or its thread caused; whether ``IPython.embed()`` failed."""
    prompts, said = False, set[str]()
    for one in chain(error):
        text = safe_str(one)  # an exception's own method may fail
        functions = [
            (module_of(frame), frame.f_code.co_name) for frame, _ in walk_tb(one.__traceback__)
        ]
        if EMBED in functions and "event loop" in text:
            one.__dict__["_render_traceback_"] = lambda: [f"RuntimeError: {NO_PROMPT}"]
            prompts = True  # and its own shell is IPython's current one now
            continue
        causes = _CAUSES if INSPECT_RESPONSE not in functions else (("", USE_FETCH),)
        for message, line in causes:
            notes = getattr(one, "__notes__", ())
            # Where a reactor has no loop, that has been said.
            if message in text and line not in said and not (notes and line is NO_LOOP_HERE):
                said.add(line)
                if line not in notes:
                    one.add_note(line)
                if line is NO_LOOP_HERE:  # how a library came to ask for one says nothing
                    users_frames_only(one)
    return prompts


def at_line(error: _E, filename: str, line: int) -> _E:
    """Give an exception the traceback that it has when a line of a file raises it."""
    code = compile("\n" * (line - 1) + "raise error", filename, "exec")
    with suppress(BaseException):
        exec(code, {"error": error})
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def of_cell(error: SyntaxError) -> SyntaxError:
    """Mark a SyntaxError as that of the cell's own text, to be shown without a traceback."""
    error.__dict__["_twisted_ipython_cell"] = True
    return error


def users_frames_only(error: _E) -> _E:
    """Mark an exception to be shown without the frames of any library."""
    error.__dict__["_twisted_ipython_users"] = True
    return error


def in_one_line(error: BaseException) -> None:
    """Have IPython show an exception in one line."""
    line = f"{type(error).__name__}: {error}"
    error.__dict__["_render_traceback_"] = lambda: [line]  # IPython's name for it


def is_of_cell(error: BaseException) -> bool:
    """Whether `of_cell` marked it."""
    return "_twisted_ipython_cell" in error.__dict__


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and the members of groups; each once."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


def _links(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_librarys(link: TracebackType) -> bool:
    # IPython's own frame stays: IPython leaves out the first one.
    name = module_of(link.tb_frame)
    return not (is_user_frame(link.tb_frame) or name.startswith("IPython."))


def _is_plumbing(link: TracebackType) -> bool:
    """Whether it is a frame of ours, of crochet's or of Twisted's Deferreds, or nobody's line."""
    name = link.tb_frame.f_globals.get("__name__", "")
    file = link.tb_frame.f_code.co_filename
    if not isinstance(name, str) or file == STUB:
        return True
    if name == "__main__" and _OF_MAGIC in linecache.getline(file, link.tb_lineno):
        return True
    return name in _PLUMBING_MODULES or name.partition(".")[0] in _PLUMBING


# What a magic that awaits becomes in a cell.
_OF_MAGIC: Final = "(await get_ipython().run_"
# The file name of the one statement that stands for an awaiting cell in IPython.
STUB: Final = "<twisted_ipython>"
