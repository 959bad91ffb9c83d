"""
The magics, their options, tables and settings; Tab after them; the runner that they set.

Thread: the one that the cell was typed in; tables of the reactor in its own.
Entry points: `magics:TwistedMagics`, `runner:runner`, `settings:Settings`.
May import: `_base`, `_bridge`, `_failures`, `_reactor`, `_waiting`, `_scripts`, `_cells`, `_plain`,
`_display`, `_process`, `_private`.
"""
