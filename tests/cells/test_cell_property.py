"""A cell does what the same statements do in a function, or in a script, written by hand."""

import contextlib
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twisted_ipython._cells.cell_function import Kind, rewrite
from twisted_ipython._cells.source import ends_quietly, parse

FILENAME = "Cell In[3]"
NAMES = ("a", "b", "c")
UNITS = ("    ", "\t", " ", "  \t")
ODD_LINES = (
    "",
    "    return 9",
    "\tif x:",
    "# no comment",
    "%%magic",
    "!ls $HOME",
    "{x} {} }{",
    "def f(:",
    "é ☃ ;",
    "return;",
    "'",
    '"',
)
PLAIN, AWAIT, YIELD = "step({})", "(await later({}))", "(yield {})"

bounded = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass
class Program:
    """Statements that can be rendered as a cell and as a function.

    A line is its indentation and its text; one without an indentation goes on with a string or an
    expression, and has to stay as it is. `last` is the expression at the end, if there is one.
    """

    draw: Callable[[st.SearchStrategy[Any]], Any]
    step: str = PLAIN
    lines: list[tuple[str | None, str]] = field(default_factory=list)
    last: str | None = None
    newline: str = "\n"
    counters: int = 0

    def pick(self, choices: Sequence[Any]) -> Any:
        """Let hypothesis choose."""
        return self.draw(st.sampled_from(choices))

    def text(self, base: str, last: str = "{}") -> str:
        """Render with `base` before each indentation and the last expression put into `last`."""
        lines = [text if indent is None else base + indent + text for indent, text in self.lines]
        if self.last is not None:
            lines.append(base + last.format(self.last))
        return self.newline.join(lines) + self.newline

    def expression(self, depth: int = 2, step: str = PLAIN) -> str:
        """Write an expression whose value is small, if it has one."""
        if depth == 0:
            return str(self.pick(["0", "1", "5", "'{}'", *NAMES, *NAMES]))
        form = self.pick(
            [
                "mix({}, {})",
                "1 + {}",
                "9 // {}",
                "short(f'{{{}!r}} {{{{}}}} ${}')",
                "(lambda x: mix(x, {}))({})",
                "[mix(i, {}) for i in (1, 2)][1]",
                "sum(mix(i, {}) for i in (1, 2))",
                "({} if {} else {})",
                "{{k: {} for k in 'k'}}['k']",
                "(c := {})",
                "few[{}]",
                "'''{{x}}''' and {}",
                step,
            ]
        )
        if form.startswith("short"):
            return str(form.format(self.pick(NAMES), self.pick(NAMES)))
        # Inside a scope of its own an await or a yield would be another matter.
        inner = PLAIN if "for" in form or "lambda" in form else step
        count = form.replace("{{", "").count("{}")
        return str(form.format(*(self.expression(depth - 1, inner) for _ in range(count))))

    def block(self, indent: str, depth: int, step: str, *, loop: bool, in_function: bool) -> None:
        """Write one to three statements at this indentation."""
        for _ in range(self.pick([1, 1, 2, 3])):
            self.statement(indent, depth, step, loop=loop, in_function=in_function)

    def statement(
        self, indent: str, depth: int, step: str, *, loop: bool, in_function: bool
    ) -> None:
        """Write one statement, compound as long as `depth` allows."""
        simple = [self.assign, self.assign, self.note, self.string, self.continued, self.remark]
        compound = [self.choice, self.loop, self.attempt, self.room, self.function, self.type]
        write = self.pick([*simple, *(compound if depth else [])])
        if write in simple:
            write(indent, step)
            if self.pick([False] * 5 + [True]):
                self.leave(indent, step, loop=loop, in_function=in_function)
        else:
            write(indent, depth - 1, step, loop, in_function)

    def line(self, indent: str | None, text: str) -> None:
        """Write one line."""
        self.lines.append((indent, text))

    # Simple statements

    def assign(self, indent: str, step: str) -> None:
        """Write an assignment of some kind."""
        form = self.pick(["{} = {}", "{} = {};", "{}: int = {}", "{} = _ = {}", "{} += 1; {}"])
        self.line(indent, form.format(self.pick(NAMES), self.expression(step=step)))

    def note(self, indent: str, step: str) -> None:
        """Write what leaves a trace, or a deletion."""
        forms = ["log.append({})"] * 3 + ["log.append({})  # ; '''", "{}"] * 2 + ["del a; {}"]
        self.line(indent, self.pick(forms).format(self.expression(step=step)))

    def string(self, indent: str, step: str) -> None:
        """Write a string over several lines, none of them indented."""
        quotes = self.pick(["'''", '"""', "r'''", 'f"""'])
        odd = st.one_of(st.sampled_from(ODD_LINES), st.text("ab {}#\t$%;é", max_size=8))
        middle = [line for line in self.draw(st.lists(odd, max_size=3)) if quotes[-1] not in line]
        if quotes.startswith("f"):
            middle = [line.replace("{", "{{").replace("}", "}}") for line in middle] + ["{a}"]
        self.line(indent, f"{self.pick(NAMES)} = short({quotes}")
        for text in middle:
            self.line(None, text)
        self.line(None, f"{quotes[-3:]}, {self.expression(step=step)})")

    def continued(self, indent: str, step: str) -> None:
        """Write an expression over several lines."""
        self.line(indent, "c = mix( # (")
        self.line(None, f"{self.expression(step=step)},")
        self.line(None, "")
        self.line("\t", f"{self.expression(step=step)}) + \\")
        self.line(None, "        1")

    def remark(self, indent: str, _step: str) -> None:
        """Write comments and empty lines, and something for a block to hold."""
        self.line(None, self.pick(["", "# at the margin", "\t\t# deep '''", "\x0c"]))
        self.line(indent, "pass")

    def leave(self, indent: str, step: str, *, loop: bool, in_function: bool) -> None:
        """Write a statement that goes elsewhere."""
        ways = ["raise ValueError({})", "assert {}, 'no'"]
        ways += ["if {}: break", "if {}: continue"] if loop else []
        ways += ["return {}"] if in_function else []
        self.line(indent, self.pick(ways).format(self.expression(1, step)))

    # Compound statements

    def choice(self, indent: str, depth: int, step: str, loop: bool, in_function: bool) -> None:
        """Write an if, or a match."""
        inner = indent + self.pick(UNITS)
        heads = self.pick([["if {}:", "elif {}:", "else:"], ["if {}:"], ["if {}:", "else:"]])
        for head in heads:
            self.line(indent, head.format(self.expression(1, step)))
            self.block(inner, depth, step, loop=loop, in_function=in_function)

    def loop(self, indent: str, depth: int, step: str, _loop: bool, in_function: bool) -> None:
        """Write a loop that ends."""
        inner = indent + self.pick(UNITS)
        if self.pick([True, False]):
            self.line(indent, f"for {self.pick(NAMES)} in ({self.expression(1, step)}, 2):")
        else:
            self.counters += 1
            self.line(indent, f"n{self.counters} = 2")
            self.line(indent, f"while n{self.counters}:")
            self.line(inner, f"n{self.counters} -= 1")
        self.block(inner, depth, step, loop=True, in_function=in_function)

    def attempt(self, indent: str, depth: int, step: str, loop: bool, in_function: bool) -> None:
        """Write a try of some kind."""
        inner = indent + self.pick(UNITS)
        excepting = ["try:", "except (TypeError, ZeroDivisionError) as e:"]
        heads = self.pick([excepting, ["try:", "finally:"], [*excepting, "else:", "finally:"]])
        for head in heads:
            # To leave a `finally` early is frowned upon by newer Pythons.
            free = head != "finally:"
            self.line(indent, head)
            self.block(inner, depth, step, loop=loop and free, in_function=in_function and free)

    def room(self, indent: str, depth: int, step: str, loop: bool, in_function: bool) -> None:
        """Write a with."""
        inner = indent + self.pick(UNITS)
        self.line(indent, f"with held(log, {self.expression(1, step)}) as {self.pick(NAMES)}:")
        self.block(inner, depth, step, loop=loop, in_function=in_function)

    def function(self, indent: str, depth: int, step: str, _loop: bool, _in: bool) -> None:
        """Write a function that reads its surroundings, and call it."""
        inner = indent + self.pick(UNITS)
        if self.pick([True, False]):
            self.line(indent, "@step")
        self.line(indent, f"def g(x, y={self.expression(1, step)}):")
        self.line(inner, "log.append((x, y))")
        self.block(inner, depth, PLAIN, loop=False, in_function=True)
        self.line(indent, f"log.append(g({self.expression(1, step)}))")

    def type(self, indent: str, depth: int, step: str, _loop: bool, _in: bool) -> None:
        """Write a class, and use it."""
        inner = indent + self.pick(UNITS)
        deeper = inner + self.pick(UNITS)
        self.line(indent, "class C(object):")
        self.line(inner, f"{self.pick(NAMES)} = {self.expression(0)}")
        self.line(inner, "def m(self, x):")
        self.block(deeper, depth, PLAIN, loop=False, in_function=True)
        self.line(indent, f"log.append(C().m({self.expression(1, step)}))")


@st.composite
def programs(
    draw: Callable[[st.SearchStrategy[Any]], Any], steps: Sequence[str], in_function: bool
) -> Program:
    """Write a program; `in_function` says that it may return."""
    program = Program(draw, step=draw(st.sampled_from(steps)))
    program.newline = program.pick(["\n", "\n", "\r\n"])
    if program.pick([True] * 4 + [False]):
        program.line("", "a = 1; b = 2; c = 3")
    for _ in range(program.pick([0, 1, 2, 3, 4])):
        program.statement("", 2, program.step, loop=False, in_function=in_function)
    program.line("", "pass")
    if program.pick([True, True, False]):
        program.last = program.expression(step=program.step)
    return program


class _Held:
    def __init__(self, log: list[Any], value: Any) -> None:
        self.log = log
        self.value = value

    def __enter__(self) -> Any:
        self.log.append("in")
        return self.value

    def __exit__(self, kind: object, error: BaseException | None, _: TracebackType | None) -> bool:
        self.log.append("out")
        return isinstance(error, AssertionError)


async def _later(value: Any) -> Any:
    return value


def namespace_of_log() -> dict[str, Any]:
    """Make what programs refer to."""
    return {
        "few": (1, 2, 3),
        "log": [],
        "held": _Held,
        "later": _later,
        "mix": lambda x, y: zlib.crc32(repr((x, y)).encode()) % 5,
        "short": lambda *values: repr(values)[:60],
        "step": lambda value: value,
    }


def drive(result: Any, kind: Kind) -> Any:
    """Drive what a function gave, if it has to be driven."""
    if kind is Kind.PLAIN:
        return result
    steps: Generator[Any, Any, Any] = result
    with contextlib.closing(steps):
        try:
            given = steps.send(None)
            while True:
                given = steps.send(given)
        except StopIteration as stop:
            return stop.value


def places(error: BaseException | None) -> Iterator[tuple[Any, ...]]:
    """Tell what an exception is, where it passed in the program, and what it came from."""
    while error is not None:
        frames, tb = [], error.__traceback__
        while tb is not None:
            code = tb.tb_frame.f_code
            if code.co_filename == FILENAME:
                frames.append((tb.tb_lineno, code.co_name))
            tb = tb.tb_next
        yield type(error), str(error), frames
        error = error.__context__


def outcome(function: Callable[[], Any], kind: Kind, namespace: dict[str, Any]) -> tuple[Any, ...]:
    """Run, and tell what came of it."""
    try:
        value = drive(function(), kind)
    except Exception as error:
        return "failed", *places(error), namespace["log"]
    return "value", value, namespace["log"]


def by_hand(program: Program, last: str) -> tuple[Any, ...]:
    """Run the program as the body of a function, on the lines that it has in the cell."""
    body = program.text("    ", last)
    head, kind = "def f():", Kind.PLAIN
    if "await " in body:
        head, kind = "async def f():", Kind.COROUTINE
    elif "(yield " in body:
        kind = Kind.GENERATOR
    namespace = namespace_of_log()
    exec(compile(head + program.newline + body, FILENAME, "exec", dont_inherit=True), namespace)
    f = namespace["f"]
    f.__code__ = f.__code__.replace(co_name="<module>")
    return kind, outcome(f, kind, namespace)


def as_cell(text: str, **options: Any) -> tuple[Any, ...]:
    """Run the program as a cell, and give its namespace as well."""
    tree = parse(text, filename=FILENAME, first_line=2)
    function = rewrite(tree, filename=FILENAME, quiet=ends_quietly(text), **options)
    namespace = namespace_of_log()
    return function.kind, outcome(function.bind(namespace), function.kind, namespace), namespace


@bounded
@given(
    programs([PLAIN, AWAIT, YIELD], in_function=True),
    st.sampled_from(["", "", "  ", "\t"]),
    st.booleans(),
)
def test_cell_does_what_a_function_does(program: Program, base: str, quiet: bool) -> None:
    """Value, trace and lines of failures are those of the same statements in a function."""
    expected = by_hand(program, "{}" if quiet else "return {}")
    cell = program.text(base, "{};" if quiet else "{}")
    kind, result, namespace = as_cell(cell)
    assert (kind, result) == expected
    assert not {*NAMES, "g", "C", "_"} & set(namespace)


def simple(namespace: dict[str, Any]) -> dict[str, Any]:
    """Choose what can be compared of a namespace."""
    kinds = (int, str, tuple, type(None))
    names = {name: value for name, value in namespace.items() if isinstance(value, kinds)}
    return {name: value for name, value in names.items() if not name.startswith("__")}


@bounded
@given(programs([PLAIN], in_function=False), st.sampled_from(["", "return", "yield"]))
def test_cell_does_what_a_script_does(program: Program, end: str) -> None:
    """With all names in the namespace they, the trace and the lines are those of a script."""
    program.last = None
    namespace = namespace_of_log()
    code = compile("\n" + program.text(""), FILENAME, "exec", dont_inherit=True)
    expected = outcome(lambda: exec(code, namespace), Kind.PLAIN, namespace)
    kind, result, names = as_cell(program.text("") + end, top_level_global=True)
    assert result == expected
    assert simple(names) == simple(namespace)
    assert kind is (Kind.GENERATOR if end == "yield" else Kind.PLAIN)


@bounded
@given(programs([PLAIN, AWAIT, YIELD], in_function=True))
def test_global_cell_has_the_value_of_a_function(program: Program) -> None:
    """Where a cell's names live does not change its value, unless a name is not there."""
    program.lines.insert(0, ("", "a = b = c = 1"))
    expected = by_hand(program, "return {}")
    kind, result, _ = as_cell(program.text(""), top_level_global=True)
    assert kind is expected[0]
    if not missing(expected[1]):
        assert result == expected[1]


def missing(result: tuple[Any, ...]) -> bool:
    """Tell if a name was not there: Python says so in other words, and class bodies see others."""
    return result[0] == "failed" and any(
        issubclass(entry[0], NameError) for entry in result[1:-1] if isinstance(entry, tuple)
    )
