"""
One coroutine awaits Deferreds and asyncio's objects.

A task's coroutine awaits Deferreds; Twisted's coroutines await futures; and either ends when
it is told to.

Thread: the reactor's.
Entry points: `task_factory:attach`, `coroutine:Bridge`, `interruptible:Interruptible`.
May import: `_base`, `_private`.
"""
