"""Labels of raw files: what their values mean, and those that mean nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipelines.datasets.lines import line_numbers
from pipelines.datasets.sources import Source, file_format
from pipelines.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from pipelines.params import Dataset

NEGATIVE: Final = 0
POSITIVE: Final = 1
_SHOWN_VALUES: Final = 5
_SHOWN_LINES: Final = 3
# Written by pandas when an integer column has gaps, and by JSON encoders: 5.0 means 5.
_WHOLE_NUMBER: Final = r"^([+-]?\d+)\.0*$"


class UnknownLabels:
    """Counts the label values that no declaration mentions, and remembers where they stand."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._first_rows: dict[str, list[int]] = {}

    def add(self, rows: pl.DataFrame) -> None:
        """Take in `rows` with the columns ``value`` and ``row``."""
        import polars as pl

        found = rows.group_by("value", maintain_order=True).agg(
            pl.len(), pl.col("row").head(_SHOWN_LINES)
        )
        for value, count, first in found.iter_rows():
            self.counts[value] = self.counts.get(value, 0) + count
            known = self._first_rows.setdefault(value, [])
            known.extend(first[: _SHOWN_LINES - len(known)])

    def check(self, source: Source) -> None:
        """Raise a `DataError` that lists them, if there are any."""
        if not self.counts:
            return
        commonest = sorted(self.counts, key=lambda value: (-self.counts[value], value))
        shown = commonest[:_SHOWN_VALUES]
        found = "; ".join(self._describe(value, source) for value in shown)
        hidden = len(commonest) - len(shown)
        more = f"; and {hidden:,} more values" if hidden else ""
        declaration = source.declaration
        raise DataError(
            f"{source.path}: column {declaration.label!r} holds undeclared labels: {found}{more}. "
            f"Add each to {source.where}: under labels.negative or labels.positive, or, to leave "
            f"its rows out, as drop: [{', '.join([*declaration.drop, *shown])}]."
        )

    def _describe(self, value: str, source: Source) -> str:
        rows = self._first_rows[value]
        places = ", ".join(f"{line:,}" for line in line_numbers(source, rows))
        unit = "row" if file_format(source.path) == "parquet" else "line"
        etc = ", ..." if self.counts[value] > len(rows) else ""
        plural = "" if len(rows) == 1 else "s"
        count = self.counts[value]
        return f"{value!r} ({count:,} row{'' if count == 1 else 's'}, {unit}{plural} {places}{etc})"


def undeclared(batch: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The rows of a batch whose label stands neither in `labels` nor in `drop`."""
    import polars as pl

    left_out = [canonical_label(value) for value in dataset.drop]
    return batch.filter(
        pl.col("label").is_null()
        & pl.col("value").is_not_null()
        & ~pl.col("value").is_in(left_out or [""])
    )


def label_codes(dataset: Dataset) -> dict[str, int]:
    """`NEGATIVE` or `POSITIVE` for each declared label value."""
    meaning = {"negative": NEGATIVE, "positive": POSITIVE}
    return {
        canonical_label(value): meaning[name]
        for name, values in dataset.labels.items()
        for value in values
    }


def canonical_label(value: str) -> str:
    """A declared label value in the form in which labels are compared."""
    return re.sub(_WHOLE_NUMBER, r"\1", value.strip().lower())


def canonical_labels(labels: pl.Expr) -> pl.Expr:
    """As `canonical_label`, for a column of any type; null where a value is blank."""
    import polars as pl

    value = (
        labels.cast(pl.String)
        .str.strip_chars()
        .str.to_lowercase()
        .str.replace(_WHOLE_NUMBER, "${1}")
    )
    return pl.when(value != "").then(value)
