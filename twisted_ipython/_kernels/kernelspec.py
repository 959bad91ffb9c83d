"""
``python -m twisted_ipython install`` and ``remove``: the kernel "Python 3 (Twisted)".

It is ipykernel with two arguments: one loads the extension beside those of the user's
configuration, the other switches awaiting on.

Thread: any; Jupyter is imported when it is used.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

COMMANDS: Final = ("install", "remove")
NAME: Final = "twisted"
DISPLAY_NAME: Final = "Python 3 (Twisted)"
INSTALLED: Final = "installed the kernel {name!r} in {folder}"
NOT_FOUND: Final = "\nJupyter does not look for kernels there, unless JUPYTER_PATH names {share}"
REMOVED: Final = "removed the kernel {name!r} from {folder}"
NO_JUPYTER: Final = "the kernel needs ipykernel, which is not installed: pip install ipykernel"
NO_KERNEL: Final = "there is no kernel {name!r} in {folders}; `jupyter kernelspec list` shows all"
NOT_OURS: Final = (
    "the kernel {name!r} is not one that `install` made: `jupyter kernelspec remove {name}`"
)
NOT_DONE: Final = "{error}; --user, --sys-prefix or --prefix DIR name another place"
_LOADS: Final = "--IPKernelApp.extra_extensions=twisted_ipython"
_ARGUMENTS: Final = [_LOADS, "--TwistedMagics.autoawait=True"]
# As ipykernel's own `install` has it: debugpy warns of frozen modules.
_PYTHON: Final = "-Xfrozen_modules=off"


def main(arguments: list[str]) -> None:
    """Install or remove the kernel and print where, or exit with why not.  Thread: any."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        line = _install(options) if options.command == "install" else _remove(options)
    except ImportError:
        parser.error(NO_JUPYTER)
    except ValueError as error:  # there is no kernel of that name, or it is no name for one
        parser.error(str(error))
    except OSError as error:  # the folder may not be written
        parser.error(NOT_DONE.format(error=error))
    print(line)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m twisted_ipython", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command, help=f"{command} the kernel {DISPLAY_NAME!r}")
        where = one.add_mutually_exclusive_group()
        where.add_argument("--user", action="store_true", help="for this user alone")
        where.add_argument(
            "--sys-prefix",
            action="store_const",
            const=sys.prefix,
            dest="prefix",
            help="in the environment of this Python",
        )
        where.add_argument("--prefix", metavar="DIR", help="below this folder")
        one.add_argument("--name", default=NAME, help=f"of its folder; by default {NAME!r}")
        if command == "install":
            one.add_argument("--display-name", default=DISPLAY_NAME, metavar="TEXT")
    return parser


def _install(options: Namespace) -> str:
    """Install the kernel, in place of one of that name; gives the line that says so."""
    from ipykernel.kernelspec import get_kernel_dict, write_kernel_spec
    from jupyter_client.kernelspec import KernelSpecManager

    argv = get_kernel_dict(_ARGUMENTS)["argv"]
    argv.insert(1, _PYTHON)
    with TemporaryDirectory() as folder:
        own = {"argv": argv, "display_name": options.display_name}
        path = write_kernel_spec(Path(folder) / NAME, own)
        place = {"user": options.user, "prefix": options.prefix}
        manager = KernelSpecManager()
        installed = Path(manager.install_kernel_spec(path, options.name, **place))
    line = INSTALLED.format(name=options.name, folder=installed)
    found = str(installed.parent) in manager.kernel_dirs
    return line if found else line + NOT_FOUND.format(share=installed.parents[1])


def _remove(options: Namespace) -> str:
    """Remove a kernel that `_install` made; gives the line that says so."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager(ensure_native_kernel=False)
    if options.user:
        manager.kernel_dirs = [manager.user_kernel_dir]
    elif options.prefix:
        manager.kernel_dirs = [str(Path(options.prefix, "share", "jupyter", "kernels"))]
    try:
        argv = manager.get_kernel_spec(options.name).argv
    except NoSuchKernel:
        folders = ", ".join(manager.kernel_dirs)
        raise ValueError(NO_KERNEL.format(name=options.name, folders=folders)) from None
    if _LOADS not in argv:
        raise ValueError(NOT_OURS.format(name=options.name))
    removed = manager.remove_kernel_spec(options.name.lower())
    return REMOVED.format(name=options.name, folder=removed)
