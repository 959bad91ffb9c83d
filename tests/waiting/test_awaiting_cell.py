"""An awaiting cell, in process: names, display, wrong places, limits, other shells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from awaiting_cells import SETUP
from shells import Shell


@pytest.fixture(scope="module")
def plain() -> Iterator[Shell]:
    """A shell that awaits as IPython does by itself."""
    with Shell(load=False) as session:
        session.ok("1")  # the other shell's first cell loads the extension
        session.ok(SETUP)
        yield session


# ---- what a cell leaves behind


def test_names_stay(shell: Shell) -> None:
    """Names that an awaiting cell assigns stay in the namespace."""
    shell.ok("first = await later(1)\nsecond: int = await later(2)\nimport json as imported")
    assert shell.value("first, second, imported.__name__") == "(1, 2, 'json')"


def test_results_are_kept(shell: Shell) -> None:
    """`_`, `__`, `Out` and the execution count are right after awaiting cells."""
    before = shell.run("await later('older')")
    assert before.out == f"Out[{before.count}]: 'older'\n"
    shell.ok("await later('newer')")
    assert shell.value("_, __") == "('newer', 'older')"
    assert shell.value(f"Out[{before.count}], In[{before.count}]") == (
        "('older', \"await later('older')\")"
    )
    assert shell.run("await later()").count == int(str(before.count)) + 4


CELLS = [
    "await one()",
    "await one();",
    "x = await one()",
    "x = await one();",
    "x: int = await one()",
    "x = y = await one()",
    "x = 1\nx += await one()",
    "x, z = 1, await one()",
    "1\nawait one()\n2",
    "'a'\nx = await one()\n'b'",
    "x = await one()\nx\nx",
    "for i in (3, 4):\n    i\n    await one()",
    "async for i in two():\n    i",
    "async with Inside() as inside:\n    5\n    print(6)",
    "[i async for i in two()]",
    "[await one() for _ in range(2)]",
    "{await one(): 2}",
    "None\nawait asyncio.sleep(0)",
    "if await one():\n    7\nelse:\n    8",
    "try:\n    await one()\n    8\nfinally:\n    9",
    "while await one():\n    1\n    break",
    "def f():\n    10\n    return await_\nawait_ = await one()\nf()",
    "print(await one(), end='')",
    "print(await one(), file=sys.stderr)",
    "await one()\nraise ValueError('raised')",
    "await one()\nraise KeyboardInterrupt",
    "await one()\nraise asyncio.CancelledError",
    "await one()\nsys.exit(3)",
    "await one()\nreturn 5",
    "x = await one()\nx\nyield 5\nx = 5",
    "del x\nawait one()\nx",
    "await one()\n1 +",
    "await one(), (yield)",
    "await one()\n%unknown",
    "await one()\n%who_ls complex\n!echo {1 + 1}",
    "from __future__ import annotations\nawait one()",
    "await one()\nassert False, 'assertion'",
    "# a comment\n\nawait one()  # and another",
    "await (one()\n)",
    "x = await asyncio.gather(one(), one())\nx",
    "await 5",
    "await one",
]


@pytest.mark.parametrize("mode", ["last_expr", "all", "last", "none", "last_expr_or_assign"])
def test_as_ipython_does(shell: Shell, plain: Shell, mode: str) -> None:
    """A cell shows and raises what it shows and raises in IPython's own loop, in each mode."""
    for session in (shell, plain):
        session.run(f"get_ipython().ast_node_interactivity = {mode!r}")
    try:
        for code in CELLS:
            ours, theirs = shell.run(code), plain.run(code)
            numbers = str(theirs.count), str(ours.count)
            assert ours.error == theirs.error, code
            assert same(ours.out) == same(theirs.out.replace(*numbers)), code
            assert same(ours.err) == same(theirs.err), code
    finally:
        for session in (shell, plain):
            session.run("get_ipython().ast_node_interactivity = 'last_expr'")


def same(shown: str) -> str:
    """What is shown, without addresses and where in a file IPython warned."""
    return re.sub(r"0x[0-9a-f]+|\S+\.py:\d+", "...", shown)


def test_unstored(shell: Shell) -> None:
    """With `store_history=False` the count stays, and a silent cell shows no result."""
    count = int(str(shell.run("'counted'").count))
    assert "'shown'" in shell.ok("await later('shown')", store_history=False)
    assert shell.ok("silent = await later('silent')\nsilent", silent=True) == ""
    assert shell.run("silent").out == f"Out[{count + 1}]: 'silent'\n"


def test_namespace_is_clean(shell: Shell) -> None:
    """Awaiting cells put nothing of ours into the namespace."""
    shell.ok("names = set(globals())")
    shell.ok("for i in [1]:\n    !true\n    await later()\ndel i")
    left = shell.value("sorted(n for n in set(globals()) - names if not n.startswith('_i'))")
    assert left == "['names']"


# ---- who runs where

RECORD = """
import ast
ran = {{}}

def record(name):
    ran.setdefault(name, []).append(here())

def recorder(name, original=None):
    def call(*args, **options):
        record(name)
        return original(*args, **options) if original else None
    return call

ip = get_ipython()
for event in ("pre_execute", "pre_run_cell", "post_execute", "post_run_cell"):
    ip.events.register(event, recorder(event))

class Transformer(ast.NodeTransformer):
    def visit_Module(self, node):
        record("compile")
        return node

class Shown:
    def __repr__(self):
        record("repr")
        return "shown"

class Odd(Exception): pass

ip.ast_transformers.append(Transformer())
ip.input_transformers_post.append(recorder("input", lambda lines: lines))
ip.register_magic_function(recorder("line magic"), "line", "recorded")
ip.register_magic_function(recorder("cell magic"), "cell", "recorded")
ip.display_formatter.formatters["text/html"].for_type(Shown, recorder("formatter"))
ip.set_custom_exc((Odd,), recorder("exception"))
for name in ("system", "getoutput", "enable_gui", "enable_matplotlib"):
    setattr(ip, name, recorder(name, lambda *_, **__: ("", "")))
for name in ("store_inputs", "store_output"):
    setattr(ip.history_manager, name, recorder(name, getattr(ip.history_manager, name)))
from pathlib import Path
Path({path!r}).write_text("record('file')\\n%recorded\\n")
""".strip()

USED = """
%recorded
!true
x = !true
%gui fake
%matplotlib fake
%run {path}
for i in (1, 2):
    if True:
        try:
            with open("/dev/null"):
                %recorded
        finally:
            !true
async for i in two():
    %recorded
async with Inside():
    x = !true
record("statement")
await later()
record("statement")
Shown()
""".strip()


def test_who_runs_where(tmp_path: Path) -> None:
    """Statements run in the reactor thread; hooks and IPython's language in the main one."""
    path = str(tmp_path / "file.ipy")
    with Shell() as shell:
        shell.ok(SETUP)
        shell.ok(RECORD.format(path=path))
        shell.ok("ran.clear()", store_history=False)
        shell.run(USED.format(path=path))
        shell.run("await later()\nraise Odd")
        shell.run("from collections import Counter")
        counts = shell.value("{name: dict(Counter(threads)) for name, threads in ran.items()}")
        ran: dict[str, dict[str, int]] = eval(counts)
    assert ran.pop("statement") == {"CrochetReactor": 2}
    assert ran.pop("line magic") == {"MainThread": 6}
    assert ran.pop("system") == {"MainThread": 3}
    assert ran.pop("getoutput") == {"MainThread": 2}
    assert set(ran) == {
        *("pre_execute", "pre_run_cell", "post_execute", "post_run_cell"),
        *("compile", "input", "store_inputs", "store_output", "repr", "formatter"),
        *("enable_gui", "enable_matplotlib", "file", "exception"),
    }
    for name, threads in ran.items():
        assert set(threads) == {"MainThread"}, name


def test_commands_do_not_stall(shell: Shell) -> None:
    """The reactor turns while an awaiting cell runs `!sleep`."""
    shell.ok("ticks = []\nticking = task.LoopingCall(lambda: ticks.append(1))")
    code = "ticking.start(0.01)\nticks.clear()\n!sleep 0.5\nticked = len(ticks)\nticking.stop()"
    shell.ok(f"await later()\n{code}")
    assert int(shell.value("ticked")) > 10


@pytest.mark.parametrize("name", ["value", "self", "cell", "source", "caller", "function", "code"])
def test_expansion(shell: Shell, name: str) -> None:
    """`{name}` in a command or a magic is the user's, whatever our own frames call theirs."""
    code = f"{name} = 'mine'\noutput = !echo {{{name}}} ${name}\nawait later(output)"
    assert shell.value(code) == "['mine mine']"
    assert shell.value(f"del {name}\nx = !echo {{{name}}}\nawait later(x)") == f"['{{{name}}}']"


def test_magics_see_namespace(shell: Shell) -> None:
    """A magic that evaluates code in its caller's scope assigns in the namespace."""
    shell.ok("await later()\n%time timed = 5\nx = %time 6")
    assert shell.value("timed") == "5"


# ---- wrong places


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("%run_job\nresult.wait(5)", "`await` the result"),
        ("%run_job\nresult.wait()", "`await` the result"),
        ("threads.blockingCallFromThread(reactor, later)", "`await` its Deferred"),
    ],
)
def test_blocking_calls_are_refused(shell: Shell, code: str, says: str) -> None:
    """What would have the reactor thread wait for itself fails at once and says to await."""
    shell.ok("import crochet\nrun_job = crochet.run_in_reactor(later)\nresult = run_job(5)")
    cell = shell.run("await later()\n" + code.removeprefix("%run_job\n"))
    assert cell.error == "RuntimeError"
    assert says in str(cell.message)
    assert shell.value("await later(1)") == "1"


def test_nested_run_cell(shell: Shell) -> None:
    """`run_cell` of an awaiting cell, called by a statement of one, is an error at once."""
    shell.ok("await later()\nnested = get_ipython().run_cell('await later(5)')\n1")
    assert "await in_main_thread(get_ipython().run_cell, code)" in shell.value(
        "str(nested.error_before_exec or nested.error_in_exec)"
    )
    code = "(await in_main_thread(get_ipython().run_cell, 'await later(5)')).result"
    assert shell.value(code) == "5"


def test_nested_run_cell_of_magic(shell: Shell, tmp_path: Path) -> None:
    """Awaits in what a magic runs work, in an awaiting cell and in a plain one."""
    path = tmp_path / "awaiting.ipy"
    path.write_text("from_file = await later('file')\n")
    shell.ok("ip = get_ipython()")
    shell.ok("ip.register_magic_function(lambda line: ip.run_cell(line), 'line', 'nest')")
    for before in ("", "await later()\n"):
        shell.ok(f"{before}%nest from_magic = await later('magic')\n%run {path}")
        assert shell.value("from_magic, from_file") == "('magic', 'file')"
        shell.ok("del from_magic, from_file")
    shell.ok("%%capture captured\nprint(await later('captured'))")
    assert shell.value("captured.stdout") == "'captured\\n'"
    shell.ok("await later()\nget_ipython().run_line_magic('nest', 'typed = await later(7)')")
    assert shell.value("typed") == "7"


def test_other_thread(shell: Shell) -> None:
    """`run_cell` of an awaiting cell works in another thread."""
    shell.ok(
        "thread = threading.Thread("
        "target=lambda: ip.run_cell('other = (await later(5), here())'))\n"
        "ip = get_ipython()\nthread.start()\nthread.join(10)"
    )
    assert shell.value("other") == "(5, 'CrochetReactor')"


def test_second_shell(shell: Shell) -> None:
    """A second shell of the process is untouched, and can load the extension too."""
    shell.ok(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "second = InteractiveShell()\nsecond.user_ns['later'] = later"
    )
    assert shell.value("'twisted' in second.loop_runner_map") == "False"
    shell.ok("second.run_line_magic('load_ext', 'twisted_ipython')")
    off = shell.run("off = second.run_cell('await later(5)').error_in_exec")
    assert "got bad yield: <Deferred" in off.out
    shell.ok("second.run_cell('%autoawait twisted')")
    shell.ok("answer = second.run_cell('await later(5)').result")
    assert shell.value("answer") == "5"
    shell.ok("second.run_line_magic('unload_ext', 'twisted_ipython')")
    assert shell.value("'twisted' in second.loop_runner_map, await later(1)") == "(False, 1)"


STOPPED = "The reactor was stopped"


def test_reactor_stopped() -> None:
    """When the real reactor stops, the cell that waits, and every later await, says what to do."""
    with Shell() as shell:
        shell.ok(SETUP)
        codes = [
            "later().addCallback(lambda _: type(reactor).stop(reactor))\nawait defer.Deferred()",
            "await later()",
            "await later()",
            "%run_nothing\nawait later()",
            "%reload_ext twisted_ipython\n%autoawait twisted\nawait later()",
        ]
        for code in codes:
            cell = shell.run(code.replace("%run_nothing", "%time"), seconds=10)
            assert cell.error == "RuntimeError", cell
            assert str(cell.message).startswith(STOPPED)
            assert "Restart" in str(cell.message)
        assert shell.value("1 + 1") == "2"


def test_exit_is_a_failure_of_the_cell(shell: Shell) -> None:
    """`sys.exit` in an awaiting cell is shown as in IPython, and the reactor lives on."""
    cell = shell.run("await later()\nsys.exit(3)")
    assert (cell.error, cell.message) == ("SystemExit", "3")
    assert shell.value("await later(5)") == "5"


# ---- switching


def test_words_of_autoawait() -> None:
    """`%autoawait` shows `twisted`; other words give IPython's own behaviour, at any time."""
    with Shell() as shell:
        shell.ok(SETUP)
        saying = "IPython autoawait is `{}`, and set to use `{}`\n"
        assert shell.ok("%autoawait") == saying.format("on", "twisted")
        shell.ok("%autoawait off")
        assert shell.ok("%autoawait") == saying.format("off", "twisted")
        assert shell.run("await later()").error == "SyntaxError"
        shell.ok("%autoawait on")
        assert shell.value("await later(5)") == "5"
        shell.ok("%autoawait asyncio")
        assert shell.ok("%autoawait") == saying.format("on", "asyncio")
        assert shell.value("await asyncio.sleep(0.01, here())") == "'MainThread'"
        assert shell.value("get_ipython().trio_runner is None") == "True"
        shell.ok("%autoawait twisted")
        assert shell.value("await later(here())") == "'CrochetReactor'"
        shell.ok("%autoawait trio")
        assert shell.ok("%autoawait").startswith("IPython autoawait is `on`")
        assert "trio" in shell.value("get_ipython().loop_runner")
        assert shell.run("%autoawait nonsense").error == "ModuleNotFoundError"
        shell.ok("%autoawait twisted\n1")
        assert shell.value("await later(here())") == "'CrochetReactor'"


def test_one_cell() -> None:
    """Loading, switching on and awaiting a pending Deferred work in one cell."""
    with Shell(load=False) as shell:
        code = (
            "%load_ext twisted_ipython\n"
            "%autoawait twisted\n"
            "from twisted.internet import reactor, task\n"
            "x = await task.deferLater(reactor, 0.05, lambda: 5)\n"
            "async def numbers():\n"
            "    yield await task.deferLater(reactor, 0.05, lambda: 6)\n"
            "async for n in numbers():\n"
            "    x += n\n"
            "!true\n"
            "await task.deferLater(reactor, 0.05, lambda: x)"
        )
        assert shell.value(code) == "11"


def test_one_cell_that_displays_all() -> None:
    """In that cell, too, every value is displayed that IPython is set to display."""
    with Shell(load=False) as shell:
        shell.ok("get_ipython().ast_node_interactivity = 'all'")
        shell.ok("async def two():\n    yield 1\n    yield 2")
        code = "%load_ext twisted_ipython\n%autoawait twisted\nasync for i in two():\n    i"
        assert shell.ok(code) == "Out[3]: 1\nOut[3]: 2\n"


# ---- settings and the time limit


def test_twisted_config(shell: Shell) -> None:
    """`%twisted_config` shows, sets and resets; `%config` sees the same."""
    assert shell.ok("%twisted_config timeout 2.5") == "timeout=2.5\n"
    assert shell.value("%config TwistedMagics.timeout") == "2.5"
    shell.ok("%config TwistedMagics.timeout = 3")
    assert shell.ok("%twisted_config show timeout") == "timeout=3\n"
    assert shell.ok("%twisted_config timeout INFINITY") == "timeout=INFINITY\n"
    assert shell.ok("%twisted_config autoawait True") == "autoawait=True\n"
    assert "timeout=INFINITY\n" in shell.ok("%twisted_config reset")
    assert "autoawait=False\n" in shell.ok("%twisted_config show")
    assert "TwistedMagics.timeout" in shell.ok("%config TwistedMagics")


@pytest.mark.parametrize(
    "line",
    ["timeout", "show nothing", "nothing 5", "timeout never", "timeout -1", "timeout 0",
     "autoawait perhaps", "timeout 1 2", "show timeout 5"],
)  # fmt: skip
def test_twisted_config_refuses(shell: Shell, line: str) -> None:
    """A bad name or value is a UsageError of one line."""
    cell = shell.run(f"%twisted_config {line}")
    assert cell.error == "UsageError"
    assert len((cell.out + cell.err).strip().splitlines()) == 1


def test_timeout(shell: Shell) -> None:
    """At the time limit the cell ends as a TimeoutError that names it and says how to change it."""
    shell.ok("%twisted_config timeout 0.2")
    try:
        cell = shell.run("before = 5\nawait defer.Deferred()\nafter = 5")
    finally:
        shell.ok("%twisted_config timeout INFINITY")
    assert cell.error == "TimeoutError"
    assert "more than 0.2 seconds" in str(cell.message)
    assert "`%twisted_config timeout SECONDS`" in str(cell.message)
    assert "----> 2 await defer.Deferred()" in cell.out
    assert shell.value("before, 'after' in globals()") == "(5, False)"


CHILDREN = """
cancelled = []

async def child(name):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled.append(name)
        raise

def pending(name):
    return defer.Deferred(lambda _: cancelled.append(name))

async def group():
    async with asyncio.TaskGroup() as group:
        group.create_task(child("group"))
        group.create_task(child("group"))

async def nested():
    await pending("deferred")

def everything():
    driven = defer.ensureDeferred(nested()).asFuture(asyncio.get_running_loop())
    return asyncio.gather(group(), child("gathered"), nested(), driven)
"""


def test_timeout_cancels_everything(shell: Shell) -> None:
    """The time limit cancels children of groups and gather, and runs cancellers of Deferreds."""
    shell.ok(CHILDREN + "\n%twisted_config timeout 0.2")
    try:
        assert shell.run("await everything()").error == "TimeoutError"
    finally:
        shell.ok("%twisted_config timeout INFINITY")
    names = ["deferred", "deferred", "gathered", "group", "group"]
    assert shell.value("await later()\nsorted(cancelled)") == str(names)


def test_timeout_is_not_swallowed(shell: Shell) -> None:
    """Work that swallows the cancellation is given up a second later; no statement follows it."""
    shell.ok(
        "async def stubborn():\n"
        "    while not gate.is_set():\n"
        "        try: await gate.wait()\n"
        "        except asyncio.CancelledError: pass\n"
        "gate = asyncio.Event()\n%twisted_config timeout 0.2"
    )
    try:
        cell = shell.run("await stubborn()\nfollowed = True", seconds=5)
    finally:
        shell.ok("%twisted_config timeout INFINITY")
    assert cell.error == "TimeoutError"
    assert "does not let itself be cancelled" in cell.out
    shell.ok("gate.set()\nawait later()")
    assert shell.value("'followed' in globals()") == "False"
