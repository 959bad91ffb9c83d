"""async-kernel has the private names that are used."""

from __future__ import annotations

import async_kernel

from twisted_ipython._private import async_kernel as private

SEEN = "this async-kernel has no {name}, which 0.23 has: look for its new name, for {file}"


def test_names() -> None:
    """A `Pending` keeps what cancels it, and the request of a cell is in a context variable."""
    pending = async_kernel.Pending()
    pending.set_canceller(print)
    found = getattr(pending, private.CANCELLER, None)
    assert found is print, SEEN.format(name=private.CANCELLER, file=private.__file__)
    names = [getattr(one, "name", "") for one in vars(async_kernel.utils).values()]
    assert private.JOB in names, SEEN.format(name=private.JOB, file=private.__file__)
    said = getattr(async_kernel.Kernel, "_interrupt_message", None)
    assert said == private.INTERRUPTED, SEEN.format(name=said, file=private.__file__)
