"""The statements of a cell become a function.

Python's parser takes a `return`, an `await` and a `yield` at the top level of a module; only its
compiler objects. So a cell is parsed as it stands and its tree is given a new home, with every
line number and every string intact. There are two such homes.

A *function* named `<module>`, so that a traceback reads as that of a plain cell. The cell's names
are local, except those that it, or anything nested in it, declares `global`: a script that says
`global x` in a function means its own `x` by that.

A *script*, for a cell whose names shall belong to the namespace: module code that is run as such,
so that star imports, annotations, `locals()`, `exec` and the `__qualname__` of classes are what
they are in a script, by construction. Module code gives no value, hence a last expression is
compiled apart and evaluated after the rest. Module code knows no `return` and no `yield`: a cell
that has one goes into a function even then, with all that it binds declared `global`. What is
left of a function is then that variable annotations are not kept, and that `locals()` is empty.

What neither home allows is refused by Python's compiler itself, in its own words. What cannot be
driven (`await` beside `yield`, either of them in a thread) is refused here.

Everything is pure and may be called in any thread: this module knows no reactor and no shell.
"""

import ast
import enum
import inspect
import io
import itertools
import tokenize
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

_SILENT = frozenset(
    {tokenize.COMMENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.NEWLINE, tokenize.NL}
)


class Kind(enum.Enum):
    """How the function that a cell became has to be driven."""

    PLAIN = "plain"
    COROUTINE = "coroutine"
    GENERATOR = "generator"


class CellFunction(NamedTuple):
    """What a cell was compiled to.

    `kind` says what a call gives: the value, a coroutine, or a generator whose `return` is the
    value. `codes` are run one after the other; the value is that of the last one.
    """

    kind: Kind
    codes: tuple[CodeType, ...]

    def bind(self, namespace: dict[str, Any]) -> Callable[[], Any]:
        """Make the function whose globals are `namespace`.

        Binding leaves nothing in the namespace. The function takes no arguments and can be called
        any number of times. The traceback of a failure begins with the cell's own frame, after
        one of this module's if the cell is a script that ends in an expression. Any thread.
        """
        # A function over module code has its globals as its locals, as under `exec`.
        steps = [FunctionType(code, namespace) for code in self.codes]
        if len(steps) == 1:
            return steps[0]
        return _awaiting_each(steps) if self.kind is Kind.COROUTINE else _calling_each(steps)


def parse(text: str, *, filename: str, first_line: int, flags: int = 0) -> ast.Module:
    """Parse a cell's body as it stands.

    `first_line` is the line of the cell on which the body begins (2 below a `%%` line): nodes and
    SyntaxErrors carry the lines of the cell. `flags` are compiler flags, for the futures of
    earlier cells. A body that is indented as a whole is taken as it is, if there is a line above
    it (`first_line` 2 or more).

    Raises what `ast.parse` raises: SyntaxError with the cell's line and its text. Any thread.
    """
    # Empty lines in front, not a shift afterwards: Python's messages name lines as well.
    if first_line > 1 and _begins_indented(text):
        block = _parse("\n" * (first_line - 2) + "if 1:\n" + text, filename, flags)
        match block.body:
            case [ast.If(body=body, orelse=[])]:
                return ast.Module(body=body, type_ignores=[])
    return _parse("\n" * (first_line - 1) + text, filename, flags)


def ends_quietly(text: str) -> bool:
    """Tell whether the body of a cell ends in `;`, as IPython's display hook tells.

    Comments and blank lines after it do not matter, nor does a `;` in a string or a comment. False
    for what is not Python. Any thread.
    """
    if ";" not in text:
        return False
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return False
    return next((t.string == ";" for t in reversed(tokens) if t.type not in _SILENT), False)


def rewrite(
    tree: ast.Module,
    *,
    filename: str,
    source: str = "",
    flags: int = 0,
    quiet: bool = False,
    top_level_global: bool = False,
    in_thread: bool = False,
) -> CellFunction:
    """Compile the tree of a cell's body to a function.

    `tree` has the line numbers of the cell as typed; it is used up, do not use it afterwards.
    `source` is the whole cell as typed, for the text of SyntaxErrors. `flags` are compiler flags.
    The value is that of `return`, else of the last expression, unless `quiet`. With
    `top_level_global` what the cell binds at its top level belongs to the namespace. `in_thread`
    says that nothing will drive a coroutine or a generator.

    Raises SyntaxError for what Python forbids, in its own words, for `await` beside `yield`, and
    for either `in_thread`; and whatever else `compile` raises (ValueError, RecursionError). Any
    thread.
    """
    text = _Text(filename, source, flags)
    level = list(own_level(tree))
    _refuse_undrivable(text, level, in_thread=in_thread)
    if top_level_global and not any(map(_needs_function, level)):
        codes = _script(text, tree, level, quiet=quiet)
    else:
        codes = (_function(text, tree, level, quiet=quiet, all_global=top_level_global),)
    return CellFunction(_kind(codes), codes)


class _Text(NamedTuple):
    """Where a tree comes from: what compiling it, and refusing it, has to know."""

    filename: str
    source: str
    flags: int

    def compile(self, tree: ast.Module | ast.Expression, flags: int = 0) -> CodeType:
        """Compile `tree`; a SyntaxError gets the text of its line. Any thread."""
        mode = "exec" if isinstance(tree, ast.Module) else "eval"
        try:
            code: CodeType = compile(
                tree, self.filename, mode, flags=self.flags | flags, dont_inherit=True
            )
        except SyntaxError as error:
            self._quote(error)
            raise
        return code

    def refusal(self, message: str, node: ast.AST) -> SyntaxError:
        """Make the SyntaxError that points at `node`. Any thread."""
        # Only a comprehension's `async for` has no place of its own.
        place: Any = node.target if isinstance(node, ast.comprehension) else node
        start = (self.filename, place.lineno, place.col_offset + 1)
        end = (place.end_lineno, place.end_col_offset + 1)
        error = SyntaxError(message, (*start, None, *end))
        self._quote(error)
        return error

    def _quote(self, error: SyntaxError) -> None:
        # The compiler has the tree only: it knows no text, and counts columns in bytes.
        error.text = self._line(error.lineno) or error.text
        error.offset = _in_characters(error.offset, self._line(error.lineno))
        error.end_offset = _in_characters(error.end_offset, self._line(error.end_lineno))

    def _line(self, number: int | None) -> str:
        # Not splitlines: a form feed ends no line of Python.
        lines = io.StringIO(self.source, newline=None).read().split("\n")
        return lines[number - 1] if number and number <= len(lines) else ""


def _in_characters(offset: int | None, line: str) -> int | None:
    if not offset or offset < 0 or not line:
        return offset
    return len(line.encode()[: offset - 1].decode(errors="ignore")) + 1


def _begins_indented(text: str) -> bool:
    for line in io.StringIO(text, newline=None):
        code = line.lstrip(" \t\f")
        if code.rstrip() and not code.startswith("#"):
            # A form feed sets Python's count of the columns back.
            return bool(line.removesuffix(code).rpartition("\f")[2])
    return False


def _parse(text: str, filename: str, flags: int) -> ast.Module:
    flags |= ast.PyCF_ONLY_AST
    tree: ast.Module = compile(text, filename, "exec", flags=flags, dont_inherit=True)
    return tree


def own_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of the tree's own scope, each before what it holds, in the tree's order.

    Names and constants are left out. Any thread.
    """
    # A list, not recursion: a long chain of `elif` or `+` is nested deeper than Python may call.
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        inner = _in_same_scope(node) if type(node) in _SCOPES else _children(node)
        waiting += [
            child
            for child in reversed(inner)
            if isinstance(child, ast.AST) and type(child) not in _LEAVES
        ]


def _children(node: ast.AST) -> list[Any]:
    """What the fields of a node hold; `ast.iter_child_nodes` takes twice as long."""
    inner: list[Any] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            inner += value
        else:
            inner.append(value)
    return inner


_LEAVES: Final = {ast.Load, ast.Store, ast.Del, ast.Name, ast.Constant}
_SCOPES: Final = {
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.GeneratorExp,
}


def _in_same_scope(node: ast.AST) -> Sequence[ast.AST]:
    """What of a scope is evaluated outside of it."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*node.decorator_list, node.args, *filter(None, [node.returns])]
        case ast.Lambda():
            return [node.args]
        case ast.ClassDef():
            return [*node.decorator_list, *node.bases, *node.keywords]
        case ast.GeneratorExp():
            return [node.generators[0].iter]
        case _:
            return []


def awaits(node: ast.AST) -> bool:
    """Whether the node itself makes the scope that it is of one that awaits. Any thread."""
    # The other comprehensions pass an `await` on to the scope that they stand in.
    return type(node) in _AWAITS or (isinstance(node, ast.comprehension) and bool(node.is_async))


_AWAITS: Final = {ast.Await, ast.AsyncFor, ast.AsyncWith}


def _yields(node: ast.AST) -> bool:
    return isinstance(node, ast.Yield | ast.YieldFrom)


def _needs_function(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) or _yields(node)


def _word(node: ast.AST) -> str:
    match node:
        case ast.Await():
            return "await"
        case ast.AsyncWith():
            return "async with"
        case ast.Yield():
            return "yield"
        case ast.YieldFrom():
            return "yield from"
        case _:
            return "async for"


def _refuse_undrivable(text: _Text, level: list[ast.AST], *, in_thread: bool) -> None:
    """Raise SyntaxError if nothing could drive the cell."""
    suspending = [node for node in level if awaits(node) or _yields(node)]
    if in_thread and suspending:
        raise text.refusal(
            f"'{_word(suspending[0])}' in a cell with --thread: the thread pool runs blocking code,"
            " and only the reactor thread drives coroutines and Deferreds; leave out --thread",
            suspending[0],
        )
    for first, second in itertools.pairwise(suspending):
        if awaits(first) is not awaits(second):
            raise text.refusal(
                f"'{_word(second)}' in a cell that also has '{_word(first)}': a cell is driven as a"
                " coroutine or as inlineCallbacks drives a generator, not as both; write 'await'"
                " in place of every 'yield'",
                second,
            )


def _kind(codes: tuple[CodeType, ...]) -> Kind:
    if any(code.co_flags & inspect.CO_COROUTINE for code in codes):
        return Kind.COROUTINE
    if any(code.co_flags & inspect.CO_GENERATOR for code in codes):
        return Kind.GENERATOR
    return Kind.PLAIN


def _script(
    text: _Text, tree: ast.Module, level: list[ast.AST], *, quiet: bool
) -> tuple[CodeType, ...]:
    """Compile the cell as module code, with the expression that is its value apart."""
    parts: list[ast.Module | ast.Expression] = [tree]
    match tree.body:
        case [ast.Expr(value=value)] if not quiet:
            parts = [ast.Expression(value)]
        case [*statements, ast.Expr(value=value)] if not quiet:
            parts = [ast.Module(body=statements, type_ignores=[]), ast.Expression(value)]
    # Not in every cell: the flag takes an `await` in a generator expression for the cell's own.
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if any(map(awaits, level)) else 0
    return tuple(text.compile(part, flags) for part in parts)


def _calling_each(steps: list[FunctionType]) -> Callable[[], Any]:
    def cell() -> Any:
        for step in steps:
            result = step()
        return result

    return cell


def _awaiting_each(steps: list[FunctionType]) -> Callable[[], Any]:
    async def cell() -> Any:
        for step in steps:
            result = step()
            if inspect.iscoroutinefunction(step):
                result = await result
        return result

    return cell


def _function(
    text: _Text, tree: ast.Module, level: list[ast.AST], *, quiet: bool, all_global: bool
) -> CodeType:
    """Compile the cell as a function, a coroutine function if its own level awaits."""
    futures = _futures(tree.body)
    if all_global:
        _import_stars_by_exec(level, text.filename)
    body = tree.body if quiet else _returning(tree.body)
    if not all_global:
        body = [statement for statement in body if statement not in futures]
    shared = _names_of_namespace(tree, level, all_global=all_global)
    _allow_annotations(level, shared)
    # A `pass` makes a function of an empty cell, and keeps its first string from being a docstring.
    first = ast.Global(names=sorted(shared)) if shared else ast.Pass()
    definition = _definition(
        [ast.fix_missing_locations(first), *body], awaits=any(map(awaits, level))
    )
    # In front of the function they are where Python looks for them, and has them as flags.
    module = text.compile(ast.Module(body=[*futures, definition], type_ignores=[]))
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def _definition(body: list[ast.stmt], *, awaits: bool) -> ast.stmt:
    [definition] = ast.parse("async def cell(): pass" if awaits else "def cell(): pass").body
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    definition.name = "<module>"
    definition.body = body
    return definition


def _returning(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [*statements, ast.Expr(value=value) as last]:
            return [*statements, ast.copy_location(ast.Return(value=value), last)]
        case _:
            return body


def _futures(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            body = rest
    return list(itertools.takewhile(_is_future, body))


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _names_of_namespace(tree: ast.Module, level: list[ast.AST], *, all_global: bool) -> set[str]:
    """Find the names that have to be declared global above the cell's statements."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.update(node.names)
        elif all_global:
            # Names bound deeper down as well: a scope that binds one goes on having its own.
            names.update(filter(None, [_name_bound_by(node)]))
    # The cell's own declarations stay where they are: Python minds a use above them.
    for node in level:
        if isinstance(node, ast.Global | ast.Nonlocal):
            names.difference_update(node.names)
    return names


def _name_bound_by(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.alias(name=module, asname=name):
            return name or module.partition(".")[0].strip("*")
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return name
        case ast.MatchMapping(rest=name):
            return name
        case _:
            return None


def _allow_annotations(level: list[ast.AST], shared: set[str]) -> None:
    """Make `x: int = 1` legal where x was declared global by us, not by the cell."""
    for node in level:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) if name in shared:
                # As if it were `(x): int = 1`, which Python takes for a global too.
                node.simple = 0


def _import_stars_by_exec(level: list[ast.AST], filename: str) -> None:
    """Replace the star imports of the cell's own level, which no function may have."""
    for node in level:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                block[:] = [_without_star(statement, filename) for statement in block]


def _without_star(statement: ast.stmt, filename: str) -> ast.stmt:
    match statement:
        case ast.ImportFrom(names=[ast.alias(name="*")]):
            source = "\n" * (statement.lineno - 1) + ast.unparse(statement)
            # Names that the cell may have bound to something else are not relied upon.
            builtins = "__import__('builtins')"
            code = f"{builtins}.compile({source!r}, {filename!r}, 'exec')"
            [replacement] = ast.parse(f"{builtins}.exec({code}, {builtins}.globals())").body
            for node in ast.walk(replacement):
                ast.copy_location(node, statement)
            return replacement
        case _:
            return statement
