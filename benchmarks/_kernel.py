"""Cells of a real kernel, timed by its client: from the request to the reply and to idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from benchmarks._subjects import Subject

__all__ = ["Kernel", "kernel"]

# Seconds that a cell may take.
_PATIENCE: Final = 30


class Kernel:
    """
    A running kernel.

    Args:
        client: its client, with open channels.
    """

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, code: str) -> float:
        """
        Run a cell.

        Returns:
            seconds until both the reply and the idle status were there.

        Raises:
            RuntimeError: it failed.
        """
        began = perf_counter()
        request = self._client.execute(code)
        self._idle(request)
        reply = self._client.get_shell_msg(timeout=_PATIENCE)
        while reply["parent_header"]["msg_id"] != request:  # one that came late
            reply = self._client.get_shell_msg(timeout=_PATIENCE)
        seconds = perf_counter() - began
        content = reply["content"]
        if content["status"] != "ok":
            raise RuntimeError(f"{code!r} failed: {content}")
        return seconds

    def _idle(self, request: str) -> None:
        while True:
            message: dict[str, Any] = self._client.get_iopub_msg(timeout=_PATIENCE)
            mine = message["parent_header"].get("msg_id") == request
            if mine and message["content"].get("execution_state") == "idle":
                return


@contextmanager
def kernel(subject: Subject) -> Iterator[Kernel]:
    """A running kernel of the subject, to be ended afterwards."""
    # Without the folders of kernels that are installed, it is this Python's own.
    manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    # It would warn, each time, that its connection on this machine is not encrypted.
    quiet = ["--IPKernelApp.log_level=ERROR"]
    environment, folder = subject.environment, str(subject.folder)
    manager.start_kernel(extra_arguments=quiet, env=environment, cwd=folder)
    client: BlockingKernelClient = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=_PATIENCE)
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
