"""
Results, Deferreds, bars and a kernel's messages: in their own cell, changed in place.

Thread: any.
Entry points: `kernel_messages:attach`, `figures:attach`, `shown_results:ShownResults`,
`progress:progress`.
May import: `_base`, `_bridge`, `_failures`, `_reactor`, `_waiting`, `_scripts`, `_private`.
"""
