"""A kernel that the tests of a module share, for scripts that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel
from script_cells import kernel_of_scripts, unchanged


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    """A kernel for the tests of a module."""
    with kernel_of_scripts() as one:
        one.ok("import logging, sys, time, treq")
        yield one


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """The kernel, which each test leaves as it was."""
    with unchanged(shared) as one:
        yield one
