"""What all tests share: an IPython and a Jupyter without anybody's settings."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clocks import clocks_of, turn
from session import Session, session_of

if TYPE_CHECKING:
    from kernels import Kernel

CHECKOUT = Path(__file__).parent.parent
# It wants a newer IPython than the floors admit: it has a session of its own.
collect_ignore_glob = [] if find_spec("async_kernel") else ["*/test_*async_kernel.py"]

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them every
# program that they start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in which tests run alone come last, so that until then the workers have all to do."""
    items.sort(key=lambda item: bool(clocks_of(item.path)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With `pytest -n2`, a test that holds a clock runs alone."""
    if not hasattr(item.config, "workerinput") or item.config.cache is None:
        return (yield)  # one process
    alone = item.name.partition("[")[0] in clocks_of(item.path)
    with turn(item.config.cache.mkdir("turns"), alone=alone):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Programs that tests start find this checkout, and no configuration of the user's."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CHECKOUT))
        for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(variable, str(folder / variable.lower()))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        # Programs that print show it at once, and their tracebacks have no colours.
        patch.setenv("PYTHONUNBUFFERED", "1")
        patch.setenv("NO_COLOR", "1")
        # A debugger's check, which warns, has nothing to do with any test.
        patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        for variable in ("PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONASYNCIODEBUG"):
            patch.delenv(variable, raising=False)
        # They start by the hundred, and would each compile the package.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield folder


@pytest.fixture
def session() -> Iterator[Session]:
    """A shell of the test process with the extension."""
    with session_of() as one:
        yield one


@pytest.fixture
def reactor(session: Session) -> Any:
    """Twisted's reactor, which another thread runs; calls of this thread are carried to it."""
    from twisted_ipython._reactor.lifecycle import start

    return start().reactor


@pytest.fixture(scope="module")
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel that the tests of a module share, after a cell with the module's ``SETUP``."""
    from kernels import Kernel

    with Kernel() as one:
        one.ok(request.module.SETUP)
        yield one


@pytest.fixture(autouse=True)
def reactor_as_loaded() -> None:
    """A reactor in the test process has what loading sets on it, whoever unloaded before."""
    from twisted_ipython._reactor.lifecycle import started

    thread = started()
    if thread is not None:
        from twisted_ipython._extension import attach

        attach(thread)


@pytest.fixture
def kernel_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel of this Python, in a Jupyter and an IPython without any settings."""
    spec = tmp_path / "data" / "kernels" / "this-python" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Tested", "language": "python"}))
    for variable, folder in [
        ("IPYTHONDIR", "ipython"),
        ("JUPYTER_CONFIG_DIR", "config"),
        ("JUPYTER_DATA_DIR", "data"),
        ("JUPYTER_RUNTIME_DIR", "runtime"),
    ]:
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return "this-python"
