"""Labels of raw files: what their values are declared to mean, and those that mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pipelines.datasets.sources import Source
from pipelines.errors import DataError
from pipelines.labels import Classes
from pipelines.tables.findings import numbered, shortened
from pipelines.tables.label_maps import canonical_label

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config.params import Dataset, Params

_SHOWN_VALUES: Final = 5
_SHOWN_LINES: Final = 3


class UnknownLabels:
    """Counts the label values that no declaration mentions, and remembers where they stand."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._first_lines: dict[str, list[int]] = {}

    def add(self, rows: pl.DataFrame) -> None:
        """Take in `rows` with the columns ``value`` and ``line``."""
        import polars as pl

        found = rows.group_by("value", maintain_order=True).agg(
            pl.len(), pl.col("line").head(_SHOWN_LINES)
        )
        for value, count, first in found.iter_rows():
            self.counts[value] = self.counts.get(value, 0) + count
            known = self._first_lines.setdefault(value, [])
            known.extend(first[: _SHOWN_LINES - len(known)])

    def check(self, source: Source, unit: str = "line") -> None:
        """Raise a `DataError` that lists them, if there are any."""
        if not self.counts:
            return
        commonest = sorted(self.counts, key=lambda value: (-self.counts[value], value))
        shown = commonest[:_SHOWN_VALUES]
        found = "; ".join(self._describe(value, unit) for value in shown)
        hidden = len(commonest) - len(shown)
        more = f"; and {hidden:,} more values" if hidden else ""
        declaration = source.declaration
        drop = [*declaration.drop, *map(shortened, shown)]
        raise DataError(
            f"{source.path}: column {declaration.label!r} holds undeclared labels: {found}{more}. "
            f"Add each to {source.where}: under {_classes(declaration)}, or, to leave its rows "
            f"out, as drop: [{', '.join(drop)}]."
        )

    def _describe(self, value: str, unit: str) -> str:
        count = self.counts[value]
        places = numbered(unit, self._first_lines[value], count)
        return f"{shortened(value)!r} ({count:,} row{'s' * (count != 1)}, {places})"


def undeclared(batch: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The rows of a batch whose label stands neither in `labels` nor in `drop`."""
    import polars as pl

    left_out = [canonical_label(value) for value in dataset.drop]
    return batch.filter(
        pl.col("label").is_null()
        & pl.col("value").is_not_null()
        & ~pl.col("value").is_in(left_out or [""])
    )


def _classes(dataset: Dataset) -> str:
    """`labels.negative or labels.positive`; of many classes, the first ones."""
    shown = [f"labels.{name}" for name in dataset.classes[:_SHOWN_VALUES]]
    if len(dataset.classes) > _SHOWN_VALUES:
        return f"one of {', '.join(shown)}, ..."
    return " or ".join([", ".join(shown[:-1]), shown[-1]])


def label_codes(dataset: Dataset) -> dict[str, int]:
    """The number of the class, in the order of `Dataset.classes`, of each declared value."""
    return {
        canonical_label(value): number
        for number, name in enumerate(dataset.classes)
        for value in dataset.labels[name]
    }


def recoded(texts: pl.DataFrame, params: Params, names: Sequence[str]) -> pl.DataFrame:
    """Labels in the numbers of the classes of the data sets `names` together.

    Those of prepared texts, with the columns ``label`` and ``dataset``, are numbers of the
    classes of their own data set.
    """
    import polars as pl

    classes = params.class_names(names)
    together = {
        name: [classes.index(each) for each in params.datasets[name].classes] for name in names
    }
    if all(numbers == list(range(len(numbers))) for numbers in together.values()):
        return texts
    label = pl.col("label")
    for name, numbers in together.items():
        label = (
            pl.when(pl.col("dataset") == name)
            .then(pl.col("label").replace_strict(dict(enumerate(numbers)), default=None))
            .otherwise(label)
        )
    return texts.with_columns(label.cast(pl.Int8).alias("label"))


def relabelled(texts: pl.DataFrame, declared: Classes, wanted: Classes) -> pl.DataFrame:
    """Labels that are numbers of the classes `declared` as numbers of those that are `wanted`.

    Rows of classes that are not wanted are left out.

    Raises
    ------
    DataError
        If the two have fewer than two classes in common.
    """
    import polars as pl

    if wanted.names == declared.names:
        return texts
    numbers = {
        number: wanted.names.index(name)
        for number, name in enumerate(declared.names)
        if name in wanted.names
    }
    if len(numbers) < 2:
        raise DataError(
            f"The model has the classes {', '.join(wanted.names)}, the data sets of "
            f"conf/params.yaml have {', '.join(declared.names)}. Name another model, or evaluate "
            "on a file: olens evaluate MODEL --data FILE"
        )
    label = pl.col("label").replace_strict(numbers, default=None, return_dtype=pl.Int8)
    return texts.with_columns(label).drop_nulls("label")
