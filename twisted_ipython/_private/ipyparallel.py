"""
The class of the threads in which ipyparallel's client prints what engines send: ipyparallel 9.2.

They print in whatever cell runs.  Where the name is gone, in the cell that made the client.
"""

from __future__ import annotations

from typing import Final

OUTPUT_THREAD: Final = "_OutputProducingThread"
