"""What asyncio reports of handles and tasks, on a loop of the test's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from logs import fresh_logging

from twisted_ipython._base.work_id import new_work, set_work
from twisted_ipython._failures.asyncio_errors import attach
from twisted_ipython._failures.reports import Reports


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def reports_of(shown: list[tuple[str, str]]) -> Reports:
    """What shows failures in a list."""
    reports = Reports()
    reports.attach(lambda call, *args: call(*args), lambda _seconds, _call: None, lambda _: "")
    reports.add(lambda error, head: shown.append((repr(error), head)))
    return reports


def fail_in_handle(loop: asyncio.AbstractEventLoop) -> None:
    """Have a callback fail, of cell 7."""

    def fails() -> None:
        raise ValueError("x")

    context = copy_context()
    context.run(set_work, new_work(7))
    loop.call_soon(fails, context=context)
    loop.call_soon(loop.stop)
    loop.run_forever()


@fresh_logging()
def test_a_callback_that_fails(loop: asyncio.AbstractEventLoop) -> None:
    """It is shown in its own cell, in asyncio's words for what failed; until it is undone."""
    shown: list[tuple[str, str]] = []
    undo = attach(loop, reports_of(shown))
    fail_in_handle(loop)
    [(error, head)] = shown
    assert error == "ValueError('x')"
    assert head.startswith(
        "Failure of cell 7: Exception in callback fail_in_handle.<locals>.fails()"
    )
    undo()
    assert loop.get_exception_handler() is None


def test_what_is_no_exception(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """A report without an exception stays asyncio's."""
    shown: list[tuple[str, str]] = []
    attach(loop, reports_of(shown))
    loop.call_exception_handler({"message": "something odd"})
    assert shown == []
    assert "something odd" in caplog.text


@fresh_logging()
def test_a_loop_of_others(loop: asyncio.AbstractEventLoop) -> None:
    """Of another loop than the reactor's only what the user's code raised is shown."""
    shown: list[tuple[str, str]] = []
    attach(loop, reports_of(shown), ours=False)
    silent = logging.NullHandler()
    logging.getLogger("asyncio").addHandler(silent)
    try:
        loop.call_exception_handler({"message": "no code", "exception": ValueError("y")})
    finally:
        logging.getLogger("asyncio").removeHandler(silent)
    assert shown == []
    fail_in_handle(loop)
    assert [error for error, _ in shown] == ["ValueError('x')"]


@fresh_logging()
def test_a_handler_of_the_users(loop: asyncio.AbstractEventLoop) -> None:
    """It stays, also when ours is undone."""
    told: list[Any] = []

    def own(_: Any, report: Any) -> None:
        told.append(report)

    loop.set_exception_handler(own)
    attach(loop, reports_of([]))()
    fail_in_handle(loop)
    assert len(told) == 1
    assert loop.get_exception_handler() is own
