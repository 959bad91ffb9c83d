"""Late output of cells whose client keeps the running cell's output only, as nbclient does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
from kernels import SECONDS, Kernel
from nbclient import NotebookClient

from twisted_ipython._display.late_output import MOST, Late, Message
from twisted_ipython._failures.reports import GRACE

_LOAD = "%load_ext twisted_ipython\n%autoawait twisted"
# What is late says so by an event, for which the later cell waits.
_SETUP = """
import threading
from IPython.display import HTML, clear_output, display
from twisted.internet import reactor, task
def when(event, call):
    if event.is_set():
        call()
    else:
        reactor.callLater(0.01, when, event, call)
go, gone = threading.Event(), threading.Event()
"""


def executed(name: str, *codes: str) -> list[list[str]]:
    """What is saved of each of the cells that nbclient runs after a first one."""
    cells = [nbformat.v4.new_code_cell(code) for code in (_LOAD + _SETUP, *codes)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name=name, timeout=SECONDS).execute()
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    return [list(map(in_short, cell.outputs)) for cell in cells[1:]]


def in_short(output: Any) -> str:
    """A saved output: text as it is, a display by what it holds."""
    if output["output_type"] == "stream":
        return re.sub(r"\x1b\[[0-9;]*m", "", output["text"])
    return f"{output['output_type']}: {output['data']['text/html']}"


def test_late_output_is_saved_in_the_running_cell(kernel_name: str) -> None:
    """A notebook that nbclient runs keeps late text, displays and failures, and whose they are."""
    first, second, third = executed(
        kernel_name,
        """
def late():
    print("late one\\nlate two")
    display(HTML("late"))
    clear_output()
    handle.update(HTML("updated"))
    try:
        1 / 0
    except ZeroDivisionError:
        get_ipython().showtraceback()
    gone.set()
when(go, late)
handle = display(HTML("pending"), display_id=True)
""",
        "print('own', flush=True)\ngo.set()\nassert gone.wait(20)\nprint('own again')",
        "print('nothing more')",
    )
    assert (first, third) == (["display_data: updated"], ["nothing more\n"])
    own, text, label, display, failure, again = second
    assert (own, again) == ("own\n", "own again\n")
    assert text == "[from cell 2] late one\n[from cell 2] late two\n"
    assert (label, display) == ("[from cell 2]\n", "display_data: late")
    assert all(line.startswith("[from cell 2] ") for line in failure.splitlines() if line)
    assert "[from cell 2] ZeroDivisionError: division by zero\n" in failure


def test_late_failures_and_results_are_saved(kernel_name: str) -> None:
    """A job's failure is saved with its cell's label, its card and a Deferred with their ends."""
    pending, job, running = executed(
        kernel_name,
        "from twisted.internet.defer import Deferred\nfired = Deferred()\nfired",
        """%%run_in_reactor
while not go.is_set():
    await task.deferLater(reactor, 0.01)
1 / 0
""",
        # The reactor comes to this timer after those of the failure, which waits for its reader.
        f"fired.callback(HTML('late'))\ngo.set()\nawait task.deferLater(reactor, {4 * GRACE})",
    )
    assert pending == ["display_data: late"]
    assert len(job) == 1
    assert "ZeroDivisionError: division by zero" in job[0]
    text = "".join(running)
    assert text.count("[from cell 3] ZeroDivisionError: division by zero\n") == 1
    assert all(line.startswith("[from cell 3] ") for line in text.splitlines() if line)


def test_a_cell_that_clears_loses_nothing_late(kernel_name: str) -> None:
    """Late text that the running cell clears is saved once more at that cell's end."""
    codes = ["when(go, lambda: (print('late', flush=True), gone.set()))"]
    codes += ["print('own')\ngo.set()\nassert gone.wait(20)\nclear_output()\nprint('after')"]
    assert executed(kernel_name, *codes) == [[], ["after\n", "[from cell 2] late\n"]]


def test_a_late_widget_is_saved(kernel_name: str) -> None:
    """A widget that changes late is saved as it was in the end."""
    codes = [
        _LOAD + _SETUP + "import ipywidgets\nbar = ipywidgets.IntProgress()\nbar",
        "def late():\n    bar.value = 7\n    gone.set()\nwhen(go, late)",
        "go.set()\nassert gone.wait(20)",
    ]
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name=kernel_name, timeout=SECONDS).execute()
    (saved,) = notebook.metadata.widgets.values()
    states = [one["state"] for one in saved["state"].values()]
    assert [state["value"] for state in states if "value" in state] == [7]


def test_what_comes_while_no_cell_runs(tmp_path: Path) -> None:
    """Then late text waits for the next cell; at the process's end it goes to its stderr."""
    path = tmp_path / "stderr"
    with path.open("w") as stderr, Kernel(stderr=stderr) as kernel:
        kernel.ok(
            f"""
from pathlib import Path
from twisted.internet import reactor
def late(number):
    idle = Path({str(tmp_path)!r}, f"idle {{number}}")
    if not idle.exists():
        reactor.callLater(0.01, late, number)
        return
    print("late", number, flush=True)
    idle.with_name(f"printed {{number}}").touch()
late(1)
late(2)
""",
            allow_stdin=False,
        )
        (tmp_path / "idle 1").touch()
        kernel.pump((tmp_path / "printed 1").exists)
        assert kernel.ok("print('own')", allow_stdin=False).printed().splitlines() == [
            "[from cell 2] late 1",
            "own",
        ]
        (tmp_path / "idle 2").touch()
        kernel.pump((tmp_path / "printed 2").exists)
        kernel.ask_shutdown()
        assert kernel.ended_within(10)
    assert "[from cell 2] late 2\n" in path.read_text()


def test_a_front_end_gets_late_output_as_it_is() -> None:
    """A client that says that it has stdin gets late output with its own cell's number."""
    with Kernel() as kernel:
        kernel.ok(_SETUP)
        late = "when(go, lambda: (print('late', flush=True), gone.set()))"
        first = kernel.ok(late)
        second = kernel.ok("go.set()\nassert gone.wait(20)")
        third = kernel.ok(f"go.clear(); gone.clear()\n{late}")
        # What a front end runs for itself has no stdin either.
        hidden = kernel.ok("go.set()\nassert gone.wait(20)", allow_stdin=False)
    assert (first.printed(), second.printed()) == ("late\n", "")
    assert (third.printed(), hidden.printed()) == ("late\n", "")


# ---- what is sent in place of a message


def request(number: int, **content: Any) -> dict[str, Any]:
    """The request that runs the cell with a number, of a client without stdin."""
    header = {"msg_id": f"request {number}", "msg_type": "execute_request"}
    return {"header": header, "content": {"allow_stdin": False, **content}}


class Sending:
    """
    A `Late`, and what it has sent.

    Attributes:
        texts: the texts that the cells were sent, by the cells' numbers.
        lost: the texts for which no cell came.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.lost: list[str] = []
        self._late = Late(lambda message: self.lost.append(self._late.text(message)))

    def _send(self, message: Message) -> None:
        for one in self._late.to_send(message):
            if one.kind == "stream":
                texts = self.texts.get(one.origin, "")
                self.texts[one.origin] = texts + one.content["text"]

    def begin(self, number: int, **content: Any) -> None:
        """A cell begins."""
        asked = request(number, **content)
        self._send(Message("execute_input", {"execution_count": number}, asked))

    def idle(self, number: int) -> None:
        """A cell ends."""
        self._send(Message("status", {"execution_state": "idle"}, request(number)))

    def end(self) -> None:
        """No cell comes any more."""
        self._late.end()

    def text(self, number: int, text: str) -> None:
        """A cell prints."""
        content = {"name": "stdout", "text": text}
        self._send(Message("stream", content, request(number)["header"]))


def test_lines() -> None:
    """A label stands at the beginning of each line, also of those that come in parts."""
    sending = Sending()
    sending.begin(1)
    sending.idle(1)
    sending.begin(2)
    for text in ("a", "b\nc", "\n", "\n\nd\r10 %\r", "20 %"):
        sending.text(1, text)
    sending.text(2, "own")
    sending.text(1, "\re\n")
    label = "[from cell 1] "
    texts = [f"ab\n{label}c\n\n\n{label}d\r{label}10 %\r", f"own\n{label}20 %\r{label}e\n"]
    assert sending.texts == {"request 2": label + "".join(texts)}


def test_a_line_that_nobody_ends() -> None:
    """A late line waits for its end through one cell's end, not through a second one's."""
    sending = Sending()
    sending.begin(1)
    sending.idle(1)
    sending.begin(2)
    sending.text(1, "a")
    sending.text(1, "b")
    sending.idle(2)
    sending.begin(3)
    sending.text(3, "own\n")
    assert sending.texts == {"request 3": "own\n"}
    sending.idle(3)
    assert sending.texts == {"request 3": "own\n[from cell 1] ab"}
    sending.text(1, "c")
    sending.end()
    assert sending.lost == ["[from cell 1] c"]


def test_too_much_waits() -> None:
    """While no cell runs the last messages wait for one, and the oldest are given back."""
    sending = Sending()
    sending.begin(1)
    sending.idle(1)
    for number in range(MOST + 2):
        sending.text(1, f"{number}\n")
    assert sending.lost == ["[from cell 1] 0\n", "[from cell 1] 1\n"]
    sending.begin(2)
    assert len(sending.texts["request 2"].splitlines()) == MOST


@pytest.mark.parametrize("content", [{"allow_stdin": True}, {"store_history": False}])
def test_what_waits_for_another_client(content: dict[str, bool]) -> None:
    """When a client comes that keeps each cell's output, what waits is sent as it was."""
    sending = Sending()
    sending.begin(1)
    sending.idle(1)
    sending.text(1, "late")
    sending.begin(2, **content)
    assert sending.texts == {"request 1": "late"}
