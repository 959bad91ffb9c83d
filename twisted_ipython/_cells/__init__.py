"""
IPython's cell: its text becomes code, and what awaits in it goes to the reactor thread.

Thread: the one that the cell was typed in; what only reads code, any.
Entry points: `autoawait:AutoAwait`, `plain_cell:PlainCell`, `cell_function:rewrite`.
May import: `_base`, `_bridge`, `_failures`, `_reactor`, `_waiting`, `_scripts`, `_private`.
"""
