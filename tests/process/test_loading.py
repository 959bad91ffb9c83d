"""Loading, loading again, unloading: `load_ipython_extension` and `unload_ipython_extension`."""

from __future__ import annotations

import pytest
from kernels import Kernel
from shells import Shell, run_python

# What a shell consists of.
SNAPSHOT = """
class Snapshot:
    # What every cell changes.
    CHANGING = {"_last_input_line", "_last_traceback", "last_execution_result",
                "last_execution_succeeded", "_trait_values", "execution_count",
                "sys_excepthook", "parent_header", "_parent_header_global"}

    def __init__(self, shell):
        manager = shell.magics_manager
        find = getattr(manager, "find", lambda kind, name: manager.magics[kind][name])
        self.parts = {
            **{(kind, name): find(kind, name)
               for kind in manager.magics for name in list(manager.magics[kind])
               # Loading these takes what is not installed.
               if name not in ("cython", "R")},
            **{("registry", name): one for name, one in dict(manager.registry).items()},
            **{("runner", name): one for name, one in shell.loop_runner_map.items()},
            **{("runner of class", name): one
               for name, one in type(shell).loop_runner_map.items()},
            "loop_runner": shell.loop_runner,
            "autoawait": shell.autoawait,
            "configurables": list(shell.configurables),
            **{("event", name): list(calls) for name, calls in shell.events.callbacks.items()},
            **{("formatter", name, table): dict(getattr(one, table))
               for name, one in {
                   **shell.display_formatter.formatters,
                   "display": shell.display_formatter.ipython_display_formatter,
                   "bundle": shell.display_formatter.mimebundle_formatter,
               }.items()
               for table in ("type_printers", "deferred_printers", "singleton_printers")},
            "matchers": list(shell.Completer.matchers),
            "custom_matchers": list(shell.Completer.custom_matchers),
            "custom_completers": repr(vars(shell.Completer.custom_completers)),
            "hooks": {name: hook for name, hook in shell.hooks.items()},
            "cleanup_transforms": list(shell.input_transformer_manager.cleanup_transforms),
            "line_transforms": list(shell.input_transformer_manager.line_transforms),
            "token_transformers": list(shell.input_transformer_manager.token_transformers),
            "post_transformers": list(shell.input_transformers_post),
            "ast_transformers": list(shell.ast_transformers),
            **{("attribute", name): value for name, value in vars(shell).items()
               if name not in self.CHANGING},
            **{("trait", name): getattr(shell, name) for name in shell.trait_names()
               if name not in self.CHANGING},
            **{("hook", name): getattr(__import__("sys"), name)
               for name in ("excepthook", "displayhook", "unraisablehook")},
            "showwarning": __import__("warnings").showwarning,
            "input": __import__("builtins").input,
            "getpass": __import__("getpass").getpass,
        }

    def differences(self, other):
        nothing = object()
        return sorted(
            str(name) for name in {*self.parts, *other.parts}
            if self.parts.get(name, nothing) != other.parts.get(name, nothing)
        )
"""

USE = [
    "%load_ext twisted_ipython\n%autoawait twisted",
    "from twisted.internet import defer, reactor, task\nimport asyncio, threading",
    "await task.deferLater(reactor, 0.01, lambda: None)\n!true\n%autoawait",
    "%autoawait asyncio",
    "%autoawait twisted",
    "%twisted_config timeout 7",
    "%%run_in_reactor result\nreturn 1",
    "1 / 0",
]


def printed(session: Shell | Kernel, code: str) -> str:
    """What a cell prints."""
    return session.ok(code) if isinstance(session, Shell) else session.ok(code).printed()


@pytest.mark.parametrize("kind", [Shell, Kernel])
@pytest.mark.parametrize("before", ["", "%autoawait off", "%autoawait trio"])
def test_unload_puts_shell_back(kind: type[Shell] | type[Kernel], before: str) -> None:
    """After use and unload the shell consists of what it consisted of before the load."""
    with kind(load=False) as session:
        printed(session, SNAPSHOT)
        printed(session, before)
        printed(session, "before = Snapshot(get_ipython())")
        for code in USE:
            session.run(code)
        loaded = printed(session, "print(before.differences(Snapshot(get_ipython())))")
        assert "TwistedMagics" in loaded
        assert "runner of class" not in loaded
        printed(session, "%unload_ext twisted_ipython")
        left = printed(session, "print(before.differences(Snapshot(get_ipython())))")
        assert left.strip() == "[]"


def test_loading_is_silent() -> None:
    """Loading prints nothing, once or twice."""
    with Shell(load=False) as shell:
        assert shell.ok("%load_ext twisted_ipython") == ""
        again = "import twisted_ipython\ntwisted_ipython.load_ipython_extension(get_ipython())"
        assert shell.ok(again) == ""


def test_loading_twice_is_harmless() -> None:
    """After a second load the extension works, and one unload takes all of it away."""
    with Shell(load=False) as shell:
        shell.ok(SNAPSHOT)
        shell.ok("import twisted_ipython as t\nbefore = Snapshot(get_ipython())")
        shell.ok("t.load_ipython_extension(get_ipython())\n" * 2)
        shell.ok("%autoawait twisted\n%twisted_config timeout 5")
        shell.ok("t.load_ipython_extension(get_ipython())")
        assert shell.ok("%twisted_config show timeout") == "timeout=5\n"
        assert shell.value("await t.in_main_thread(lambda: 5)") == "5"
        shell.ok("t.unload_ipython_extension(get_ipython())")
        assert shell.value("before.differences(Snapshot(get_ipython()))") == "[]"
        shell.ok("t.unload_ipython_extension(get_ipython())")


def test_later_changes_of_others_survive_unload() -> None:
    """What another extension sets after the load is its own, and stays after the unload."""
    with Shell() as shell:
        shell.ok(
            "ip = get_ipython()\n"
            "mine = ip.run_code\n"
            "async def run_code(*args, **options): return await mine(*args, **options)\n"
            "ip.run_code = run_code\n"
            "ip.register_magic_function(lambda line: 'my own', 'line', 'autoawait')\n"
            "ip.configurables.append(ip)"
        )
        shell.ok("%unload_ext twisted_ipython")
        assert shell.value("ip.run_code is run_code, ip.configurables[-1] is ip") == "(True, True)"
        assert shell.value("%autoawait") == "'my own'"


def test_unload_in_awaiting_cell() -> None:
    """An unload inside an awaiting cell takes effect after that cell."""
    with Shell() as shell:
        shell.ok("from twisted.internet import reactor, task\nimport threading")
        code = (
            "%unload_ext twisted_ipython\n"
            "await task.deferLater(reactor, 0.01, lambda: threading.current_thread().name)"
        )
        assert shell.value(code) == "'CrochetReactor'"
        assert shell.run("%twisted_config show").error == "UsageError"


@pytest.mark.parametrize("kind", [Shell, Kernel])
def test_reload_in_awaiting_cell(kind: type[Shell] | type[Kernel]) -> None:
    """`%reload_ext` works beside an await, in that cell and after it."""
    with kind() as session:
        printed(session, "from twisted.internet import reactor, task")
        code = "%reload_ext twisted_ipython\nawait task.deferLater(reactor, 0.01, lambda: 'after')"
        assert session.value(code) == "'after'"
        assert session.value("await task.deferLater(reactor, 0.01, lambda: 'later')") == "'later'"
        printed(session, "%autoawait asyncio")
        code = code.replace("\n", "\n%autoawait twisted\n")
        assert session.value(code) == "'after'"
        printed(session, "%unload_ext twisted_ipython")
        printed(session, "%load_ext twisted_ipython\n%autoawait twisted")
        assert session.value("await task.deferLater(reactor, 0.01, lambda: 'again')") == "'again'"


WORK = """
%%run_in_reactor {name}
import asyncio
from twisted.internet import defer, reactor, task
gate = defer.Deferred()
globals()["gates"].append(gate)

async def inner():
    await asyncio.sleep(0.01)
    return await task.deferLater(reactor, 0.01, lambda: "went on")

async def outer():
    await gate
    {code}

return await outer()
""".strip()


def test_work_goes_on_after_unload() -> None:
    """Jobs that are pending at unload go on, start tasks that await both worlds, and end."""
    with Shell() as shell:
        shell.ok("gates = []\nfrom twisted.internet import defer, reactor")
        shell.ok(WORK.format(name="job", code="return await asyncio.create_task(inner())"))
        shell.ok(WORK.format(name="driven", code="return await defer.ensureDeferred(inner())"))
        shell.ok("await __import__('asyncio').sleep(0)")
        shell.ok("%unload_ext twisted_ipython")
        assert shell.value("set(vars(reactor)) & {'callLater', 'callFromThread'}") == "set()"
        shell.ok("for gate in gates: reactor.callFromThread(gate.callback, None)")
        assert shell.value("job.wait(5), driven.wait(5)") == "('went on', 'went on')"
        shell.ok("%load_ext twisted_ipython\n%autoawait twisted")
        assert shell.value("await job") == "'went on'"


def test_unload_takes_everything_off_reactor() -> None:
    """The instances of the reactor and of crochet's registry have nothing of ours after it."""
    with Shell(load=False) as shell:
        shell.ok("import crochet, asyncio\nfrom twisted.internet import asyncioreactor")
        shell.ok("loop = asyncio.SelectorEventLoop()\nasyncioreactor.install(loop)\nreactor = None")
        # The pool is Twisted's, made at the first call for it.
        shell.ok("from twisted.internet import reactor\nreactor.getThreadPool()\ncrochet.setup()")
        shell.ok("own = {'_startedBefore', '_threadpoolStartupID'}")
        shell.ok("names = lambda: [set(vars(one)) - own for one in watched]")
        shell.ok("watched = [reactor, loop, crochet._main._registry]\nbefore = names()")
        shell.ok("%load_ext twisted_ipython")
        assert shell.value("before == names()") == "False"
        shell.ok("%unload_ext twisted_ipython")
        assert shell.value("before == names()") == "True"
        assert shell.value("loop.get_task_factory()") == ""


# Where the first call of a LoopingCall is made.
UNCARRIED = """
import threading
from twisted.internet import reactor, task
threads = []
task.LoopingCall(lambda: threads.append(threading.current_thread())).start(60)
threads == [threading.main_thread()]
"""


def test_settings_in_file_at_load(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`c.TwistedMagics` in a configuration file holds in a kernel from the load on."""
    profile = tmp_path_factory.mktemp("profile")
    values = {"timeout": 30, "autoawait": True, "share_reactor": False}
    lines = [f"c.TwistedMagics.{name} = {value}" for name, value in values.items()]
    (profile / "ipython_kernel_config.py").write_text("\n".join(["c = get_config()", *lines]))
    with Kernel(f"--profile-dir={profile}", load=False) as kernel:
        assert kernel.ok("%load_ext twisted_ipython").outputs[1:] == []
        shown = "autoawait=True\nshare_reactor=False\ntimeout=30\nupdates=auto\n"
        assert kernel.ok("%twisted_config show").printed() == shown
        assert kernel.value(UNCARRIED) == "True"
        assert kernel.ok("%autoawait").printed().endswith("set to use `twisted`\n")


EPOLL = """
import klein
from twisted.internet import defer, reactor, task, threads
import asyncio
""".strip()


@pytest.mark.parametrize("importing", ["klein", "twisted.conch.manhole"])
def test_reactor_without_asyncio(importing: str) -> None:
    """A reactor that was there gets one line: which it is, what will not work, what to do."""
    with Shell(load=False) as shell:
        shell.ok(EPOLL.replace("klein", importing))
        line = shell.ok("%load_ext twisted_ipython\n%autoawait twisted")
        assert line.count("\n") == 1
        for part in ("EPollReactor was installed", "asyncio objects cannot", "restart and load"):
            assert part in line
        assert shell.value("await task.deferLater(reactor, 0.01, lambda: 5)") == "5"
        for code in ("asyncio.sleep(0)", "asyncio.sleep(0.01)", "asyncio.Future()"):
            refused = shell.run(f"await {code}")
            assert refused.error == "RuntimeError"
            assert refused.out.count("asyncio objects cannot") == 1
        blocked = shell.run("threads.blockingCallFromThread(reactor, int)\nawait defer.succeed(1)")
        assert "`await` its Deferred" in str(blocked.message)
        assert shell.value("!echo {5}\nawait defer.succeed(1)") == "1"
        shell.ok("%twisted_config timeout 0.1")
        assert shell.run("await defer.gatherResults([defer.Deferred()])").error == "TimeoutError"
        shell.ok("%unload_ext twisted_ipython")
        assert shell.value("'callFromThread' in vars(reactor)") == "False"


def test_crochet_set_up_before() -> None:
    """A crochet that the user set up is used as it is."""
    with Shell(load=False) as shell:
        shell.ok("import crochet\ncrochet.setup()\nimport threading\nold = threading.enumerate()")
        shell.run("%load_ext twisted_ipython")
        shell.ok("%autoawait twisted\nfrom twisted.internet import reactor, task")
        code = "await task.deferLater(reactor, 0.01, threading.current_thread) in old"
        assert shell.value(code) == "True"


NO_SETUP = """
import threading
import crochet
from IPython.core.interactiveshell import InteractiveShell
from twisted.internet import asyncioreactor
asyncioreactor.install()
crochet.no_setup()
from twisted.internet import reactor, task
shell = InteractiveShell.instance(colors="NoColor")
shell.user_ns.update(globals())
shell.run_line_magic("load_ext", "twisted_ipython", 1) if {early} else None
own = threading.Thread(
    target=reactor.run, kwargs={{"installSignalHandlers": False}}, daemon=True
)
own.start()
shell.run_line_magic("load_ext", "twisted_ipython", 1)
shell.run_line_magic("autoawait", "twisted", 1)
result = shell.run_cell("await task.deferLater(reactor, 0.01, threading.current_thread)")
assert result.result is own, result
reactor.callFromThread(reactor.stop)
own.join()
"""


def test_crochet_without_setup() -> None:
    """After `crochet.no_setup` the program's own reactor thread is used."""
    run = run_python("-c", NO_SETUP.format(early=False))
    assert run.returncode == 0, run.stdout + run.stderr


def test_reactor_that_nobody_runs() -> None:
    """After `crochet.no_setup` a load before the reactor runs says so."""
    run = run_python("-c", NO_SETUP.format(early=True))
    assert "RuntimeError: The reactor is not running: crochet.no_setup() was called" in run.stderr
    assert "Start it, then load twisted_ipython" in run.stderr


def test_threads_are_daemons() -> None:
    """The reactor's thread does not hold the process at its end."""
    with Shell() as shell:
        code = "[t.daemon for t in __import__('threading').enumerate() if 'Reactor' in t.name]"
        assert shell.value(code) == "[True]"


@pytest.mark.parametrize(
    ("showtraceback", "error", "message"),
    [
        ("None", "TypeError", "'NoneType' object is not callable"),
        ("lambda self, *args, **kwargs: print('mine')", "AssertionError", "mine too"),
    ],
)
def test_what_is_set_on_the_class_later_is_used(
    showtraceback: str, error: str, message: str
) -> None:
    """As IPython's own tests have it (`test_set_show_tracebacks_none` and `_noop`)."""
    with Shell() as shell:
        cell = shell.run(
            "from IPython.core.interactiveshell import InteractiveShell\n"
            f"InteractiveShell.showtraceback = {showtraceback}\nassert False, 'mine too'"
        )
        assert (cell.error, cell.message) == (error, message)
        assert cell.out == ("" if showtraceback == "None" else "mine\n")
        assert shell.value("7") == "7"
