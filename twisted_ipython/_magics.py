"""
The magics, and their settings.

A magic's docstring is its manual.  Magics run in the thread in which IPython
runs the cell.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from twisted_ipython import _cell, _jobs
from twisted_ipython._autoawait import AutoAwait
from twisted_ipython._eventual import EventualResult
from twisted_ipython._reactor import start
from twisted_ipython._settings import SettingError, Settings

__all__ = ["TwistedMagics"]

CONFIG_USAGE: Final = "usage: %twisted_config show [NAME] | reset | NAME VALUE"
NAME_USAGE: Final = "{line!r} is not a name for a result; usage: %%run_in_reactor [NAME]"
# What %autoawait takes that says nothing about the runner.
_SWITCHES: Final = frozenset({"", "on", "true", "off", "false"})


@magics_class
class TwistedMagics(Settings, Magics):
    """
    The magics of twisted_ipython, and its settings.

    Args:
        shell: the shell that has them.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell=shell)
        self.auto = AutoAwait(shell, lambda: self.timeout)
        self._autoawait: Callable[[str], None] = shell.find_line_magic("autoawait")

    @line_magic
    def twisted_config(self, line: str) -> None:
        """
        Show or change the settings of twisted_ipython.

        ``%twisted_config show``         all settings
        ``%twisted_config show NAME``    one of them
        ``%twisted_config NAME VALUE``   change it
        ``%twisted_config reset``        all settings as they are by default

        timeout
            Seconds that a cell may await before what it awaits is cancelled
            and the cell ends with a TimeoutError. INFINITY, the default, is
            for ever.
        autoawait
            Whether loading the extension also says ``%autoawait twisted``: for
            a configuration file.

        ``%config TwistedMagics.timeout = 5`` does the same, and so does
        ``c.TwistedMagics.timeout = 5`` in IPython's configuration file.

        Example::

            In [1]: %twisted_config timeout 5
            timeout=5
        """
        try:
            match line.split():
                case ["show", *names] if len(names) < 2:
                    self._print(names)
                case ["reset"]:
                    self.restore()
                    self._print([])
                case [name, value] if name != "show":
                    self.write(name, value)
                    self._print([name])
                case _:
                    raise UsageError(CONFIG_USAGE)
        except SettingError as error:
            raise UsageError(str(error)) from None

    def _print(self, names: list[str]) -> None:
        for name in names or self.names():
            print(self.written(name))

    # ---- awaiting

    @line_magic("autoawait")
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

    @cell_magic
    def run_in_reactor(self, line: str, cell: str) -> EventualResult | None:
        """
        Run the cell in the reactor thread, in the background.

        ``%%run_in_reactor NAME``
            binds the EventualResult of the cell to NAME.
        ``%%run_in_reactor``
            gives the EventualResult as the cell's own result.

        The cell is a function: its names are local, its value is what it
        returns, or else its last expression. ``await`` and ``yield`` wait for
        Deferreds.

        Example::

            In [1]: %%run_in_reactor page
               ...: response = await treq.get(url)
               ...: return await response.text()

            In [2]: page.wait(5)
        """
        name = line.strip()
        if name and (not name.isidentifier() or keyword.iskeyword(name)):
            raise UsageError(NAME_USAGE.format(line=name))
        function = self._function(line, cell)
        if function is None:
            return None
        result = _jobs.begin(start(), function.bind(self.shell.user_ns), function.kind)
        if not name:
            return result
        self.shell.user_ns[name] = result
        return None

    def _function(self, line: str, cell: str) -> _cell.CellFunction | None:
        """The cell as a function; None if it does not compile, which is shown as in any cell."""
        shell = self.shell
        text = shell.transform_cell(cell)
        source = f"%%run_in_reactor {line}\n{text}"
        name = shell.compile.cache(source, shell.execution_count, raw_code=source)
        try:
            tree = _cell.parse(text, filename=name, first_line=2, flags=shell.compile.flags)
            return _cell.rewrite(
                shell.transform_ast(tree),
                filename=name,
                source=source,
                flags=shell.compile.flags,
                quiet=_cell.ends_quietly(cell),
            )
        except SyntaxError:
            shell.showsyntaxerror()
            return None
