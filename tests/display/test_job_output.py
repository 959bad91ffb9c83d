"""What a job shows is kept, and shown again: `_display.job_output`, and in a real kernel."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from kernels import SECONDS, Execution, Kernel

from twisted_ipython._display.job_output import MOST, JobOutput
from twisted_ipython._display.late_output import Message
from twisted_ipython._magics.reactor_wait import SHOWN_NOTHING

SETUP = """
import asyncio, gc, os, weakref
from IPython.display import HTML, clear_output, display
"""


# ---- the record


def kept(*messages: tuple[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """What is kept of some messages: text, or what is displayed."""
    output = JobOutput(lambda _: None, nullcontext(), dict)
    for kind, content in messages:
        output.add(Message(kind, content, {"msg_id": "a"}))
    return [(one.kind, one.content.get("text", one.content.get("data"))) for one in output.shown()]


def text(text: str, name: str = "stdout") -> tuple[str, dict[str, Any]]:
    """A message of text."""
    return "stream", {"name": name, "text": text}


def shown(kind: str, value: str, number: str | None = None) -> tuple[str, dict[str, Any]]:
    """A message that displays something."""
    transient = {"display_id": number} if number else {}
    return kind, {"data": {"text/plain": value}, "metadata": {}, "transient": transient}


def test_short_texts_are_one() -> None:
    """Text of one stream is kept as one message, in its order with the other's."""
    messages = text("a\n"), text("b\n"), text("c\n", "stderr"), text("d\n")
    assert kept(*messages) == [("stream", "a\nb\n"), ("stream", "c\n"), ("stream", "d\n")]


def test_results_and_errors_stand_in_any_cell() -> None:
    """A result is a display, and a failure text on stderr."""
    result = {**shown("execute_result", "7")[1], "execution_count": 3}
    error = {"ename": "E", "evalue": "", "traceback": ["Traceback", "E"]}
    found = kept(("execute_result", result), ("error", error))
    assert found == [("display_data", {"text/plain": "7"}), ("stream", "Traceback\nE\n")]


def test_updates_change_what_is_kept() -> None:
    """A display is kept as it was updated last, also if it was displayed twice."""
    twice = [shown("display_data", "0 %", "bar"), shown("display_data", "0 %", "bar")]
    others = [shown("display_data", "other"), shown("update_display_data", "x", "elsewhere")]
    found = kept(*twice, *others, shown("update_display_data", "9 %", "bar"))
    assert [data["text/plain"] for _, data in found] == ["9 %", "9 %", "other"]


def test_clears() -> None:
    """What was cleared is not kept; what is cleared by the next output, until that comes."""
    assert kept(text("a"), ("clear_output", {"wait": False}), text("b")) == [("stream", "b")]
    waits = text("a"), ("clear_output", {"wait": True})
    assert kept(*waits) == [("stream", "a"), ("clear_output", None)]
    assert kept(*waits, waits[1], text("b"), text("c")) == [("stream", "bc")]


@pytest.mark.parametrize("size", [700, 9_999, 600_000, 2 * MOST + 1])
def test_the_last_megabyte_is_kept(size: int) -> None:
    """Whatever the size of the messages; the first line says what was left out."""
    whole = "".join(f"{number:07}" for number in range(0, 3 * MOST + 7, 7))
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    (_, said), *found = kept(*map(text, pieces))
    assert said == "[2.0 MB of earlier output left out]\n"
    joined = "".join(text for _, text in found)
    assert whole.endswith(joined)
    assert MOST - 10_000 < len(joined) <= MOST


def test_a_display_that_is_too_large_is_left_out() -> None:
    """Of it stands the line alone."""
    assert kept(shown("display_data", "x" * MOST)) == [
        ("stream", "[1.0 MB of earlier output left out]\n")
    ]


def test_updates_do_not_add_up() -> None:
    """A bar that is drawn without end takes no more than what is seen of it."""
    output = JobOutput(lambda _: None, nullcontext(), dict)
    output.add(Message(*shown("display_data", "0", "bar"), {}))
    before = str(output)
    for _ in range(100):
        output.add(Message(*shown("update_display_data", "1", "bar"), {}))
    assert str(output) == before == "0.0 kB"


# ---- in a kernel


def with_another_page(kernel: Kernel) -> None:
    """Close the page, and open one that knows nothing."""
    kernel.client.stop_channels()
    kernel.client = BlockingKernelClient(connection_file=kernel.manager.connection_file)
    kernel.client.load_connection_file()
    kernel.client.session.metadata = {"cellId": "a cell"}  # a notebook, and no jupyter console
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=SECONDS)


def displayed(execution: Execution) -> list[str]:
    """The texts of what a cell displayed."""
    return [text for _, text in shows(execution)]


def shows(execution: Execution) -> list[tuple[dict[str, Any], str]]:
    """What a cell displayed: the messages and their texts."""
    messages = execution.messages("display_data")
    return [(one, one["content"]["data"]["text/plain"]) for one in messages]


def job(kernel: Kernel, name: str, code: str, gate: Path) -> Execution:
    """Start a job whose code can ``await opened()``, which waits for a file."""
    wait = f"async def opened():\n    while not os.path.exists({str(gate)!r}):"
    kernel.ok(f"{wait}\n        await asyncio.sleep(0.01)")
    return kernel.ok(f"%%run_in_reactor {name}\n{code}")


TALK = """
print("begins")
bar = display("0 %", display_id=True)
display(HTML("<hr>"))
await opened()
bar.update("9 %")
print("goes on")
return "the value"
"""


def test_another_page_sees_a_job(kernel: Kernel, tmp_path: Path) -> None:
    """What there is, what a job has shown so far, and what it shows until it ends."""
    job(kernel, "talk", TALK, tmp_path / "gate").wait_for("begins")
    with_another_page(kernel)
    [table] = displayed(kernel.ok("%reactor jobs"))
    assert table.splitlines()[1].split()[-3:] == ["output", "waits", "at"]
    assert re.search(r"talk .* pending .* \d\.\d kB ", table)
    cell = kernel.submit("%reactor output talk").wait_for("begins")
    kernel.pump(lambda: len(displayed(cell)) == 3)
    assert "'0 %'" in displayed(cell)
    assert cell.reply is None
    (tmp_path / "gate").touch()
    assert cell.wait().printed() == "begins\ngoes on\n"
    numbers = {text: one["content"]["transient"].get("display_id") for one, text in shows(cell)}
    kernel.shows(numbers["'0 %'"], "'9 %'")  # what is shown already is updated there
    with_another_page(kernel)
    cell = kernel.ok("%reactor output talk")
    assert cell.printed() == "begins\ngoes on\n"
    found = displayed(cell)
    assert "'9 %'" in found
    assert any("talk of cell" in one and "'the value'" in one for one in found)


def test_interrupt_ends_the_showing_only(kernel: Kernel, tmp_path: Path) -> None:
    """The job goes on, and shows no more in that cell, and all of it in one that waits."""
    code = "print('begins')\nawait opened()\nprint('goes on');"
    job(kernel, "long", code, tmp_path / "gate")
    cell = kernel.submit("%reactor output long").wait_for("begins")
    kernel.interrupt()
    assert cell.wait().error == "KeyboardInterrupt"
    assert kernel.value("long.state") == "'pending'"
    waits = kernel.submit("%reactor output long").wait_for("begins")
    (tmp_path / "gate").touch()
    assert waits.wait().printed() == "begins\ngoes on\n"
    assert waits.late == []
    assert cell.printed() == "begins\n"


def test_failure_is_shown_again(kernel: Kernel, tmp_path: Path) -> None:
    """A failure that nobody handled, with its frames: as it comes, and afterwards."""
    job(kernel, "fails", "await opened()\n1/0", tmp_path / "gate")
    with_another_page(kernel)
    cell = kernel.submit("%reactor output fails")
    kernel.pump(lambda: bool(displayed(cell)))
    (tmp_path / "gate").touch()
    kernel.pump(lambda: "ZeroDivisionError" in cell.printed("stderr"))
    again = kernel.run("%reactor output fails").printed("stderr")
    assert again == cell.printed("stderr")
    assert "1/0" in re.sub(r"\x1b\[[0-9;]*m", "", again)


def test_given_up_cells_are_jobs(kernel: Kernel, tmp_path: Path) -> None:
    """What a cell shows that was given up is kept from then on."""
    code = (
        "async def swallows():\n    while not os.path.exists(GATE):\n"
        "        try:\n            await asyncio.sleep(0.01)\n"
        "        except BaseException:\n            print('swallowed')\n"
        "    print('ends')\n"
    )
    kernel.ok(f"GATE = {str(tmp_path / 'gate')!r}\n{code}")
    cell = kernel.submit("print('begins')\nawait swallows()").wait_for("begins")
    kernel.interrupt()
    cell.wait_for("swallowed")
    kernel.interrupt()
    [number] = re.findall(r"goes on as job (\d+)", cell.wait().traceback)
    (tmp_path / "gate").touch()
    again = kernel.run(f"%reactor output {number}")
    assert again.printed().endswith("ends\n")
    assert "begins" not in again.printed()
    assert "given up" in again.printed("stderr")


def test_record_holds_no_result(kernel: Kernel) -> None:
    """What was shown is kept as it was sent; the value is let go."""
    code = "class Value: pass\nvalue = Value()\nkept = weakref.ref(value)\ndisplay(value)"
    kernel.ok(f"%%run_in_reactor holds\nglobal kept\n{code}\nreturn value;")
    kernel.ok("await holds;")
    kernel.ok("del holds")
    assert kernel.value("gc.collect(); kept()") is None
    assert "Value at 0x" in displayed(kernel.ok("%reactor output holds"))[0]


def test_nothing_shown(kernel: Kernel, tmp_path: Path) -> None:
    """A job that showed nothing but its card says so."""
    job(kernel, "quiet", "await opened()", tmp_path / "gate")
    (tmp_path / "gate").touch()
    kernel.ok("await quiet;")
    said = kernel.ok("%reactor output quiet").printed()
    assert re.fullmatch(SHOWN_NOTHING.format(job=r"job \d+ \(quiet\)") + "\n", said)
