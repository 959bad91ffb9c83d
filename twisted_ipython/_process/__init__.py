"""
A cell of ``--process`` runs in a process of its own, by a small program.

The program imports nothing of this package.

Thread: reactor; a cell is pickled in any.
Entry points: `job:ProcessJob`, `job:pickled`, `worker:main`.
May import: `_base`, `_bridge`.
"""
