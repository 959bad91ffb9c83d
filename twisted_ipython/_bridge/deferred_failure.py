"""The exception of a failure, the same one at each await.  Thread: any."""

from __future__ import annotations

from typing import Any, Final, cast

from twisted.python.failure import Failure

# Where a failure keeps the exception that stands for its value.
_KEPT: Final = "_twisted_ipython_exception"


def exception_of(failure: Failure) -> BaseException:
    """
    The exception of a failure, with its own traceback; the same one each time.

    The value of one that Perspective Broker copied is a text: that gives what an
    await would raise, `twisted.spread.pb.RemoteError`.

    Args:
        failure: the failure.

    Thread: any.
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
