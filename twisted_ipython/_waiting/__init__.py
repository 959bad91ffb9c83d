"""
A thread waits for work in the reactor thread.

Meanwhile it runs what comes back, and takes Ctrl-C and questions.

Thread: the one that a cell was typed in.
Entry points: `work:ReactorWork.wait`, `calls:in_main_thread`, `loop_thread:current_thread`,
`entry:end_entry`.
May import: `_base`, `_bridge`, `_failures`, `_reactor`, `_private`.
"""
