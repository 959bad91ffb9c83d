"""Measurements, as a table, and as files that pyperf compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import pyperf

__all__ = ["Comparison", "save", "table"]

_HEADINGS: Final = ("what", "ours", "other", "", "ratio", "least", "most", "limit", "ok")


@dataclass(frozen=True)
class Comparison:
    """
    One thing, measured in turn on both sides.

    Attributes:
        what: the thing.
        against: the other side's name.
        ours: our measurements, in ``unit``.
        other: those of the other side, each made next to ours of that place.
        limit: the most that the ratio may be, or None if there is none.
        unit: ``second`` or ``byte``.
        turns: how many of them one pair of processes made.
    """

    what: str
    against: str
    ours: Sequence[float]
    other: Sequence[float]
    limit: float | None = None
    unit: str = "second"
    turns: int = 1

    @property
    def ratios(self) -> list[float]:
        """Ours to the other, for each pair."""
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios of the pairs."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most, of what is the median for each pair of processes."""
        ratios, turns = self.ratios, self.turns
        rounds = [median(ratios[at : at + turns]) for at in range(0, len(ratios), turns)]
        return min(rounds), max(rounds)

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.limit is None or self.ratio <= self.limit

    def benchmark(self, values: Sequence[float]) -> pyperf.Benchmark:
        """One side's measurements, as pyperf keeps them."""
        metadata = {"name": self.what, "unit": self.unit}
        return pyperf.Benchmark([pyperf.Run([value], metadata=metadata) for value in values])

    def row(self) -> list[str]:
        """The texts of its row."""
        sides = (self.benchmark(self.ours), self.benchmark(self.other))
        ours, other = (side.format_value(side.median()) for side in sides)
        ratios = [_figures(ratio) for ratio in (self.ratio, *self.spread)]
        if self.limit is None:
            verdict = ["", ""]
        else:
            verdict = [_figures(self.limit), "yes" if self.kept else "NO"]
        return [self.what, ours, other, self.against, *ratios, *verdict]


def _figures(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.4f}"


def table(comparisons: Sequence[Comparison]) -> str:
    """One row for each comparison: medians, the median ratio of the pairs, and its spread."""
    rows = [list(_HEADINGS), *(one.row() for one in comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def save(comparisons: Sequence[Comparison], folder: Path) -> None:
    """Keep the measurements: ``python -m pyperf compare_to other.json ours.json --table``."""
    folder.mkdir(parents=True, exist_ok=True)
    for side in ("ours", "other"):
        kept = pyperf.BenchmarkSuite([one.benchmark(getattr(one, side)) for one in comparisons])
        kept.dump(str(folder / f"{side}.json"), replace=True)
