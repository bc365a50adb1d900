"""Raw rows -> one row for each distinct text that has a label, and a tally of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from pipelines.datasets.labels import POSITIVE, UnknownLabels, canonical_label, undeclared
from pipelines.datasets.reading import read_batches
from pipelines.datasets.sources import Source
from pipelines.errors import MissingExtraError

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[int], None]
"""Called with the number of rows done since the last call."""


class Tally(msgspec.Struct):
    """What became of the rows of a file. `rows` is the sum of the others but `conflicting`."""

    rows: int = 0
    kept: int = 0
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
    """Rows of texts that are labelled negative as often as positive."""
    conflicting: int = 0
    """Distinct texts, kept or not, that have both labels somewhere. Not a reason of its own."""

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out on purpose, by reason."""
        reasons = ("blank_label", "dropped_label", "blank_text", "duplicate", "tie")
        return {reason: getattr(self, reason) for reason in reasons}


def clean(
    source: Source, on_progress: Progress | None = None
) -> tuple[pl.DataFrame, Tally, UnknownLabels]:
    """Read, normalise and deduplicate a file.

    Texts that are equal after normalisation become one row with the label of the majority; where
    there is none, the text is left out.

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
    MissingExtraError
        If PyArrow is not installed.
    """
    import polars as pl

    _require_pyarrow()
    tally, unknown, parts = Tally(), UnknownLabels(), [_normalised([], [])]
    for batch in read_batches(source):
        _count_labels(batch, source, tally, unknown)
        labelled = batch.filter(pl.col("label").is_not_null())
        part = _normalised(labelled["text"].fill_null(""), labelled["label"])
        with_text = part.filter(pl.col("text") != "")
        tally.blank_text += part.height - with_text.height
        parts.append(with_text)
        if on_progress:
            on_progress(batch.height)
    texts = _deduplicated(pl.concat(parts), tally)
    tally.kept = texts.height
    return texts, tally, unknown


def _require_pyarrow() -> None:
    """Normalising a column needs it; the base installation, which only serves, lacks it."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyarrow", "train") from None


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

    from pipelines.datasets.normalise import normalise_column

    text, digest = normalise_column(pl.Series("text", texts, dtype=pl.String))
    return pl.DataFrame({"text": text, "label": pl.Series(labels, dtype=pl.Int8), "digest": digest})


def _deduplicated(rows: pl.DataFrame, tally: Tally) -> pl.DataFrame:
    import polars as pl

    positive, count = pl.col("positive"), pl.col("count")
    distinct = rows.group_by("digest").agg(
        pl.col("text").first(),
        (pl.col("label") == POSITIVE).sum().cast(pl.Int64).alias("positive"),
        pl.len().cast(pl.Int64).alias("count"),
    )
    decided = distinct.filter(2 * positive != count)
    tally.conflicting = distinct.filter((positive > 0) & (positive < count)).height
    tally.duplicate = int(decided["count"].sum()) - decided.height
    tally.tie = rows.height - int(decided["count"].sum())
    return decided.select(
        "text", (2 * positive > count).cast(pl.Int8).alias("label"), "digest"
    ).sort("digest")
