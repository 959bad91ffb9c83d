"""With a reactor that has no asyncio loop, Deferreds are awaited and asyncio's objects refused."""

from __future__ import annotations

from pathlib import Path

from shells import run_python


def test_epoll(tmp_path: Path) -> None:
    """The cases of `epoll_cases.py` pass in a process with Twisted's epoll reactor."""
    cases = Path(__file__).parents[1] / "support" / "epoll_cases.py"
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {cases.parent}\nfilterwarnings =\n  error\n"
        "  ignore:isSet\\(\\) is deprecated:DeprecationWarning\n"
    )
    options = ["-p", "no:twisted", "-p", "no:cacheprovider", "-c", tmp_path / "pytest.ini", "-q"]
    done = run_python("-m", "pytest", *options, cases, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "27 passed" in done.stdout
