"""What CI runs: `nox` for all of it, `nox -s lint` for one session."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import nox

HERE = Path(__file__).parent
PYPROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

# What the floors are tested with besides the dependencies' own floors: the oldest ipykernel that
# is supported. The rest of Jupyter follows from it.
FLOOR_COMPANIONS = ["ipykernel==6.29.0"]

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
    """Tell whether `pythonX.Y` starts, after a look among what pyenv installed."""
    name = f"python{version}"
    if shutil.which(name) and runs(name):
        return True
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in sorted(root.glob(f"versions/{version}*/bin/{name}"), reverse=True):
        if runs(candidate):
            os.environ["PATH"] = f"{candidate.parent}{os.pathsep}{os.environ['PATH']}"
            return True
    return False


OLDEST = min((version for version in PYTHONS if find(version)), default=PYTHONS[0])


def install(session: nox.Session, *groups: str, constraints: Path | None = None) -> None:
    """Install the package as a user would, and the dependency groups."""
    session.install("--upgrade", "pip>=25.1")  # the first that knows --group
    arguments = [f"--group={group}" for group in groups]
    if constraints:
        arguments += ["--constraint", str(constraints)]
    session.install(".", *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package with mypy --strict."""
    install(session, "lint")
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests."""
    install(session, "tests")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=OLDEST)
def floors(session: nox.Session) -> None:
    """Run the tests on the oldest dependencies that `pyproject.toml` admits."""
    constraints = Path(session.create_tmp()) / "floors.txt"
    lowest = [floor.replace(">=", "==") for floor in PYPROJECT["project"]["dependencies"]]
    constraints.write_text("\n".join([*lowest, *FLOOR_COMPANIONS, ""]))
    install(session, "tests", constraints=constraints)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def notebooks(session: nox.Session) -> None:
    """Show the tour in the terminal, with no more installed than it asks for."""
    install(session, "notebooks")
    session.run("python", "notebooks/tour.py")
