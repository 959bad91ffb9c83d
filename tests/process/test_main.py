"""`python -m twisted_ipython`."""

from __future__ import annotations

from pathlib import Path

import pytest
from shells import run_python
from terminals import Terminal

AWAITING = """
from twisted.internet import reactor, task
import asyncio, sys
print(await task.deferLater(reactor, 0.05, lambda: "twisted"))
print(await asyncio.sleep(0.05, "asyncio"), type(reactor).__name__)
""".strip()
SHOWN = "twisted\nasyncio AsyncioSelectorReactor\n"


def test_command() -> None:
    """`-c` runs code with awaiting on."""
    run = run_python("-m", "twisted_ipython", "-c", AWAITING)
    assert (run.returncode, run.stdout, run.stderr) == (0, SHOWN, "")


def test_script(tmp_path: Path) -> None:
    """A script runs with awaiting on, and finds its arguments."""
    path = tmp_path / "script.ipy"
    path.write_text(AWAITING + "\nprint(sys.argv[1:])")
    run = run_python("-m", "twisted_ipython", path, "--", "argument")
    assert (run.returncode, run.stdout, run.stderr) == (0, SHOWN + "['argument']\n", "")


def test_status() -> None:
    """A failure of the code is a failure of the process, as in IPython."""
    assert run_python("-m", "twisted_ipython", "-c", "1 / 0").returncode == 1
    run = run_python("-m", "twisted_ipython", "--no-such-option")
    assert "no-such-option" in run.stdout + run.stderr


def test_prompt() -> None:
    """At the prompt awaiting is on, and other extensions can be named as ever."""
    with Terminal("--ext=storemagic", program="twisted_ipython", load=False) as terminal:
        assert terminal.run("%autoawait").endswith("set to use `twisted`")
        terminal.run("from twisted.internet import reactor, task")
        line = "await task.deferLater(reactor, 0.05, lambda: 'at the ' + 'prompt')"
        assert terminal.run(line).endswith("'at the prompt'")
        assert "storemagic" in terminal.run("get_ipython().extension_manager.loaded")
        terminal.type("exit")
        assert terminal.ended_within(2)


@pytest.mark.parametrize("name", ["startup/first.py", "ipython_config.py"])
def test_reactor_comes_first(tmp_path: Path, name: str) -> None:
    """A file of the user's that imports klein does not get to install klein's reactor."""
    path = tmp_path / "profile_default" / name
    path.parent.mkdir(parents=True)
    path.write_text("import klein")
    environment = {"IPYTHONDIR": str(tmp_path)}
    with Terminal(program="twisted_ipython", load=False, environment=environment) as terminal:
        terminal.run("import sys; from twisted.internet import reactor")
        assert terminal.run("'klein' in sys.modules, type(reactor).__name__").endswith(
            "(True, 'AsyncioSelectorReactor')"
        )


def test_settings_of_user_hold(tmp_path: Path) -> None:
    """The user's configuration file holds, its extensions too."""
    (tmp_path / "profile_default").mkdir()
    (tmp_path / "profile_default" / "ipython_config.py").write_text(
        "c = get_config()\n"
        "c.TwistedMagics.timeout = 30\n"
        "c.InteractiveShellApp.extensions = ['autoreload']\n"
        "c.InteractiveShellApp.extra_extensions = ['storemagic']\n"
    )
    code = "%twisted_config show timeout\nprint(*sorted(get_ipython().extension_manager.loaded))"
    run = run_python("-m", "twisted_ipython", "-c", code, environment={"IPYTHONDIR": str(tmp_path)})
    assert run.stderr == ""
    assert run.stdout.splitlines()[0] == "timeout=30"
    names = {name.rpartition(".")[2] for name in run.stdout.split()}
    assert {"autoreload", "storemagic", "twisted_ipython"} <= names
