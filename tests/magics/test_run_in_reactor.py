"""`%%run_in_reactor` and `%reactor` in a real kernel, as a notebook sees them."""

from __future__ import annotations

import re
from time import monotonic

import pytest
from kernels import SECONDS, Execution, Kernel, fail

from twisted_ipython._magics.magics import NOT_FIRST

SETUP = """
import asyncio, gc, sys, threading, weakref
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, LoopingCall
from twisted.web.client import HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import Site
pool = HTTPConnectionPool(reactor, persistent=True)
"""


def plain(text: str) -> str:
    """A text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def heads(execution: Execution) -> list[str]:
    """The frames of a traceback: `Cell In[5], line 2` and the like."""
    lines = plain(execution.traceback).splitlines()
    return [line for line in lines if line.startswith(("Cell In[", "File "))]


def number_of(execution: Execution) -> int:
    """The number of a cell."""
    assert execution.reply is not None
    number: int = execution.reply["execution_count"]
    return number


# ---- the line and the cell


@pytest.mark.parametrize(
    "line", ["1x", "class", "a b", "a.b", "x;import os", "x=3", "--never", "--wait=", "{evil()}"]
)
def test_a_bad_line_is_one_line_of_error(kernel: Kernel, line: str) -> None:
    """The reply is an error, one line is shown, and nothing was executed."""
    kernel.ok("done = []\ndef evil(): done.append(1)")
    ran = fail(kernel, f"%%run_in_reactor {line}\ndone.append(2)")
    assert ran.reply is not None
    assert ran.reply["status"] == "error"
    assert ran.reply["ename"] == "UsageError"
    text = ran.printed("stderr").strip() + ran.traceback.strip()
    assert text.startswith("UsageError: ")
    assert "\n" not in text
    assert kernel.value("done") == "[]"


@pytest.mark.parametrize("line", ["x", "--wait x", "--replace x"])
def test_a_cell_that_does_not_compile_is_a_syntax_error(kernel: Kernel, line: str) -> None:
    """Shown as that of a plain cell, at its line; the name keeps what it had."""
    kernel.ok("x = 'before'")
    bad = fail(kernel, f"%%run_in_reactor {line}\na = 1\nb = = 2")
    plainly = fail(kernel, "# a line\na = 1\nb = = 2")
    assert bad.reply is not None
    assert bad.reply["status"] == "error"
    assert bad.error == plainly.error == "SyntaxError"
    ours = plain(bad.traceback).replace(f"In[{number_of(bad)}]", "In[n]")
    assert ours == plain(plainly.traceback).replace(f"In[{number_of(plainly)}]", "In[n]")
    assert "Cell In[n], line 3" in ours
    assert kernel.value("x") == "'before'"
    assert kernel.ok("%reactor jobs").error is None


@pytest.mark.parametrize("waits", ["", "--wait "])
@pytest.mark.parametrize("line", ["", "-g", "-t"])
@pytest.mark.parametrize(
    "start", ["a = 1", "await deferLater(reactor, 0.001)", "yield deferLater(reactor, 0.001)"]
)
def test_a_failure_has_the_lines_of_the_cell(
    kernel: Kernel, start: str, line: str, waits: str
) -> None:
    """Under its name, with the user's frames only, whoever waits for it."""
    if line == "-t":
        start = "a = 1"
    one = kernel.ok("def fail():\n    return 1 / 0")
    cell = f"%%run_in_reactor {waits}{line} x\n{start}\n\nfail()\n"
    two = fail(kernel, cell)
    shown = two if waits else fail(kernel, "x.wait(5)")
    assert shown.error == "ZeroDivisionError"
    assert heads(shown)[-2:] == [
        f"Cell In[{number_of(two)}], line 4",
        f"Cell In[{number_of(one)}], line 2, in fail()",
    ]
    assert all(head.endswith(", line 1") for head in heads(shown)[:-2])
    assert len(heads(shown)) <= 3


def test_nothing_at_all_is_a_cell(kernel: Kernel) -> None:
    """An empty cell, and one of comments only, give a result of None."""
    for body in ("", "\n", "\n# only a comment"):
        assert kernel.value(f"%%run_in_reactor -w{body}") is None
        kernel.ok(f"%%run_in_reactor x{body}")
        assert kernel.value("x.wait(5) is None") == "True"


@pytest.mark.parametrize("above", ["# comment", "x = 1"])
def test_not_in_the_first_line(kernel: Kernel, above: str) -> None:
    """With anything above it, it is no magic: IPython's error says so, and a line what to do."""
    for body in ("1", "await f()"):
        cell = kernel.run(f"{above}\n%%run_in_reactor job --wait\n{body}")
        said = f"UsageError: {NOT_FIRST}"
        assert plain(cell.printed("stderr")).strip() == said


def test_ipythons_language_in_a_cell(kernel: Kernel) -> None:
    """`%magic`, `!shell` and `x = !shell`; what they print lands in the cell."""
    ran = kernel.ok(
        "%%run_in_reactor -w\n"
        "word = 'hi'\n"
        "lines = !echo {word}\n"
        "!echo shown $word\n"
        "%env SHOWN_BY_A_MAGIC=1\n"
        "await asyncio.sleep(0.001)\n"
        "lines[0]"
    )
    assert ran.value == "'hi'"
    assert "shown hi" in ran.printed()
    assert "SHOWN_BY_A_MAGIC" in ran.printed()


def test_a_script_is_a_script(kernel: Kernel) -> None:
    """With `--global`: pickling, `"__main__.X"`, forward references, star imports, futures."""
    kernel.ok(
        "%%run_in_reactor --wait --global\n"
        "from __future__ import annotations\n"
        "import pickle\n"
        "from os.path import *\n"
        "from twisted.python.reflect import namedAny\n"
        "def make(): return Pipeline()\n"
        "class Pipeline:\n"
        "    other: Pipeline\n"
        "    def __eq__(self, other): return type(self) is type(other)\n"
        "copied = pickle.loads(pickle.dumps(make()))\n"
        "found = namedAny('__main__.Pipeline')\n"
        "await asyncio.sleep(0)"
    )
    assert kernel.value("copied == Pipeline(), found is Pipeline, basename('a/b')") == (
        "(True, True, 'b')"
    )
    # Each cell has its own futures in IPython's compiler too: put them off again.
    kernel.ok(
        "import __future__\nget_ipython().compile.flags &= ~__future__.annotations.compiler_flag"
    )


def test_the_namespace_gains_the_name_only(kernel: Kernel) -> None:
    """No helper in the namespace or the builtins, whatever drives the cell."""
    kernel.ok(
        "import builtins\n"
        "def names(): return {n for n in [*globals(), *vars(builtins)]\n"
        "                     if not n.strip('_i').isdigit() and n.strip('_i')}\n"
        "before = after = more = None\n"
        "before = names()"
    )
    for line, body in (("", "a = 1"), ("-t", "a = 1"), ("", "a = await asyncio.sleep(0)")):
        kernel.ok(f"%%run_in_reactor -w {line} gained\n{body}\ndef f(): pass\nclass C: pass")
        kernel.ok("after = names()")
        assert kernel.value("after - before") == "{'gained'}"
    kernel.ok("del gained")


# ---- the result


def test_a_result_is_shown_as_text_and_html(kernel: Kernel) -> None:
    """Without a name it is the cell's result, and `_`, `__` and `Out` hold it."""
    kernel.ok("gate = Deferred()")
    cell = kernel.ok("%%run_in_reactor\nawait gate")
    number = number_of(cell)
    data = cell.data("display_data")
    assert re.fullmatch(
        rf"<EventualResult of cell {number}: pending since \d\d:\d\d:\d\d>", data["text/plain"]
    )
    assert f"of cell {number}: pending since" in data["text/html"]
    assert kernel.value(f"_ is Out[{number}]") == "True"
    kernel.ok(f"reactor.callFromThread(gate.callback, '<b>'); Out[{number}].wait(5)")
    shown = kernel.ok(f"Out[{number}]").data("execute_result")
    assert shown["text/plain"].endswith(", '<b>'>")
    assert "&lt;b&gt;" in shown["text/html"]
    assert "<b>'" not in shown["text/html"]
    assert kernel.value("1 + 1") == "2"
    assert kernel.value("_ + _") == "4"


def test_a_value_shows_its_own_html(kernel: Kernel) -> None:
    """What a value shows of itself stands in the result, unescaped."""
    kernel.ok("class Rich:\n    def _repr_html_(self): return '<hr>'")
    kernel.ok("%%run_in_reactor x\nRich()")
    kernel.ok("x.wait(5);")
    assert "<hr>" in kernel.ok("x").data("execute_result")["text/html"]


def test_a_result_is_awaited_again_and_again(kernel: Kernel) -> None:
    """In several cells, and beside anything else."""
    kernel.ok("%%run_in_reactor x\nawait asyncio.sleep(0.01, 20)")
    assert kernel.value("await x + 1") == "21"
    together = "asyncio.gather(asyncio.sleep(0, 1), deferLater(reactor, 0, lambda: 2))"
    assert kernel.value(f"[*await {together}, await x, await x]") == "[1, 2, 20, 20]"


# ---- servers

SERVE = """%%run_in_reactor --replace port
class Page(Resource):
    isLeaf = True
    def render_GET(self, request):
        return b"{word}"
return reactor.listenTCP({port}, Site(Page()), interface="127.0.0.1")
"""


def test_a_server_on_a_fixed_port_is_run_again_and_again(kernel: Kernel) -> None:
    """The next request, through a pool that keeps connections open, is answered by the new code."""
    kernel.ok(SERVE.format(word="first", port=0))
    number = kernel.value("port.wait(5).getHost().port")
    ask = f"await treq.content(await treq.get('http://127.0.0.1:{number}/', pool=pool))"
    assert kernel.value(ask) == "b'first'"
    for word in ("second", "third", "fourth"):
        kernel.ok(SERVE.format(word=word, port=number))
        assert kernel.value(ask) == f"b'{word}'"
    kernel.ok("%%run_in_reactor -w -r port\n0;")
    kernel.ok("await pool.closeCachedConnections()")


def test_what_is_left_is_said_in_the_cell(kernel: Kernel) -> None:
    """One line for each thing that cannot be stopped, under the cell that replaced it."""
    kernel.ok("x = [1, None]")
    ran = kernel.ok("%%run_in_reactor --replace x\n2")
    assert ran.printed() == (
        "x held int 1, which --replace does not know how to stop: it was left\n"
    )


def test_a_pooled_connection_keeps_no_result_alive(kernel: Kernel) -> None:
    """The context of the cell that opened it lives on; its value goes with its name."""
    kernel.ok(SERVE.format(word="page", port=0))
    kernel.ok("class Big(bytearray): pass")
    kernel.ok(
        "%%run_in_reactor x\n"
        "number = (await port).getHost().port\n"
        "await treq.content(await treq.get(f'http://127.0.0.1:{number}/', pool=pool))\n"
        "return Big(1_000_000);"
    )
    kernel.ok("big = weakref.ref(x.wait(5))")
    kernel.ok("del x")
    assert kernel.value("len([c for c in pool._connections.values() if c])") == "1"
    assert kernel.value("gc.collect(); big() is None") == "True"
    kernel.ok("await pool.closeCachedConnections()")
    kernel.ok("%%run_in_reactor -w -r port\n0;")


# ---- %reactor


def test_the_reactor_is_shown_as_text_and_html(kernel: Kernel) -> None:
    """A table for each kind of thing, with cells by their numbers."""
    cell = kernel.ok("%%run_in_reactor nap\nasync def doze():\n    await Deferred()\nawait doze()")
    kernel.ok("await asyncio.sleep(0)")
    data = kernel.ok("%reactor").data("display_data")
    number = number_of(cell)
    row = (
        rf"  \d+ +nap +{number} +async def doze\(\): +pending +\S+ \S+ +Cell In\[{number}\], line 3"
    )
    assert re.search(row, data["text/plain"]), data["text/plain"]
    assert f">Cell In[{number}], line 3</td>" in data["text/html"]
    assert "<script" not in data["text/html"]
    assert "twisted.internet.asyncioreactor.AsyncioSelectorReactor" in data["text/plain"]
    kernel.ok("%reactor cancel nap")
    assert fail(kernel, "await nap").error == "CancelledError"


def test_a_stuck_reactor_is_reported_within_a_second(kernel: Kernel) -> None:
    """A loop of Python holds it for three seconds: its lines come first."""
    kernel.ok("began = threading.Event()\ngate = threading.Event()")
    cell = kernel.ok(
        "%%run_in_reactor stuck\nimport time\nend = time.time() + 3\n"
        "while time.time() < end and not gate.is_set():\n    began.set()"
    )
    kernel.ok("began.wait(5);")
    asked = monotonic()
    shown = kernel.ok("%reactor")
    taken = monotonic() - asked
    kernel.ok("gate.set()")
    assert taken < 1
    text = shown.data("display_data")["text/plain"]
    assert "stuck: no answer within 500 ms" in text
    where = rf"runs job \d+ \(stuck\) for cell {number_of(cell)}; it is at\n"
    stack = re.split(where, text)[1].splitlines()
    assert re.match(rf"  Cell In\[{number_of(cell)}\], line [45] ", stack[1])
    kernel.ok("stuck.wait(5)")


def test_waiting_for_a_job_is_an_awaiting_cell(kernel: Kernel) -> None:
    """It gives the job's result, in time or not at all; what is no job is one line of error."""
    kernel.ok("gate = Deferred()")
    kernel.ok("%%run_in_reactor x\nawait gate")
    late = fail(kernel, "%reactor wait x 0.02")
    assert late.error == "TimeoutError"
    assert "is still pending after 0.02 s, and goes on" in late.traceback
    assert all(head.startswith("Cell In[") for head in heads(late))
    kernel.ok("reactor.callFromThread(reactor.callLater, 0.05, gate.callback, 42)")
    assert kernel.value("result = %reactor wait x 20\nresult is x, await result") == "(True, 42)"
    bad = fail(kernel, "%reactor wait nobody")
    assert bad.reply is not None
    assert bad.reply["ename"] == "UsageError"
    assert bad.printed("stderr").startswith("UsageError: there is no job 'nobody'; there are: job ")


def test_tab_completes_options_jobs_and_subcommands(kernel: Kernel) -> None:
    """As a front end asks: for the whole cell, with the cursor in its first line."""
    kernel.ok("%%run_in_reactor nap\nawait Deferred()")
    assert matches(kernel, "%%run_in_reactor x --w", "\n1 + 1") == ["--wait"]
    assert matches(kernel, "%reactor ca") == ["cancel"]
    assert matches(kernel, "x = 1\n%reactor wait ") == ["nap"]
    assert matches(kernel, "%twisted_config show a") == ["autoawait"]
    kernel.ok("%reactor cancel nap")


def matches(kernel: Kernel, before: str, after: str = "") -> list[str]:
    """What Tab offers between the two texts."""
    reply = kernel.client.complete(before + after, len(before), reply=True, timeout=SECONDS)
    found: list[str] = reply["content"]["matches"]
    return found


def test_the_manual_is_shown(kernel: Kernel) -> None:
    """`%%run_in_reactor?` names the magic as it is typed."""
    ran = kernel.ok("%%run_in_reactor?")
    assert ran.reply is not None
    [page] = ran.reply["payload"]
    text = page["data"]["text/plain"]
    assert "%%run_in_reactor [-w] [-r] [-t] [-p] [-g] [name]" in text
    assert "Run the cell in the reactor thread, in the background." in text


def test_unloading_lists_pending_jobs(kernel: Kernel) -> None:
    """One line each; they go on, and their results are there after a reload."""
    kernel.ok("gate = Deferred()")
    cell = kernel.ok("%%run_in_reactor nap\nawait gate")
    said = kernel.ok("%unload_ext twisted_ipython").printed()
    assert re.fullmatch(
        rf"job \d+ \(nap\) of cell {number_of(cell)} goes on in the reactor thread;"
        r" pending for \S+ m?s\n",
        said,
    )
    kernel.ok("reactor.callFromThread(gate.callback, 'late')")
    assert kernel.value("nap.wait(5)") == "'late'"
    kernel.ok("%load_ext twisted_ipython\n%autoawait twisted")
    assert " nap " in kernel.ok("%reactor jobs").data("display_data")["text/plain"]
    assert kernel.ok("%reload_ext twisted_ipython").printed() == ""
    kernel.ok("%autoawait twisted")
    assert " nap " in kernel.ok("%reactor jobs").data("display_data")["text/plain"]
    assert kernel.value("await nap") == "'late'"
