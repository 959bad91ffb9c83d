"""
What the extension costs, against version 2.0.0 and against the bare libraries.

``python -m benchmarks`` prints a table; see ``README.md``.

    __main__      the command line
    _measures     what is measured, with the limits
    _kernel       cells of a real kernel, seen by a client
    _subjects     the processes that are compared
    _table        the measurements, as a table
    _plot         the same as a picture
    programs/     what runs in a subject's process, and prints JSON
"""
