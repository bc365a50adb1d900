"""A file of texts with labels that no declaration describes: what its labels mean, and its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pipelines.errors import DataError
from pipelines.labels import BINARY, Classes
from pipelines.tables.label_maps import canonical_labels, map_labels
from pipelines.tables.table import Table

if TYPE_CHECKING:
    import polars as pl

_MOST_VALUES: Final = 10_000


class LabelledTable:
    """A table whose label column is understood.

    It is read twice: once for the values of the labels, since they mean something only together,
    and once for the rows. So it may be larger than the memory.

    Parameters
    ----------
    table : Table
    text, label : str, optional
        The two columns by name or number; None: those that look like them.
    labels : str, optional
        What the values mean, as for `parse_label_map`; None: it is guessed.
    drop : sequence of str
        Label values whose rows are left out.
    classes : Classes
        Those of the model that the labels are for; rows of others are left out.

    Raises
    ------
    DataError
        If a column is not there, or it is not clear what a value means.
    """

    def __init__(
        self,
        table: Table,
        text: str | None = None,
        label: str | None = None,
        labels: str | None = None,
        drop: Sequence[str] = (),
        classes: Classes = BINARY,
    ) -> None:
        self.table = table
        self.label = table.label_column(label)
        self.text = table.text_column(text)
        if self.text == self.label:
            raise DataError(
                f"{table.name}: texts and labels cannot both be in column {self.text!r}. "
                "Choose two columns."
            )
        self.counts: Counter[str] = Counter()
        """Rows of each canonical label value."""
        self._unlabelled = 0
        self._count()
        self.map = map_labels(self.counts, labels, drop, classes)
        self._without_text = 0

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows with a text and a label that means a class.

        Yields
        ------
        pl.DataFrame
            ``text`` (String), ``label`` (Int8, the number of the class) and ``line`` (Int64).

        Raises
        ------
        DataError
            If there is none.
        """
        import polars as pl

        rows = self._without_text = 0
        for batch in self.table.batches([self.text, self.label]):
            labelled = batch.frame.select(
                text=pl.col(self.text),
                label=canonical_labels(pl.col(self.label)).replace_strict(
                    self.map.codes, default=None, return_dtype=pl.Int8
                ),
                line=batch.lines,
            ).drop_nulls("label")
            written = labelled.filter(pl.col("text").str.strip_chars().fill_null("") != "")
            self._without_text += labelled.height - written.height
            rows += written.height
            if written.height:
                yield written
        if not rows:
            raise DataError(f"{self.table.name} has no row with a text and a label.")

    def messages(self) -> list[str]:
        """The format of the file, the meaning of its labels, and the rows left out."""
        columns = f"Texts from column {self.text!r}, labels from column {self.label!r}."
        found = [self.table.describe(), columns, *self.map.describe(self.counts)]
        for count, what in ((self._unlabelled, "a label"), (self._without_text, "a text")):
            if count:
                found.append(f"Left out: {count:,} row{'s' * (count != 1)} without {what}.")
        return found

    def warnings(self) -> list[str]:
        """Problems of the file and of its labels."""
        one_class = self.map.one_class(self.counts)
        return [*self.table.messages(), *([one_class] if one_class else [])]

    def _count(self) -> None:
        import polars as pl

        for batch in self.table.batches([self.label]):
            values = batch.frame.select(canonical_labels(pl.col(self.label))).to_series()
            self._unlabelled += values.null_count()
            for value, count in values.drop_nulls().value_counts(name="n").iter_rows():
                self.counts[value] += count
                if len(self.counts) > _MOST_VALUES:
                    raise DataError(
                        f"{self.table.name}: column {self.label!r} has more than {_MOST_VALUES:,} "
                        "different values, so it holds no labels. Choose another column."
                    )
