"""
The private names of other libraries, one module for each library.

A name stands here when nothing public does the same.  Each module says in which versions
its names were seen, and what is done where one is gone; a test for each looks them up.
`tests/private/test_private.py` lists the few that are used elsewhere, and why.

Thread: any, unless a function says otherwise.
Entry points: `async_kernel:JOB`, `asyncio:running_loop`, `asyncio:code_of`, `crochet:registry`,
`ipykernel:INPUT_REQUEST`, `ipython:shell_of`, `matplotlib:was_drawn`, `threading:made`,
`twisted:is_stopping`.
May import: nothing of ours.
"""
