"""
Tab after our magics: options, subcommands, jobs and settings.

Thread: cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult

from twisted_ipython._magics.settings import TAKES
from twisted_ipython._reactor.jobs import Job
from twisted_ipython._reactor.lifecycle import current

_LONG: Final = ("--global", "--process", "--replace", "--thread", "--wait")
_OPTIONS: Final = (*_LONG, "-g", "-p", "-r", "-t", "-w")
# For each setting what it takes that is a word.
_SETTINGS: Final = {
    name: sorted(re.findall(r"True|False|INFINITY|auto|display|text", words))
    for name, words in sorted(TAKES.items())
}
# A magic can stand after an assignment: `result = %reactor wait 3`.
_LINE: Final = re.compile(r"\s*(?:[^=%]*=\s*)?%(reactor|twisted_config)\s+(.*)")
_CELL: Final = re.compile(r"%%run_in_reactor\s.*")


def complete(context: CompletionContext) -> SimpleMatcherResult:
    """What can stand where the cursor is, in a line of our magics.  Thread: cell."""
    found = [
        SimpleCompletion(text=word, type="magic")
        for word in _candidates(context)
        if word.startswith(context.token)
    ]
    return {"completions": found, "suppress": bool(found), "ordered": True}


def _candidates(context: CompletionContext) -> Iterable[str]:
    """What could stand there, whatever of it is written already."""
    text = context.text_until_cursor
    if _CELL.fullmatch(text):
        return _OPTIONS if context.token.startswith("-") else ()
    if match := _LINE.fullmatch(text):
        words = match[2].removesuffix(context.token).split()
        return _of_reactor(words) if match[1] == "reactor" else _of_config(words)
    return ()


def _of_reactor(words: list[str]) -> Iterable[str]:
    from twisted_ipython._magics.reactor_wait import COMMANDS

    jobs = current().jobs
    match words:
        case []:
            return COMMANDS
        case ["cancel"]:
            return ["all", *_names(jobs.all())]
        case ["cancel", *named] if "all" not in named:
            return [name for name in _names(jobs.all()) if name not in named]
        case ["close"]:
            return ["cell", "job", *_names(jobs.all())]
        case ["close", "job"] | ["output"]:
            return _names(jobs.all())
        case ["wait"]:
            return _names(jobs.pending())
    return ()


def _names(known: list[Job]) -> list[str]:
    """The names of jobs, and the numbers of those that have none."""
    return sorted({job.name or str(job.number) for job in known})


def _of_config(words: list[str]) -> Iterable[str]:
    match words:
        case []:
            return ["reset", "show", *_SETTINGS]
        case ["show"]:
            return _SETTINGS
        case [name]:
            return _SETTINGS.get(name, ())
    return ()
