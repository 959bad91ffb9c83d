"""
The names that ipykernel keeps private, as seen in ipykernel 6.29 to 7.4.

A kernel is asked for each of them, since other kernels (async-kernel) have none: what is
missing is left as it is.  Nothing of ipykernel is imported.

Thread: any.
"""

from __future__ import annotations

from typing import Final

# What asks the front end for a line: ``kernel._input_request(prompt, ..., password=False)``.
INPUT_REQUEST: Final = "_input_request"
# Where a kernel keeps `input` and `getpass.getpass` while a cell runs.
SAVED_INPUT: Final = "_sys_raw_input"
SAVED_GETPASS: Final = "_save_getpass"
# Lists the child processes that a kernel ends when it shuts down.
PROCESS_CHILDREN: Final = "_process_children"
# Has a kernel enter the loop of a GUI.
UPDATE_EVENTLOOP: Final = "_update_eventloop"
# A kernel's, in 6.29 to 7.0: which cell threads belong to.
NEW_THREADS_PARENT: Final = "_new_threads_parent_header"
# A display publisher's, since 7.0: a parent for each context.
PARENT: Final = "_parent_header"
