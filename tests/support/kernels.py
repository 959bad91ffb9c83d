"""A real ipykernel, seen as a front end sees it: over its ZeroMQ channels."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from threading import Timer
from time import monotonic
from types import MappingProxyType
from typing import IO, Any, Self

import ipykernel
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

__all__ = ["SUBSHELLS", "Cells", "Execution", "Kernel", "fail", "submit_to", "subshell"]

SECONDS = 30
# Within so many seconds what is displayed in place must have changed.
SOON = 10
# After this a kernel is killed, whatever its test does.
LIFETIME = 1500

# Whether ipykernel has subshells.
SUBSHELLS = ipykernel.version_info >= (7,)

Message = dict[str, Any]


class Execution:
    """
    One execute request.

    Attributes:
        outputs: the messages on IOPub that it is the parent of, without statuses.
        late: those of them that came after its idle status.
        idle: when its idle status came, in seconds of `monotonic`; None before.
        states: its statuses so far.
        reply: the content of its reply; None before it came.
    """

    def __init__(self, kernel: Kernel, number: str) -> None:
        self._kernel = kernel
        self.number = number
        self.outputs: list[Message] = []
        self.late: list[Message] = []
        self.idle: float | None = None
        self.states: list[str] = []
        self.reply: Message | None = None

    def take(self, message: Message) -> None:
        """Note a message on IOPub."""
        content = message["content"]
        if message["msg_type"] == "status":
            self.states.append(content["execution_state"])
            if content["execution_state"] == "idle":
                self.idle = monotonic()
            return
        self.outputs.append(message)
        if self.idle is not None:
            self.late.append(message)

    def messages(self, kind: str) -> list[Message]:
        """Its outputs of one kind: ``stream``, ``display_data``, ``execute_result``, ``error``."""
        return [message for message in self.outputs if message["msg_type"] == kind]

    def data(self, kind: str) -> dict[str, Any]:
        """What its only output of that kind shows, by MIME type."""
        [message] = self.messages(kind)
        data: dict[str, Any] = message["content"]["data"]
        return data

    def displays(self) -> list[str]:
        """The display_ids of what it displayed."""
        return [
            message["content"]["transient"]["display_id"]
            for message in self.messages("display_data")
        ]

    def printed(self, name: str = "stdout") -> str:
        """What it wrote to a stream so far."""
        return "".join(
            message["content"]["text"]
            for message in self.messages("stream")
            if message["content"]["name"] == name
        )

    @property
    def value(self) -> str | None:
        """The text of its result."""
        for message in self.messages("execute_result"):
            text: str = message["content"]["data"]["text/plain"]
            return text
        return None

    @property
    def error(self) -> str | None:
        """The name of the exception that it showed."""
        for message in self.messages("error"):
            name: str = message["content"]["ename"]
            return name
        return None

    @property
    def traceback(self) -> str:
        """The traceback that it showed, without colours."""
        lines = (
            line for message in self.messages("error") for line in message["content"]["traceback"]
        )
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))

    def wait(self, seconds: float = SECONDS) -> Self:
        """Wait for its reply and its idle status."""
        self._kernel.pump(lambda: self.reply is not None and self.idle is not None, seconds)
        return self

    def wait_for(self, text: str, seconds: float = SECONDS) -> Self:
        """Wait until it has printed ``text``."""
        self._kernel.pump(lambda: text in self.printed(), seconds)
        return self


class Kernel:
    """
    An ipykernel of this Python, ended with the ``with`` block.

    Args:
        load: whether to load the extension and switch it on.
        arguments: of ipykernel.
        stderr: what the process gets as its stderr.
        spec: what its specification has in place of ipykernel's: another kernel.
    """

    def __init__(
        self,
        *arguments: str,
        load: bool = True,
        stderr: IO[str] | None = None,
        spec: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._folder = TemporaryDirectory()
        file = Path(self._folder.name) / "tested" / "kernel.json"
        file.parent.mkdir()
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv += ["--log-level=ERROR", *arguments]
        own = {"argv": argv, "display_name": "", "language": "python"}
        file.write_text(json.dumps({**own, **spec}))
        self._specs = KernelSpecManager(kernel_dirs=[self._folder.name])
        self._executions: dict[str, Execution] = {}
        self.comms: list[Message] = []
        self._question: Message = {}
        # What was displayed in place, by display_id, each time.
        self.displays: dict[str, list[Message]] = {}
        self._start(stderr)
        try:
            try:
                self.client.wait_for_ready(timeout=SECONDS)
            except RuntimeError:  # it died: another process took a port of those chosen for it
                self._end()
                self._start(stderr)
                self.client.wait_for_ready(timeout=SECONDS)
            if load:
                self.ok("%load_ext twisted_ipython\n%autoawait twisted")
        except BaseException:
            self.close()
            raise

    def _start(self, stderr: IO[str] | None) -> None:
        self.manager = KernelManager(kernel_name="tested", kernel_spec_manager=self._specs)
        self.manager.start_kernel(stderr=stderr)
        self._kill = Timer(LIFETIME, self.manager.provisioner.process.kill)
        self._kill.daemon = True
        self._kill.start()
        self.client: BlockingKernelClient = self.manager.client()
        # As a notebook does; without it the client could be jupyter console.
        self.client.session.metadata = {"cellId": "a cell"}
        self.client.start_channels()

    def _end(self) -> None:
        self._kill.cancel()
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.client.context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the kernel at once."""
        self._end()
        self._folder.cleanup()

    @property
    def executions(self) -> list[Execution]:
        """All requests so far."""
        return [*self._executions.values()]

    # ---- requests

    def submit(self, code: str, **options: Any) -> Execution:
        """Send a cell, whose error aborts no other: ipykernel 6 aborts for a moment what comes."""
        options = {"allow_stdin": True, "stop_on_error": False, **options}
        number = self.client.execute(code, **options)
        execution = self._executions[number] = Execution(self, number)
        return execution

    def run(self, code: str, *, seconds: float = SECONDS, **options: Any) -> Execution:
        """Run a cell to its end."""
        return self.submit(code, **options).wait(seconds)

    def ok(self, code: str, **options: Any) -> Execution:
        """Run a cell that must succeed and write nothing to stderr."""
        execution = self.run(code, **options)
        assert execution.reply is not None
        assert execution.reply["status"] == "ok", execution.traceback
        assert execution.printed("stderr") == "", execution.printed("stderr")
        return execution

    def value(self, code: str) -> str | None:
        """The text of a cell's result."""
        return self.ok(code).value

    def shows(self, display: str, text: str, seconds: float = SOON) -> dict[str, Any]:
        """Wait until ``text`` is in what a spot shows; give that, by MIME type."""
        shown = self.displays[display]
        self.pump(lambda: text in shown[-1]["content"]["data"]["text/plain"], seconds)
        data: dict[str, Any] = shown[-1]["content"]["data"]
        return data

    def asked(self, execution: Execution, seconds: float = SECONDS) -> str:
        """Wait until a cell, which must be sent with ``allow_stdin``, asks; give the prompt."""
        self._question = self.client.get_stdin_msg(timeout=seconds)
        assert self._question["parent_header"]["msg_id"] == execution.number
        prompt: str = self._question["content"]["prompt"]
        return prompt

    def answer(self, execution: Execution, text: str, seconds: float = SECONDS) -> str:
        """Wait until a cell asks, and answer as JupyterLab does; give the prompt."""
        prompt = self.asked(execution, seconds)
        content = {"status": "ok", "value": text}
        message = self.client.session.msg("input_reply", content, parent=self._question)
        self.client.stdin_channel.send(message)
        return prompt

    def interrupt(self) -> None:
        """Press the stop button."""
        self.manager.interrupt_kernel()

    def ask_shutdown(self) -> None:
        """Send a shutdown request."""
        message = self.client.session.msg("shutdown_request", {"restart": False})
        self.client.control_channel.send(message)

    def ended_within(self, seconds: float) -> bool:
        """Whether the process ends in time."""
        try:
            self.manager.provisioner.process.wait(seconds)
        except Exception:
            return False
        return True

    def comm(self, kind: str, **content: Any) -> Execution:
        """Send a message of a comm: ``comm_open``, ``comm_msg`` or ``comm_close``; no reply."""
        message = self.client.session.msg(kind, {"data": {}, **content})
        number = message["header"]["msg_id"]
        execution = self._executions[number] = Execution(self, number)
        self.client.shell_channel.send(message)
        return execution

    # ---- answers

    def pump(self, until: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Take in messages until a condition holds; AssertionError if it does not in time."""
        deadline = monotonic() + seconds
        while not until():
            if monotonic() > deadline:
                raise AssertionError(f"nothing within {seconds} s: {self._shown()}")
            if not self.manager.is_alive():
                raise AssertionError(f"the kernel died: {self._shown()}")
            self._take_iopub(0.05)
            self._take_shell()

    def _shown(self) -> list[Any]:
        executions = list(self._executions.values())[-3:]
        return [[(m["msg_type"], m["content"]) for m in one.outputs] for one in executions]

    def _take_iopub(self, seconds: float) -> None:
        try:
            message = self.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return
        if message["msg_type"].startswith("comm_"):
            self.comms.append(message)
        number = message["content"].get("transient", {}).get("display_id")
        if number is not None:
            self.displays.setdefault(number, []).append(message)
        execution = self._executions.get(message["parent_header"].get("msg_id"))
        if execution is not None:
            execution.take(message)

    def _take_shell(self) -> None:
        try:
            message = self.client.get_shell_msg(timeout=0)
        except Empty:
            return
        execution = self._executions.get(message["parent_header"].get("msg_id"))
        if execution is not None and message["msg_type"] == "execute_reply":
            execution.reply = message["content"]


def fail(kernel: Kernel, code: str) -> Execution:
    """Run a cell that may fail; ipykernel 6 would abort the next one if it came soon."""
    return kernel.run(code, stop_on_error=False)


def subshell(kernel: Kernel) -> str:
    """Make a subshell, which ipykernel has from 7 on; gives its number."""
    client = kernel.client
    request = client.session.msg("create_subshell_request")
    client.control_channel.send(request)
    while True:
        reply = client.control_channel.get_msg(timeout=SECONDS)
        if reply["parent_header"].get("msg_id") == request["header"]["msg_id"]:
            number: str = reply["content"]["subshell_id"]
            return number


def submit_to(kernel: Kernel, number: str, code: str, *, asks: bool = False) -> Execution:
    """Send a cell to a subshell."""
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": asks}
    message = kernel.client.session.msg("execute_request", content)
    message["header"]["subshell_id"] = number
    kernel.client.shell_channel.send(message)
    execution = Execution(kernel, message["header"]["msg_id"])
    kernel._executions[execution.number] = execution
    return execution


class Cells:
    """
    Cells of one shell of a kernel.

    Args:
        kernel: the kernel.
        number: that of a subshell, or None.
    """

    def __init__(self, kernel: Kernel, number: str | None) -> None:
        self._kernel = kernel
        self._number = number

    def ok(self, code: str) -> Execution:
        """Run a cell that must succeed and write nothing to stderr."""
        kernel = self._kernel
        if self._number is None:
            return kernel.ok(code)
        execution = submit_to(kernel, self._number, code).wait()
        assert execution.reply is not None
        assert execution.reply["status"] == "ok", execution.traceback
        assert execution.printed("stderr") == ""
        return execution

    def value(self, code: str) -> str | None:
        """The text of a cell's result."""
        return self.ok(code).value
