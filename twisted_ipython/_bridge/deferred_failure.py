"""
Awaiting a Deferred that failed handles its failure, and leaves it in place.

Any thread.
"""

from __future__ import annotations

from typing import Any, Final, cast

from twisted.internet.defer import DebugInfo, Deferred
from twisted.python.failure import Failure

__all__ = ["exception_of", "mark_handled"]


# Where a failure keeps the exception that stands for its value.
_KEPT: Final = "_twisted_ipython_exception"


class _Shown(DebugInfo):
    """
    What a Deferred keeps of its failure, less one failure that was handled.

    A Deferred notes the failure that it holds in a ``DebugInfo``, which logs it
    as unhandled when it is collected (Twisted 24.10 to 26.10).  Awaiting counts
    as handling but leaves the failure in place for the next await; this notes
    any other failure, but never that one.
    """

    def __init__(self, handled: Failure) -> None:
        self._handled = handled
        self._failure: Failure | None = None

    @property
    def failResult(self) -> Failure | None:
        """The failure that nobody has handled."""
        return self._failure

    @failResult.setter
    def failResult(self, failure: Failure | None) -> None:
        self._failure = None if failure is self._handled else failure


def exception_of(failure: Failure) -> BaseException:
    """
    The exception of a failure, with its own traceback; the same one each time.

    The value of one that Perspective Broker copied is a text: that gives what an
    await would raise, `twisted.spread.pb.RemoteError`.
    """
    value: object = failure.value
    if isinstance(value, BaseException):
        return value.with_traceback(failure.tb)
    kept = failure.__dict__
    if _KEPT not in kept:
        thrown = _Thrown()
        failure.throwExceptionIntoGenerator(cast(Any, thrown))
        kept[_KEPT] = thrown.error
    error: BaseException = kept[_KEPT]
    return error


class _Thrown:
    """What a failure throws into a generator."""

    error: BaseException

    def throw(self, error: BaseException) -> None:
        """See `Generator`."""
        self.error = error


def mark_handled(deferred: Deferred[Any], failure: Failure) -> None:
    """Let ``failure`` stay the Deferred's result without being logged as unhandled."""
    shown = _Shown(failure)
    if deferred._debugInfo is not None:  # with Deferred.debug: who made it, who fired it
        deferred._debugInfo.failResult = None  # what is replaced would log it, if it has failed
        shown.__dict__.update(deferred._debugInfo.__dict__)
    deferred._debugInfo = shown
