"""Tab after our magics."""

from __future__ import annotations

from IPython.core.completer import provisionalcompleter
from session import Session, eventually

from twisted_ipython._reactor.lifecycle import current


def completed(session: Session, code: str, cursor: int | None = None) -> list[str]:
    """What Tab offers at the end of the code, as what the word there becomes."""
    cursor = len(code) if cursor is None else cursor
    with provisionalcompleter():
        found = list(session.shell.Completer.completions(code, cursor))
    return [code[: one.start].rpartition(" ")[2] + one.text for one in found]


def test_options_complete(session: Session) -> None:
    """In the line of the magic, whatever else stands there."""
    options = ["--global", "--process", "--replace", "--thread", "--wait"]
    assert completed(session, "%%run_in_reactor -") == [*options, "-g", "-p", "-r", "-t", "-w"]
    assert completed(session, "%%run_in_reactor x --") == options
    assert completed(session, "%%run_in_reactor --wait --re") == ["--replace"]
    line = "%%run_in_reactor x --w"
    assert completed(session, f"{line}\n1 + 1", len(line)) == ["--wait"]
    assert "--wait" not in completed(session, "%%run_in_reactor x\n1 --w")
    assert "--wait" not in completed(session, "x --w")


def test_subcommands_and_jobs_complete(session: Session) -> None:
    """Subcommands, then the jobs that they could mean, by their names or else numbers."""
    session.ok("%%run_in_reactor download\nawait Deferred()")
    session.ok("%%run_in_reactor done\n1")
    session.ok("%%run_in_reactor\nawait Deferred()")
    eventually(lambda: len(current().jobs.pending()) == 2)
    number = str(current().jobs.all()[-1].number)
    assert completed(session, "%reactor ") == [
        *("cancel", "close", "jobs", "output", "profile", "stack", "wait")
    ]
    assert completed(session, "%reactor s") == ["stack"]
    assert completed(session, "%reactor cancel ") == ["all", *sorted([number, "done", "download"])]
    assert completed(session, "%reactor cancel download d") == ["done"]
    assert completed(session, "%reactor output d") == ["done", "download"]
    assert completed(session, "%reactor wait d") == ["download"]
    assert completed(session, "x = 1\nr = %reactor wait d") == ["download"]
    assert "download" not in completed(session, "%reactor cancel all d")


def test_settings_complete(session: Session) -> None:
    """Names, and the values that are words."""
    assert completed(session, "%twisted_config ") == [
        "reset",
        "show",
        "autoawait",
        "share_reactor",
        "timeout",
        "updates",
    ]
    assert completed(session, "%twisted_config show t") == ["timeout"]
    assert completed(session, "%twisted_config autoawait ") == ["False", "True"]
    assert completed(session, "%twisted_config share_reactor ") == ["False", "True"]
    assert completed(session, "%twisted_config updates ") == ["auto", "display", "text"]
    assert completed(session, "%twisted_config timeout I") == ["INFINITY"]


def test_other_completions_are_as_before(session: Session) -> None:
    """Elsewhere nothing of ours is offered, and after unloading nowhere."""
    session.names["download"] = 1
    assert "download" in completed(session, "downl")
    assert "%reactor" in completed(session, "%reac")
    session.ok("%unload_ext twisted_ipython")
    assert "--wait" not in completed(session, "%%run_in_reactor --w")
    session.ok("%load_ext twisted_ipython")
