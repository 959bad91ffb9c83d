"""Which failures are alike, and the line that counts them."""

from __future__ import annotations

from collections.abc import Callable

from twisted_ipython._failures.alike import SAME, Alike, sort_of

PAGE = "Failure: Spider error processing <GET http://127.0.0.1:{0}/{0}> (referer: http://x/{0})"


def failed(line: int, error: str = "ValueError({0!r})") -> Exception:
    """An exception that code of a cell raised, at a line of it."""
    code = compile("\n" * line + "raise " + error.format(line), "<ipython-input-1-2>", "exec")
    try:
        exec(code, {"__name__": "__main__"})
    except Exception as raised:
        return raised
    raise AssertionError


def test_alike() -> None:
    """Those are alike that differ in addresses, numbers and words only."""
    first = sort_of(failed(1), PAGE.format(1))
    assert sort_of(failed(1, "ValueError('other')"), PAGE.format(2)) == first
    others = failed(2), failed(1, "KeyError({0})"), ValueError("never raised")
    assert first not in [sort_of(error, PAGE.format(1)) for error in others]
    assert sort_of(failed(1), "Failure: a timer's f()") != first
    assert sort_of(ValueError("a"), "") != sort_of(ValueError("b"), "")


def test_line() -> None:
    """It is replaced where that can be done, and else comes at growing distances."""
    lines: list[str] = []

    def tell(line: str) -> Callable[[str], None]:
        lines.append(line)
        return lambda line: lines.__setitem__(-1, line)

    for can_replace, count in ((True, 1), (False, 2)):
        alike, seconds = Alike(tell if can_replace else lines.append), []
        lines.clear()
        for _ in range(2):
            alike.count, alike.last = alike.count + 1, KeyError("x")
            alike.say()
            seconds.append(alike.seconds)
        assert len(lines) == count
        assert lines[-1] == SAME.format(of_cell="", times="2 times", line="KeyError: 'x'")
        assert (seconds[0] == seconds[1]) is can_replace
