"""
The map.  A folder imports only folders below it; its docstring says which.

    _extension  hangs the pieces on one shell, and takes them off
    _kernels    what one kind of kernel needs; the kernel that `install` makes
    _magics     the magics, their tables, settings and Tab; the runner that they set
    _scrapy     crawls that a cell awaits, and their items; `scrapy` is the public module
    _process    cells in a process of their own
    _display    results, Deferreds, bars and a kernel's messages, changed in place
    _plain      cells that do not await: they find the reactor's loop, and borrow the reactor
    _cells      IPython's cell: text becomes code, and what awaits goes to the reactor thread
    _scripts    code written for a reactor of its own waits in ``reactor.run()``
    _waiting    a thread waits for work in the reactor thread, and runs what comes back
    _reactor    the reactor, its thread, what is set on it; results and jobs
    _failures   a failure that nobody handles is shown in the cell whose work it was
    _bridge     one coroutine awaits Deferreds and asyncio's objects
    _base       frames, tracebacks, work ids, loans, text
    _private    the private names of other libraries

The way of a cell that awaits::

    _cells.autoawait:AutoAwait.run_ast_nodes
    _cells.statements:prepare
    _waiting.awaiting_cell:AwaitingCell.wait_quietly
    _waiting.work:ReactorWork.wait
    _waiting.cell_thread:BlockingThread.wait
    _waiting.awaiting_cell:AwaitingCell.begin
    _reactor.thread:ReactorThread.deferred
    _bridge.interruptible:Interruptible
    _bridge.task_factory:begin_task
    _bridge.call_soon:methods_of
    _bridge.coroutine:Bridge
    _waiting.awaiting_cell:AwaitingCell.run_statement
    _cells.autoawait:AutoAwait.run_code
    _waiting.awaiting_cell:AwaitingCell.result

The way of a plain cell, which may call the reactor, and may be a script::

    _magics.magics:TwistedMagics
    _cells.autoawait:AutoAwait.run_ast_nodes
    _cells.plain_cell:PlainCell
    _cells.autoawait:AutoAwait.run_code
    _plain.sharing:Statement
    _base.running_loop:switch
    _plain.reactor_methods:ReactorMethods.attach
    _plain.borrow:Borrow.call
    _waiting.entry:begin_entry
    _base.loans:loans
    _plain.returning:Watch
    _scripts.reactor_run:attach
    _scripts.thread_script:ThreadScript.wait
    _waiting.entry:end_entry

The way of a cell of ``%%run_in_reactor``::

    _magics.magics:TwistedMagics.run_in_reactor
    _magics.run_in_reactor:Background.prepare
    _cells.cell_function:rewrite
    _reactor.thread:ReactorThread.run
    _reactor.eventual_result:EventualResult
    _scripts.greenlet_script:GreenletScript.begin
    _reactor.jobs:Jobs.add
    _display.shown_results:ShownResults.show

The *cell thread* is the one that a cell was typed in: the main thread, or that
of a subshell.  ``async_runner`` and ``config`` hold names of version 2.
"""
