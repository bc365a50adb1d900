"""Raw rows -> one row for each distinct text that has a label, and a tally of the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.datasets.labels import UnknownLabels, undeclared
from pipelines.datasets.reading import open_source, read_batches
from pipelines.datasets.sources import Source
from pipelines.datasets.spilling import Spill
from pipelines.tables.ahead import ahead
from pipelines.tables.label_maps import canonical_label
from pipelines.tables.table import Table

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[int], None]
"""Called with the number of rows done since the last call."""


class Tally(msgspec.Struct):
    """What became of the rows of a file. `rows` is the sum of the others but `conflicting`."""

    rows: int = 0
    kept: int = 0
    malformed: int = 0
    """Could not be read, a quote is broken for example."""
    blank_label: int = 0
    dropped_label: int = 0
    """Left out because the declaration says so."""
    unknown_label: int = 0
    """`olens data verify` counts them; for `olens preprocess` they are an error."""
    blank_text: int = 0
    """Nothing is left of the text after normalisation."""
    duplicate: int = 0
    """Equal after normalisation to a row that was kept."""
    tie: int = 0
    """Rows of texts that have their commonest label as often as another one."""
    conflicting: int = 0
    """Distinct texts, kept or not, that have several labels. Not a reason of its own."""

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out on purpose, by reason."""
        reasons = ("malformed", "blank_label", "dropped_label", "blank_text", "duplicate", "tie")
        return {reason: getattr(self, reason) for reason in reasons}


def clean(
    source: Source, on_progress: Progress | None = None, table: Table | None = None
) -> tuple[pl.DataFrame, Tally, UnknownLabels]:
    """Read, normalise and deduplicate a file in memory.

    Texts that are equal after normalisation become one row with the label of the majority; where
    there is none, the text is left out.

    Parameters
    ----------
    source : Source
    on_progress : callable, optional
        Called with the number of rows done since the last call.
    table : Table, optional
        The file, if it is open already.

    Returns
    -------
    texts : pl.DataFrame
        ``text`` (String, normalised), ``label`` (Int8), ``digest`` (UInt64, ascending, unique).
        The same for every order of the file's rows.
    tally : Tally
    unknown : UnknownLabels
        Labels that are not declared, whose rows are not in `texts`.

    Raises
    ------
    DataError
        As `read_batches`.
    """
    parts, tally, unknown = clean_parts(source, Spill(Path(), sys.maxsize), on_progress, table)
    (texts,) = parts
    return texts, tally, unknown


def clean_parts(
    source: Source,
    held: Spill,
    on_progress: Progress | None = None,
    table: Table | None = None,
) -> tuple[Iterator[pl.DataFrame], Tally, UnknownLabels]:
    """The same in bounded memory, in parts.

    Parameters
    ----------
    held : Spill
        Keeps the rows between reading and deduplicating.

    Returns
    -------
    parts : iterator of pl.DataFrame
        One below the other, they are the `texts` of `clean`.
    tally : Tally
        Complete after the last part.
    unknown : UnknownLabels
    """
    import polars as pl

    tally, unknown = Tally(), UnknownLabels()
    held.add(_normalised([], []))
    table = table or open_source(source)
    for batch in ahead(read_batches(source, table)):
        _count_labels(batch, source, tally, unknown)
        labelled = batch.filter(pl.col("label").is_not_null())
        part = _normalised(labelled["text"].fill_null(""), labelled["label"])
        with_text = part.filter(pl.col("text") != "")
        tally.blank_text += part.height - with_text.height
        held.add(with_text)
        if on_progress:
            on_progress(batch.height)
    tally.malformed = table.findings.lost
    tally.rows += tally.malformed
    n_classes = len(source.declaration.classes)
    return (_deduplicated(part, n_classes, tally) for part in held.parts()), tally, unknown


def _count_labels(
    batch: pl.DataFrame, source: Source, tally: Tally, unknown: UnknownLabels
) -> None:
    left_out = [canonical_label(value) for value in source.declaration.drop]
    unlabelled = undeclared(batch, source.declaration)
    unknown.add(unlabelled)
    tally.rows += batch.height
    tally.unknown_label += unlabelled.height
    tally.blank_label += batch["value"].null_count()
    tally.dropped_label += int(batch["value"].is_in(left_out).sum()) if left_out else 0


def _normalised(texts: pl.Series | list[str], labels: pl.Series | list[int]) -> pl.DataFrame:
    import polars as pl

    from pipelines.text.normalise import normalise_column

    text, digest = normalise_column(pl.Series("text", texts, dtype=pl.String))
    return pl.DataFrame({"text": text, "label": pl.Series(labels, dtype=pl.Int8), "digest": digest})


def _deduplicated(rows: pl.DataFrame, n_classes: int, tally: Tally) -> pl.DataFrame:
    import polars as pl

    numbers = [str(number) for number in range(n_classes)]
    distinct = rows.group_by("digest").agg(
        pl.col("text").first(),
        *((pl.col("label") == int(n)).sum().cast(pl.Int64).alias(n) for n in numbers[1:]),
        pl.len().cast(pl.Int64).alias("count"),
    )
    distinct = distinct.with_columns(
        (pl.col("count") - pl.sum_horizontal(numbers[1:])).alias("0")
    ).with_columns(pl.max_horizontal(numbers).alias("most"))
    commonest = [pl.col(n) == pl.col("most") for n in numbers]
    decided = distinct.filter(pl.sum_horizontal(each.cast(pl.Int8) for each in commonest) == 1)
    tally.conflicting += distinct.filter(pl.col("most") < pl.col("count")).height
    tally.duplicate += int(decided["count"].sum()) - decided.height
    tally.tie += rows.height - int(decided["count"].sum())
    tally.kept += decided.height
    label = pl.coalesce(
        pl.when(each).then(pl.lit(number, pl.Int8)) for number, each in enumerate(commonest)
    )
    return decided.select("text", label.alias("label"), "digest").sort("digest")
