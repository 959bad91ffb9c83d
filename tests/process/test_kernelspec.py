"""The kernel "Python 3 (Twisted)": it is installed and removed, and is a kernel like others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from unittest import SkipTest

import jupyter_kernel_test
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from shells import run_python

from twisted_ipython._kernels.kernelspec import (
    DISPLAY_NAME,
    NAME,
    NO_JUPYTER,
    NO_KERNEL,
    NOT_DONE,
    NOT_OURS,
    main,
)

SECONDS = 30
KERNELS = ("share", "jupyter", "kernels")
AWAITING = """
from twisted.internet import reactor, task
await task.deferLater(reactor, 0.05, lambda: 'a Deferred of the suite')
""".strip()


class TestSuite(jupyter_kernel_test.KernelTests):
    """Jupyter's own suite for kernels, on the kernel as `install` makes it."""

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples: ClassVar = ["1", "print('hello')", "await x", "%reactor"]
    incomplete_code_samples: ClassVar = ["print('''hello", "async def f():"]
    invalid_code_samples: ClassVar = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise RuntimeError"
    code_execute_result: ClassVar = [{"code": AWAITING, "result": "'a Deferred of the suite'"}]
    code_display_data: ClassVar = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>'))",
            "mime": "text/html",
        },
    ]
    code_history_pattern = "*a Deferred of the suite*"
    supported_history_operations = ("tail", "search")  # as in the suite's own test of ipykernel
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    @contextmanager
    def subTest(self, **parameters: object) -> Iterator[None]:  # type: ignore[override]
        """A part of a test; one that the suite leaves out itself is not counted as skipped."""
        with suppress(*[SkipTest] if parameters == {"hist_access_type": "range"} else []):
            yield

    @classmethod
    def setUpClass(cls) -> None:
        """Install the kernel into a folder, and start it from there."""
        cls.enterClassContext(folder := TemporaryDirectory())
        install(folder.name)
        specs = KernelSpecManager(kernel_dirs=[str(Path(folder.name, *KERNELS))])
        cls.km = KernelManager(kernel_name=NAME, kernel_spec_manager=specs)
        cls.km.start_kernel()
        cls.kc: BlockingKernelClient = cls.km.client()
        cls.kc.start_channels()
        cls.kc.wait_for_ready(timeout=SECONDS)

    @classmethod
    def tearDownClass(cls) -> None:
        """End the kernel."""
        cls.kc.stop_channels()
        cls.km.shutdown_kernel(now=True)
        cls.kc.context.destroy(linger=0)


def install(folder: str) -> None:
    """Install the kernel below a folder."""
    run = run_python("-m", "twisted_ipython", "install", "--prefix", folder)
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    assert run.stdout.startswith(f"installed the kernel 'twisted' in {Path(folder, *KERNELS)}")
    assert f"JUPYTER_PATH names {Path(folder, *KERNELS[:2])}" in run.stdout


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Ask for what cannot be done; give the last line that says so."""
    with pytest.raises(SystemExit, match="2"):
        main([*map(str, arguments)])
    return capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]


def test_installed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`install` writes a kernel of that name and title, and `remove` takes away no other."""
    kernels = tmp_path.joinpath(*KERNELS)
    specs = KernelSpecManager(kernel_dirs=[str(kernels)], ensure_native_kernel=False)
    place = ("--prefix", str(tmp_path))
    main(["install", *place])
    main(["install", *place, "--name", "Other", "--display-name", "My Twisted"])
    found = {name: spec["spec"]["display_name"] for name, spec in specs.get_all_specs().items()}
    assert found == {NAME: DISPLAY_NAME, "other": "My Twisted"}
    capsys.readouterr()
    main(["remove", *place])
    assert capsys.readouterr().out == f"removed the kernel 'twisted' from {kernels / NAME}\n"
    assert [*specs.get_all_specs()] == ["other"]
    assert refused(capsys, "remove", *place) == NO_KERNEL.format(name=NAME, folders=kernels)
    kernel = kernels / "other" / "kernel.json"
    kernel.write_text(kernel.read_text().replace("twisted_ipython", "storemagic"))
    assert refused(capsys, "remove", *place, "--name", "other") == NOT_OURS.format(name="other")
    assert [*specs.get_all_specs()] == ["other"]


def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be done is said in the last line."""
    both = refused(capsys, "install", "--user", "--sys-prefix")
    assert both == "argument --sys-prefix: not allowed with argument --user"
    assert refused(capsys, "install", "--name", "a b").startswith("Invalid kernel name 'a b'")
    assert refused(capsys, "install", "--nmae", "a") == "unrecognized arguments: --nmae a"
    (tmp_path / "file").touch()  # root may write everywhere, but not below a file
    said = refused(capsys, "install", "--prefix", tmp_path / "file")
    assert said.startswith("[Errno")
    assert said.endswith(NOT_DONE.removeprefix("{error}"))


@pytest.mark.parametrize(
    ("lacks", "command"), [("ipykernel", "install"), ("jupyter_client", "remove")]
)
def test_without_jupyter(lacks: str, command: str) -> None:
    """Where Jupyter is not installed, a line says what to install."""
    code = f"import sys; sys.modules[{lacks!r}] = None"
    code += f"; from twisted_ipython._kernels.kernelspec import main; main([{command!r}])"
    run = run_python("-c", code)
    assert run.returncode == 2
    assert run.stderr.endswith(f" error: {NO_JUPYTER}\n")
