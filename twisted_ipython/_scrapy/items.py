"""The items of a crawl, which show themselves as a table.  Thread: any."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from itemadapter import ItemAdapter

from twisted_ipython._base.formatting import Report, Table

NO_PANDAS: Final = (
    "frame() makes a pandas.DataFrame, and pandas is not installed: `%pip install pandas`, or use"
    " the list of items as it is"
)
# How many rows of the table are shown.
_ROWS: Final = 60


def count(number: int, word: str) -> str:
    """So many things of one kind: ``1 page``, ``2,000 pages``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def name_of(crawler: Any) -> str:
    """The name of a crawler's spider, or of its class if that has none."""
    return getattr(crawler.spidercls, "name", None) or str(crawler.spidercls.__name__)


class Items(list[Any]):
    """The items of a crawl, which show themselves as a table."""

    def __init__(self, crawler: Any) -> None:
        super().__init__()
        self.crawler = crawler

    @property
    def stats(self) -> dict[str, Any]:
        """Scrapy's statistics of the crawl, so far.  Thread: any."""
        return dict(self.crawler.stats.get_stats())

    def __reduce__(self) -> Any:
        return list, (list(self),)  # a crawler cannot be pickled

    def frame(self) -> Any:
        """The items as a ``pandas.DataFrame``, a row for each.  Thread: any."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise ImportError(NO_PANDAS) from None
        return pandas.DataFrame([dict(ItemAdapter(item)) for item in self])

    def _report(self) -> Report:
        rows = [dict(ItemAdapter(item)) for item in self[:_ROWS]]
        headings = list(dict.fromkeys(str(name) for row in rows for name in row))
        cells = [[row.get(name, "") for name in headings] for row in rows]
        title = f"{count(len(self), 'item')} of {name_of(self.crawler)}"
        more = [f"... and {len(self) - _ROWS:,} more"] if len(self) > _ROWS else []
        return Report(Table(title, headings, cells), *more)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        printer.text(repr(self._report()))

    def _repr_html_(self) -> str:
        return self._report()._repr_html_()
