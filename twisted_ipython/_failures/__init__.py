"""
A failure that nobody handles is shown once, in the cell whose work it was.

Thread: noticed in any, shown in the reactor's.
Entry points: `reports:reports`, `namespace:Watch`, `logs:attach`.
May import: `_base`, `_bridge`, `_private`.
"""
