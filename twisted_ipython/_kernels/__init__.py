"""
What one kind of kernel needs: ipykernel, async-kernel; the kernel that `install` makes.

Thread: cell.
Entry points: `ipykernel:attach`, `async_kernel:attach`, `kernelspec:main`.
May import: `_base`, `_reactor`, `_waiting`, `_cells`, `_plain`, `_private`.
"""
