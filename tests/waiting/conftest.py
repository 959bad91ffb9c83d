"""A shell that awaits, in process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from awaiting_cells import SETUP
from shells import Shell


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A shell that awaits with twisted."""
    with Shell() as session:
        session.ok(SETUP)
        yield session
