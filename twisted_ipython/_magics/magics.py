"""
The magics; a magic's docstring is its manual.

Thread: cell.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from IPython.core import magic_arguments
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import observe

from twisted_ipython._cells.autoawait import AutoAwait
from twisted_ipython._magics.runner import runner
from twisted_ipython._magics.settings import SettingError, Settings
from twisted_ipython._plain import sharing
from twisted_ipython._reactor.lifecycle import current
from twisted_ipython._waiting.awaiting_cell import AwaitingCell
from twisted_ipython._waiting.cell_thread import BlockingThread, run_blocking

if TYPE_CHECKING:
    from twisted_ipython._magics.run_in_reactor import Background

CONFIG_USAGE: Final = "usage: %twisted_config [show [NAME] | reset | NAME VALUE]"
NOT_FIRST: Final = (
    "Line magic function `%%run_in_reactor` not found.\n"
    "It is a cell magic, which begins its cell: no line may stand above it, not even a comment."
)
NOT_HERE: Final = (
    "Code in the reactor thread cannot wait for the reactor by a magic, it would wait for itself"
    " for ever: `await` the EventualResult"
)
# What %autoawait takes that says nothing about the runner.
_SWITCHES: Final = frozenset({"", "on", "true", "off", "false"})


def _switch(*names: str, **options: Any) -> Any:
    return magic_arguments.argument(*names, action="store_true", **options)


@magics_class
class TwistedMagics(Settings, Magics):
    """The magics of twisted_ipython, and its settings."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell=shell)
        self.auto = AutoAwait(
            shell, lambda: self.timeout, runner, sharing.Statement, sharing.end_cell
        )
        self._autoawait: Callable[[str], None] = shell.find_line_magic("autoawait")

    @line_magic
    def twisted_config(self, line: str) -> None:
        """
        Show or change the settings of twisted_ipython.

        ``%twisted_config``              all settings; ``show NAME`` one of them
        ``%twisted_config NAME VALUE``   change it
        ``%twisted_config reset``        all settings as they are by default

        timeout
            Seconds that a cell may await before it is cancelled, and ends with
            a TimeoutError; INFINITY, the default, is for ever. A change in a
            cell holds for the rest of that cell.
        autoawait
            Whether loading also says ``%autoawait twisted``: for a configuration file.
        share_reactor
            Whether cells that do not await share the reactor and its asyncio
            loop: the running loop is the reactor's, and when they call the
            reactor, its thread stands aside. It holds for all shells of a process.
        updates
            display; text for front ends that ignore its updates; or auto.

        ``%config TwistedMagics.timeout = 5`` does the same, and so does
        ``c.TwistedMagics.timeout = 5`` in IPython's configuration file.
        """
        try:
            match line.split():
                case [] | ["show"] | ["reset"]:
                    if line.split() == ["reset"]:
                        self.restore()
                    print(*map(self.written, self.names()), sep="\n")
                case ["show", name]:
                    print(self.written(name))
                case [name, value]:
                    self.write(name, value)
                    print(self.written(name))
                case _:
                    raise UsageError(CONFIG_USAGE)
        except SettingError as error:
            raise UsageError(str(error)) from None

    @observe("share_reactor")
    def _switch_sharing(self, change: Any) -> None:
        sharing.switch(on=change["new"])

    @line_magic("autoawait")  # type: ignore[arg-type]  # typed for use without a name
    def switch_autoawait(self, line: str) -> None:
        """
        Choose what runs the awaits at the top level of a cell.

        ``%autoawait twisted``
            Deferreds, coroutines, EventualResults and everything of asyncio's
            can be awaited, in any mixture. The statements of a cell that
            awaits run in the reactor thread, on one loop for Twisted and
            asyncio; magics, ``!commands``, display and tracebacks stay in the
            thread that the cell was typed in. Ctrl-C (or the stop button)
            cancels what is awaited.
        ``%autoawait asyncio`` and all other words
            What IPython itself makes of them.
        ``%autoawait``
            Says what is chosen.

        Example::

            In [1]: %autoawait twisted

            In [2]: await deferLater(reactor, 0.1, lambda: "later")
            Out[2]: 'later'
        """
        word = line.strip()
        if word == "twisted":
            self.auto.switch_on()
        elif word == "" and self.auto.on:
            state = "on" if self.shell.autoawait else "off"
            print(f"IPython autoawait is `{state}`, and set to use `twisted`")
        else:
            if word.lower() not in _SWITCHES:
                self.auto.switch_off()
            self._autoawait(line)

    @cached_property
    def background(self) -> Background:
        """What makes background cells; imported when there is one.  Thread: cell."""
        from twisted_ipython._magics.run_in_reactor import Background

        parse = partial(magic_arguments.parse_argstring, self.run_in_reactor)
        return Background(self.shell, parse)

    @magic_arguments.magic_arguments("%run_in_reactor")
    @magic_arguments.argument("name", nargs="?", help="what to bind the EventualResult to")
    @_switch("-w", "--wait", help="wait for the value and show it")
    @_switch("-r", "--replace", help="first stop what NAME holds from an earlier run")
    @_switch("-t", "--thread", dest="in_thread", help="run blocking code, in Twisted's thread pool")
    @_switch("-p", "--process", dest="in_process", help="run heavy code, in a process of its own")
    @_switch(
        "-g", "--global", dest="as_script", help="names belong to the namespace, as in a script"
    )
    @no_var_expand
    @cell_magic
    def run_in_reactor(self, line: str, cell: str) -> Any:
        """
        Run the cell in the reactor thread, in the background.

        The statements become the body of a function that `crochet.run_in_reactor`
        runs. Its value is what it returns, or else its last expression (none if
        that ends in ``;``). With ``await`` it is a coroutine, with ``yield`` it
        is driven as `inlineCallbacks` does. Its names are local, except those
        that are declared ``global``; it reads those of the namespace.

        The cell's EventualResult is the cell's own result, shown as a card that
        changes when the work ends (unless the cell ends in ``;``), and is bound
        to NAME: ``NAME.wait(5)``, ``await NAME``, ``NAME.cancel()``.
        ``%reactor jobs`` lists the cells that run.

        ``--replace`` stops what NAME holds, and waits for that: a pending job
        with its LoopingCalls, a listening port with the connections that it
        accepted, a LoopingCall, a service, a connector, a DelayedCall, an
        asyncio Task or Server, a child process, and lists or tuples of these.
        So a cell that starts a server can be run again.

        ``--wait`` waits as an awaiting cell does: Ctrl-C cancels, the time
        limit of ``%twisted_config timeout`` holds.

        ``--thread`` is for code that blocks. ``--process`` is for code that
        computes: what it reads of the namespace is pickled, functions and
        classes too, and so is its value. ``--global`` is for scripts, whose
        functions and classes use each other's names, and ``__main__.NAME``.

        Example::

            In [1]: %%run_in_reactor --replace port
               ...: from twisted.internet import reactor
               ...: from twisted.web import resource, server
               ...: return reactor.listenTCP(8080, server.Site(resource.Resource()))

            In [2]: port.wait(2)
            Out[2]: <...Port of twisted.web.server.Site on 8080>

            In [3]: %%run_in_reactor --wait
               ...: import asyncio
               ...: await asyncio.sleep(0.1, "later")
            Out[3]: 'later'
        """
        run = self.background.options(line)
        begin = self.background.prepare(run, cell)
        if run.waits:
            return self._wait_for(self.background.finish(run, cell, begin))
        from twisted_ipython._magics.run_in_reactor import shown

        return shown(cell, begin())

    @line_magic("%run_in_reactor")  # type: ignore[arg-type]  # typed for use without a name
    def refuse_line(self, line: str) -> None:  # noqa: ARG002
        """`%%run_in_reactor` that is not the first line of its cell.  Thread: cell."""
        raise UsageError(NOT_FIRST)

    def _wait_for(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Wait as an awaiting cell does, but blocking: for shells that do not await."""
        thread = current()
        if thread.here():
            coro.close()
            raise RuntimeError(NOT_HERE)
        return run_blocking(
            AwaitingCell(thread, BlockingThread(), lambda _: coro, lambda: self.timeout).run()
        )

    @line_magic("reactor")  # type: ignore[arg-type]  # typed for use without a name
    def show_reactor(self, line: str) -> Any:
        """
        Show what the reactor is and does, and handle background jobs.

        ``%reactor``
            the reactor, its thread and latency; jobs, asyncio tasks, delayed
            calls, ports and connections, child processes, the thread pool
        ``%reactor jobs``
            the cells that run, or ran, in the background
        ``%reactor cancel JOB... | all``
            cancel jobs (by number, or all of a name) and stop the LoopingCalls that they
            started; also asyncio tasks, by name; ``all`` are all jobs
        ``%reactor close PORT | CELL | JOB``
            close a listening port (by number or path) with the connections that it
            accepted, or all that a cell or a job has opened; ``close cell 3`` and
            ``close job 3`` tell the two apart
        ``%reactor output JOB``
            what a job has printed and displayed, and what it does until it ends
        ``%reactor profile [SECONDS]``
            at which of your lines the reactor thread spends the next seconds (5)
        ``%reactor wait JOB [SECONDS]``
            wait for a job, as an awaiting cell does, and give its EventualResult
        ``%reactor stack``
            where the reactor thread is right now, your own code first

        Example::

            In [1]: %%run_in_reactor download
               ...: await asyncio.sleep(60)

            In [2]: %reactor jobs
            Jobs
              job  name      cell  code                     state    age    waits at
              1    download  1     await asyncio.sleep(60)  pending  3.1 s  Cell In[1], line 2
        """
        from twisted_ipython._magics.reactor_command import command
        from twisted_ipython._magics.reactor_wait import wait_for_job

        if must_wait(line):
            return self._wait_for(wait_for_job(current(), line))
        command(self.shell, current(), line)
        return None


def must_wait(line: str) -> bool:
    """Whether this is a `%reactor` that waits.  Thread: any."""
    return line.split()[:1] in (["wait"], ["output"])


_CALL: Final = f"get_ipython().run_cell_magic('{TwistedMagics.run_in_reactor.__name__}', "
_NO_BODY: Final = ", '')\n"


def give_body(lines: list[str]) -> list[str]:
    """A hook of the shell: a magic without lines, which it refuses, gets one.  Thread: cell."""
    match lines:
        case [line] if line.startswith(_CALL) and line.endswith(_NO_BODY):
            return [line.removesuffix(_NO_BODY) + ", '\\n')\n"]
    return lines
