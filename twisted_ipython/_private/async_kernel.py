"""
The names that async-kernel keeps private, as seen in async-kernel 0.23.

Nothing of async-kernel is imported.

Thread: any.
"""

from __future__ import annotations

from typing import Final

# The context variable of the request that runs a cell.  Without: threads print in no cell.
JOB: Final = "async-kernel job"
# What a `Pending` calls to be cancelled, which `set_canceller` sets.  Without: as cancelled once.
CANCELLER: Final = "_canceller"
# What it gives as the reason when it cancels for the stop button.  Without: the loop's own words.
INTERRUPTED: Final = "Kernel interrupted"
