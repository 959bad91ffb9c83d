"""A kernel for cells with scripts, which leave nothing behind, and a web server for them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from kernels import Execution, Kernel

__all__ = ["SETUP", "cancel", "cell", "kernel_of_scripts", "last_line", "script", "unchanged"]

SETUP = """
import asyncio, os, threading
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
"""


class _Pages(BaseHTTPRequestHandler):
    """A site whose connections are kept."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the path."""
        body = f"<h1>page {self.path}</h1>".encode()
        self.send_response(404 if self.path == "/robots.txt" else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def cell(code: str) -> str:
    """A cell, as typed."""
    return textwrap.dedent(code).strip()


@contextmanager
def pages() -> Iterator[str]:
    """The address of a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def cancel(kernel: Kernel, name: str) -> None:
    """Cancel a job, and wait until it has ended so."""
    kernel.ok(f"%reactor cancel {name}")
    kernel.pump(lambda: kernel.value(f"{name}.state") == "'cancelled'")


@contextmanager
def kernel_of_scripts(reactor: str = "") -> Iterator[Kernel]:
    """
    A kernel with the names that most scripts need, and the address of a web server.

    Args:
        reactor: the reactor without an asyncio loop to install before loading, if any.
    """
    with pages() as site, Kernel(load=not reactor) as kernel:
        if reactor:
            kernel.ok(f"from twisted.internet import {reactor}reactor as it\nit.install()")
            kernel.run("%load_ext twisted_ipython\n%autoawait twisted")
        kernel.ok(SETUP + f"site = {site!r}" + WATCHED)
        # A connection of the session's, which stays in treq's pool.
        kernel.ok("import treq\nassert await (await treq.get(site)).text()")
        yield kernel


@contextmanager
def unchanged(kernel: Kernel) -> Iterator[Kernel]:
    """Within, scripts may run, which leave the kernel as it was."""
    before = kernel.value("watched()")
    yield kernel
    # What has printed its last line may have a turn to go.
    kernel.ok("await deferLater(reactor, 0.01)")
    assert kernel.value("watched()") == before


# What a script must not leave behind, and whether the reactor still turns.
WATCHED = """
def watched():
    from twisted_ipython._reactor.lifecycle import current
    from twisted_ipython._scripts.registry import Scripts
    triggers = reactor._eventTriggers["shutdown"]
    loop = getattr(reactor, "_asyncioEventloop", None)
    return (len(current().of(Scripts).alive), len(reactor.getReaders()),
            loop and len(asyncio.all_tasks(loop)),
            *(len(getattr(triggers, phase)) for phase in ("before", "during", "after")))
"""


def script(code: str, line: str = "--wait") -> str:
    """A cell with a script."""
    return f"%%run_in_reactor {line}\n{textwrap.dedent(code).strip()}\n"


def last_line(execution: Execution) -> str:
    """The last line of a traceback: the exception and its message."""
    return execution.traceback.strip().splitlines()[-1]
