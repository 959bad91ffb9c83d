"""Runs a notebook in a kernel of this Python and shows it in the terminal, cell by cell.

Without arguments it is the tour. The exit status is 0 only if no cell failed.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from traitlets import default

TOUR = Path(__file__).with_name("tour.ipynb")
CELL_SECONDS = 60
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ThisPython(KernelSpecManager):
    """Knows one kernel, that of the Python that runs: nothing need be installed for Jupyter."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The way to start that kernel, whatever name is asked for."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv.append("--log-level=40")  # errors only: newer kernels warn about TCP on 127.0.0.1
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class Kernel(AsyncKernelManager):
    """Starts that kernel."""

    @default("kernel_spec_manager")
    def _this_python(self) -> KernelSpecManager:
        return ThisPython()


def main(arguments: list[str] | None = None) -> int:
    """Run the notebook; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", nargs="?", type=Path, default=TOUR)
    parser.add_argument("--save", action="store_true", help="write the outputs to the notebook")
    options = parser.parse_args(arguments)
    notebook = nbformat.read(options.notebook, as_version=4)
    if not show(notebook):
        return 1
    if options.save:
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, options.notebook)
    return 0


def show(notebook: Any) -> bool:
    """Run all cells and print them; tell whether all went well."""
    client = NotebookClient(
        notebook, kernel_manager_class=Kernel, timeout=CELL_SECONDS, record_timing=False
    )
    number = 0
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                say(cell.source)
                continue
            number += 1
            say(as_typed(cell.source, number))
            try:
                client.execute_cell(cell, index, execution_count=number)
            except (CellControlSignal, DeadKernelError) as error:
                say(shown(cell.outputs) or str(error))
                say(f"Cell {number} failed. The cells after it were not run.")
                return False
            say(shown(cell.outputs))
    return True


def as_typed(source: str, number: int) -> str:
    """The cell with IPython's prompts."""
    first = f"In [{number}]: "
    rest = "...: ".rjust(len(first))
    return "\n".join(map(str.rstrip, (first + source.replace("\n", f"\n{rest}")).split("\n")))


def shown(outputs: list[Any]) -> str:
    """What the terminal shows of a cell's outputs."""
    return "".join(line(output) for output in outputs).rstrip()


def line(output: Any) -> str:
    """One output as text that ends its line."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return "\n".join(output.traceback) + "\n"
    text = output.data.get("text/plain", "")
    if output.output_type == "execute_result":
        text = f"Out[{output.execution_count}]: {text}"
    return f"{text}\n"


def say(text: str) -> None:
    """Print `text` and an empty line, in colour only to a terminal."""
    if text:
        print(text if sys.stdout.isatty() else COLOUR.sub("", text), end="\n\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
