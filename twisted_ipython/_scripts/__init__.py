"""
Code that was written for a reactor of its own waits in ``reactor.run()``, again and again.

What it changed is put back.

Thread: the script's; its end in the reactor's.
Entry points: `reactor_run:attach`, `thread_script:ThreadScript`.
May import: `_base`, `_bridge`, `_failures`, `_reactor`, `_waiting`, `_private`.
"""
