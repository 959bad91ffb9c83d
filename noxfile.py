"""What CI runs: `nox` for all of it, `nox -s lint` for one session."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import nox

HERE = Path(__file__).parent
PYPROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]

# The oldest ipykernel that is supported, and the first of the line that keeps the cell that output
# belongs to in a ContextVar. The latest is what all other sessions get.
IPYKERNELS = ["6.29.0", "7.0.0"]
# What the floors are tested with besides the dependencies' own floors. The rest of Jupyter follows
# from it.
FLOOR_COMPANIONS = [f"ipykernel=={IPYKERNELS[0]}", "scrapy==2.15.0"]

# What differs between the versions of Python: tasks and loops, signals and threads. How a process
# ends is tested on the oldest and the newest.
ON_PYTHON = [
    *("test_bridge*.py", "test_call_soon.py", "test_task*.py", "test_running_loop.py"),
    *("test_interrupt*.py", "test_stop.py", "test_kernel.py", "test_private_asyncio.py"),
]
# What starts kernels, but does not depend on which ipykernel it is. The bars of rich in
# `test_beside` fail on 7.0.0 without us, too: its threads have no parent message.
ON_ANY_KERNEL = [
    *("tests/scripts/*", "tests/scrapy/*", "tests/plain/test_borrow*", "tests/bridge/*"),
    *("test_browser.py", "test_async_kernel.py", "test_beside.py", "test_console.py"),
    *("test_notebooks.py", "test_process_cells.py", "test_uvloop.py", "test_trial.py"),
]

# Tests start hundreds of processes: as pip does, uv is to compile what it installs.
os.environ["UV_COMPILE_BYTECODE"] = "1"

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|venv"
# A Python that this machine lacks is named in the report, and is no failure.
nox.options.error_on_missing_interpreters = False


def runs(python: str | Path) -> bool:
    """Tell whether `python` is there and starts: a version manager's shim may only be there."""
    try:
        command = [python, "-c", "import venv, ensurepip"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def find(version: str) -> bool:
    """Tell whether `pythonX.Y` starts, after a look among those of pyenv and `.ci/pythons`."""
    name = f"python{version}"
    if shutil.which(name) and runs(name):
        return True
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    for candidate in (
        *sorted(pyenv.glob(f"versions/{version}*/bin/{name}"), reverse=True),
        cache / "pythons-from-debian" / version / "usr/bin" / name,
    ):
        if runs(candidate):
            os.environ["PATH"] = f"{candidate.parent}{os.pathsep}{os.environ['PATH']}"
            return True
    return False


OLDEST = min((version for version in PYTHONS if find(version)), default=PYTHONS[0])


def install(session: nox.Session, *groups: str, constraints: Sequence[str] = ()) -> None:
    """Install the package as a user would, and the dependency groups."""
    session.install("--upgrade", "pip>=25.1")  # the first that knows --group; some tests call it
    arguments = [f"--group={group}" for group in groups]
    if constraints:
        # Not in `session.create_tmp()`: that moves all temporary files of the session to a path so
        # long that a UNIX socket does not fit there.
        file = session.cache_dir / "constraints.txt"
        file.write_text("\n".join([*constraints, ""]))
        arguments += ["--constraint", str(file)]
    session.install(".", *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning, such as one of a link to nowhere, is an error."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "docs", "build/docs")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package with mypy --strict."""
    install(session, "lint")
    session.run("mypy")


# Those that hold a clock run alone all the same: tests/support/clocks.py.
TWO_AT_A_TIME = ["-n2", "--dist=loadfile", "--no-loadscope-reorder"]


def run_tests(session: nox.Session, files: Iterable[Path] = ()) -> None:
    """Run these files of tests, or all, two at a time."""
    chosen = [str(file) for file in sorted(files)]
    session.run("python", "-m", "pytest", *TWO_AT_A_TIME, *chosen, *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests."""
    install(session, "tests")
    run_tests(session)


@nox.session(python=PYTHONS)
def between(session: nox.Session) -> None:
    """Run the tests of what depends on the Python, for those between the oldest and the newest."""
    install(session, "tests")
    run_tests(session, (file for name in ON_PYTHON for file in Path("tests").rglob(name)))


@nox.session(python=OLDEST)
def floors(session: nox.Session) -> None:
    """Run the tests on the oldest dependencies that `pyproject.toml` admits."""
    lowest = [floor.replace(">=", "==") for floor in PYPROJECT["project"]["dependencies"]]
    install(session, "tests", constraints=[*lowest, *FLOOR_COMPANIONS])
    run_tests(session)


@nox.session(python=OLDEST)
@nox.parametrize("ipykernel", [nox.param(version, id=version) for version in IPYKERNELS])
def kernels(session: nox.Session, ipykernel: str) -> None:
    """Run the tests that start a kernel on an ipykernel that is not the latest."""
    install(session, "tests", constraints=[f"ipykernel=={ipykernel}"])
    run_tests(session, with_kernels())


@nox.session(python=OLDEST)
def async_kernel(session: nox.Session) -> None:
    """Run the tests of async-kernel, which wants a newer IPython than the floors admit."""
    install(session, "async-kernel")
    files = map(str, Path("tests").rglob("test_*async_kernel.py"))
    session.run("python", "-m", "pytest", *files, *session.posargs)


def with_kernels() -> list[Path]:
    """The files of tests that start kernels, or ask which ipykernel there is."""
    mark = re.compile("^from (browser|kernels) import|^import ipykernel|kernel_name", re.MULTILINE)
    files = sorted(Path("tests").rglob("test_*.py"))
    files = [one for one in files if not any(map(one.match, ON_ANY_KERNEL))]
    return [file for file in files if mark.search(file.read_text())]


@nox.session
def parallel(session: nox.Session) -> None:
    """Run what needs engines of ipyparallel's, which do not answer with the latest ipykernel."""
    install(session, "parallel")
    notebook = "tests/process/test_notebooks.py::test_saved_outputs[scale-out]"
    session.run("python", "-m", "pytest", "tests/process/parallel.py", notebook, *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Repeat a little of what has to hold every time; `nox -s stress -- --seed 2` tries another."""
    install(session, "tests")
    session.run("python", "tests/stress/run.py", "--short", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build what is published, check it, and run version 2's names and the tour on nothing else."""
    session.install("--upgrade", "pip>=25.1", "build", "check-wheel-contents", "twine")
    folder = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--quiet", f"--outdir={folder}")
    session.run("twine", "check", "--strict", *map(str, folder.glob("*")))
    [wheel] = map(str, folder.glob("*.whl"))
    session.run("check-wheel-contents", wheel)
    session.install(wheel)
    names, tour = (
        Path(file).resolve() for file in ("tests/support/version_2.ipy", "notebooks/tour.py")
    )
    with session.chdir(folder):  # where the package is not
        session.run("ipython", "--no-banner", str(names))
    session.install(wheel, "--group=notebooks")
    with session.chdir(folder):
        session.run("python", str(tour))


@nox.session
def notebooks(session: nox.Session) -> None:
    """Show the tour in the terminal, with no more installed than it asks for."""
    install(session, "notebooks")
    session.run("python", "notebooks/tour.py")
