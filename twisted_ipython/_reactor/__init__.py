"""
The reactor is chosen, started, found and ended; what is set on it; results and jobs.

Code that holds it is broken.

Thread: its own; asked from any.
Entry points: `lifecycle:start`, `lifecycle:current`, `thread:ReactorThread`, `jobs:Jobs`.
May import: `_base`, `_bridge`, `_failures`, `_private`.
"""
