"""
Cells that do not await use the reactor and its loop: they find it running, and borrow it.

Thread: any but the reactor's.
Entry points: `sharing:attach`, `sharing:Statement`, `borrow:Borrow.call`.
May import: `_base`, `_bridge`, `_failures`, `_reactor`, `_waiting`, `_scripts`, `_private`.
"""
