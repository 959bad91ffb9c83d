"""
Twisted in IPython and Jupyter: top-level ``await`` in a reactor thread of crochet's.

The map.  A cell flows from top to bottom; a module imports only modules below it.

    _extension       hangs the pieces on one shell, and takes them off     home thread
    _complete        Tab after our magics                                  home thread
    _waits           magics that wait, as awaiting cells                   both
    _timing          magics that time code that awaits                     both
    _time            %time of code that awaits                             both
    _timeit          %timeit of code that awaits                           both
    _timed           code that is timed, and how long reading it took      home thread
    _magics          %autoawait, %%run_in_reactor, %reactor, settings      home thread
    _background      a cell of %%run_in_reactor: options, function, job    both
    _settings        the traits, and %twisted_config                       home thread
    _control         what %reactor does                                    both
    _replace         what a name held is stopped, to be made again         both
    _inspect         the tables of %reactor                                reactor thread
    _runner          the runner, which %autoawait twisted sets             any
    _autoawait       the cut through IPython's cell                        home thread
    _stub            our statements, which stand for an awaiting cell's    home thread
    _awaited_magics  magics whose code awaits make a cell that awaits      home thread
    _asking          input() and getpass() are asked where a cell waits    any
    _language        a cell's statements, made ready to be sent (pure)     any
    _notices         a line above the prompt when something ends           any
    _cards           a job's card, which changes in place                  any
    _shown           a Deferred shown at the end of a cell                 any
    _progress        many awaitables at once, with a bar                   reactor thread
    _bars            how much is done, drawn by tqdm or in lines           reactor thread
    _spots           what is displayed, and replaced in place              any
    _file            a file that IPython runs, as a plain cell             home thread
    _plain_cell      a plain cell or file, which may be a script           home thread
    _thread_script   a script in a thread that waits for it                home thread
    _plain           what a plain cell shares, set while it runs           any
    _loop_methods    the loop's methods, called in a plain cell            any
    _carry           the reactor's methods, called in any thread           any
    _wrappers        methods of TLS on top of a connection, likewise       any
    _given           methods of ports, connections and timers, likewise    any
    _borrow          a thread waits until the reactor is lent to it        any
    _returning       a loan ends when its cell does something else         of its own
    _running_loop    asyncio finds the reactor's loop in a plain cell      home thread
    _awaiting        an awaiting cell, in both threads                     both
    _waited          work that a home waits for, of any kind               both
    _errands         what homes and the main thread do; in_main_thread     any
    _home            how the thread that a cell was typed in waits         home thread
    _sigint          Ctrl-C while a thread waits for a cell                home thread
    _jobs            cells in the background                               both
    _cell            a cell's text becomes a function (pure)               any
    _function        a cell's statements as a function's body (pure)       any
    _source          a cell's text, parsed, compiled and quoted (pure)     any
    _scope           the nodes of a cell's own level (pure)                any
    _reactor         a reactor is chosen and started, or found             any
    _end             the process ends, soon after its main thread          of its own
    _reactor_thread  the reactor's thread, reached from others             both
    _crochet         crochet runs the reactor, and notes results           any
    _eventual        crochet's EventualResult, awaitable                   any
    _running         reactor.run() and reactor.stop() for scripts          any
    _session         what the session does for its scripts                 reactor thread
    _greenlet_script a script of the background, in the reactor's thread   reactor thread
    _scripts         the scripts, and whose a call of the reactor is       any
    _script          a script of any kind: its stages, its triggers        reactor thread
    _script_log      what a script adds to the logs is its own             any
    _own_log         what one script has added to the logs                 any
    _loggers         levels and handlers of loggers are put back           any
    _installed       the reactor that runs stays the one that is installed any
    _kept            what a script changes is put back                     reactor thread
    _hints           lines for what a cell meets that is no script         any
    _phases          the startup and shutdown calls of a script            reactor thread
    _callers         code and library functions that run the reactor       any
    _leftovers       what a script leaves is closed and cancelled          reactor thread
    _failures        failures that a name holds, and asyncio's reports     reactor thread
    _names           the names that are worth a look after a cell (pure)   any
    _log             Twisted's log in Python's logging; Scrapy's failures  any
    _origin          the context that a failure's traceback tells          any
    _report          a failure that is nobody's, shown in its cell         any
    _errors          an exception, shown on a shell as that of a cell      any
    _interruptible   a coroutine ends when it is told to                   reactor thread
    _interrupt       breaks code that holds the reactor thread             home thread
    _works           what pool threads work on, and for which cell         any
    _pool            threads that do not keep the process                  any
    _output          a kernel's messages belong to the cell that asked     any
    _late            late output goes to the cell that runs (pure)         any
    _labels          late output says whose it is (pure)                   any
    _children        a kernel does not wait for ended children             home thread
    _timers          Twisted's timers on asyncio's heap                    reactor thread
    _trial           trial in a cell leaves the reactor alone              any
    _tasks           the tasks and futures of a loop get the bridge        reactor thread
    _deferreds_only  a coroutine on a reactor without a loop               reactor thread
    _bridge          one coroutine awaits Deferreds and asyncio objects    reactor thread
    _steps           a coroutine's steps while Deferreds drive it          reactor thread
    _futures         futures and tasks that both worlds can await          reactor thread
    _drivers         who steps a coroutine, Twisted or a task              reactor thread
    _handled         a failure that was awaited is handled                 any
    _contexts        later work runs in the context of who asked for it    reactor thread
    _loops           LoopingCalls, and who started them                    reactor thread
    _display         how a result shows itself (pure)                      any
    _unheld          failures that nothing holds but themselves            reactor thread
    _traceback       tracebacks with the user's frames only (pure)         any
    _turns           how long a thread keeps the interpreter               any
    _borrowed_sigint  Ctrl-C while a cell has the reactor                    home thread
    _loans           who has the reactor                                   any
    _stack           where code stands, the user's frames first            any
    _variables       context variables that one cell leaves to the next    home thread
    _numbers         the number of a cell's work, in its context           any
    _instance        methods set on one instance, and taken off            any

The *home thread* is the one that a cell was typed in: the main thread, or that
of a subshell.  ``async_runner`` and ``config`` hold names of version 2.

Importing this package starts nothing and installs no reactor; loading the
extension does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from twisted_ipython._errands import in_main_thread
    from twisted_ipython._progress import progress
    from twisted_ipython._runner import runner

__all__ = [
    "in_main_thread",
    "load_ipython_extension",
    "progress",
    "runner",
    "unload_ipython_extension",
]
__version__ = "3.0.0.dev0"

_PUBLIC = {"in_main_thread": "_errands", "progress": "_progress", "runner": "_runner"}


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """
    Load the extension: ``%load_ext twisted_ipython``.

    Starts the reactor thread, once per process, and registers the ``twisted``
    runner and the magics on this shell.  Prints nothing, except when the
    reactor that is installed already cannot run asyncio code.

    Args:
        ipython: the shell; call in the thread that runs its cells.

    Raises:
        RuntimeError: the reactor was stopped, or nobody runs it.
    """
    from twisted_ipython._extension import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """
    Unload the extension: ``%unload_ext twisted_ipython``.

    The shell is put back as it was, after the cell that awaits if one does.
    The reactor goes on, as do pending jobs, whose results stay usable; a later
    load finds it.

    Args:
        ipython: the shell; call in the thread that runs its cells.
    """
    from twisted_ipython._extension import unload

    unload(ipython)


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for, so that importing the package stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
