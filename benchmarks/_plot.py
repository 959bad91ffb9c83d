"""The table as a picture: a bar for each ratio, with its spread, its limit and the other side."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks._table import Comparison

__all__ = ["plot"]

_LIBRARIES: Final = ("Twisted", "crochet", "IPython", "ipykernel", "Scrapy", "twisted_ipython")
# Text stays text, and the same measurements give the same file.
_SVG: Final = {"svg.fonttype": "none", "svg.hashsalt": "twisted_ipython"}


def _processor() -> str:
    """What Linux calls the processor, or what Python calls the machine."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _where() -> str:
    """The machine and the versions."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    machine = f"{os.cpu_count()} x {_processor()}, {platform.system()}"
    return f"{machine}, {platform.python_implementation()} {platform.python_version()}\n{libraries}"


def plot(comparisons: Sequence[Comparison], file: Path) -> None:
    """
    Draw what was measured in seconds.

    Args:
        comparisons: the rows of the table.
        file: where to; its ending says in which format.
    """
    rows = [one for one in comparisons if one.unit == "second"]
    ratios = [one.ratio for one in rows]
    # A ratio of few processes may lie outside of the medians that are its spread.
    below = [max(0.0, one.ratio - one.spread[0]) for one in rows]
    above = [max(0.0, one.spread[1] - one.ratio) for one in rows]
    with mpl.rc_context(_SVG):
        figure = Figure(figsize=(9, 1.6 + 0.27 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        colors = ["tab:green" if one.kept else "tab:orange" for one in rows]
        axes.barh(range(len(rows)), ratios, xerr=[below, above], color=colors, alpha=0.6)
        limits = [(one.limit, at) for at, one in enumerate(rows) if one.limit is not None]
        axes.plot(*zip(*limits, strict=True), "k|", markersize=11, label="the limit")
        axes.axvline(1, color="gray", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"{one.what} / {one.against}" for one in rows])
        axes.invert_yaxis()
        axes.set_xlabel("ours / the other side (median of neighbours; least and most)")
        axes.legend(loc="lower right")
        figure.suptitle(_where(), fontsize="small")
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
