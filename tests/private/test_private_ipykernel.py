"""ipykernel has the private names that are used."""

from __future__ import annotations

import ipykernel
from kernels import Kernel

from twisted_ipython._private import ipykernel as private

SEEN = "this ipykernel has no {name}, which 6.29 to 7.4 have: look for its new name, for {file}"
OF_KERNEL = (
    *(private.INPUT_REQUEST, private.SAVED_INPUT, private.SAVED_GETPASS),
    *(private.PROCESS_CHILDREN, private.UPDATE_EVENTLOOP),
)


def test_names() -> None:
    """While a cell runs, a kernel and its display publisher have the names of their version."""
    with Kernel(load=False) as kernel:
        for name in OF_KERNEL:
            has = kernel.value(f"hasattr(get_ipython().kernel, {name!r})")
            assert has == "True", SEEN.format(name=name, file=private.__file__)
        threads = kernel.value(f"hasattr(get_ipython().kernel, {private.NEW_THREADS_PARENT!r})")
        parent = kernel.value(f"hasattr(get_ipython().display_pub, {private.PARENT!r})")
    assert threads == str(ipykernel.version_info < (7, 1)), "6.29 to 7.0 have it, later ones not"
    assert parent == str(ipykernel.version_info >= (7,)), "since 7.0 there is one for each context"
