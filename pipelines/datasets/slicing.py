"""Slices of the test splits, to see for which kind of text a model is good.

============== ===================================================================================
balanced       as many texts of each class of each data set, chosen by hash
short, long    the quarter of each data set with the fewest, the most words
common_words,  the quarter of each data set whose words are the most, the least usual in its
rare_words     train split: by the mean, over the distinct words of a text, of the logarithm of
               the number of train texts that have the word, plus one
<data set>     all of one data set
============== ===================================================================================

Quarters are cut within each data set: cut across all of them, `short` would mostly separate tweets
from reviews. A word is a run of letters, digits and underscores, in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.datasets.labels import recoded
from pipelines.datasets.reports import SliceReport, class_counts, write_report
from pipelines.datasets.splitting import mix_with_seed
from pipelines.errors import DataError
from pipelines.files import fingerprint, replaced_folder

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config.params import Params
    from pipelines.config.settings import Settings

QUARTERS: Final = ("short", "long", "common_words", "rare_words")
RESERVED: Final = frozenset({"slices", "balanced", *QUARTERS})
"""Names that a data set cannot have."""

_COUNTED_TEXTS: Final = 50_000
"""Train texts in which words are counted: enough to know the common ones. They are in the order of
their hash: the first ones are as good as any."""
_BATCH_TEXTS: Final = 10_000


def prepare_slices(settings: Settings, params: Params) -> SliceReport:
    """Cut the slices from the prepared test splits of all declared data sets.

    They are written to ``paths.slices``, one Parquet file each, with the columns
    ``text``, ``label`` (the number of the class in its data set) and ``dataset``. A slice without
    texts is not written.

    Raises
    ------
    DataError
        If a declared data set has not been prepared.
    StorageError
        If the slices cannot be written.
    """
    import polars as pl

    parts: dict[str, list[pl.DataFrame]] = {"balanced": [], **{name: [] for name in QUARTERS}}
    hashes = {}
    for name in params.datasets:
        folder = settings.paths.prepared / name
        train, test = _read(folder, "train", _COUNTED_TEXTS), _read(folder, "test")
        hashes[name] = fingerprint(folder / "test.parquet")[1]
        test = test.with_columns(pl.lit(name).alias("dataset"))
        parts[name] = [test]
        classes = params.datasets[name].classes
        for slice_name, rows in _cut(train, test, params.seed, classes).items():
            parts[slice_name].append(rows)
    slices = {name: pl.concat(rows).sort("dataset", "digest") for name, rows in parts.items()}
    slices = {name: rows for name, rows in slices.items() if not rows.is_empty()}
    names, classes = list(params.datasets), params.class_names()
    report = SliceReport(
        test_splits=hashes,
        slices={
            name: class_counts(recoded(rows, params, names), classes)
            for name, rows in slices.items()
        },
    )
    with replaced_folder(settings.paths.slices) as folder:
        for name, rows in slices.items():
            rows.select("text", "label", "dataset").write_parquet(folder / f"{name}.parquet")
        write_report(folder, report)
    return report


def _read(folder: Path, split: str, rows: int | None = None) -> pl.DataFrame:
    import polars as pl

    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Run: olens preprocess {folder.name}")
    return pl.read_parquet(path, n_rows=rows)


def _cut(
    train: pl.DataFrame, test: pl.DataFrame, seed: int, classes: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """The slices of one data set."""
    import polars as pl

    chance = pl.Series("chance", mix_with_seed(test["digest"].to_numpy(), seed + 1))
    frequency = _document_frequency(train["text"])
    # Some texts at a time: their words take many times the memory of the texts.
    parts = [test.slice(start, _BATCH_TEXTS) for start in _starts(test.height)]
    measured = pl.concat(
        part.with_columns(
            _words(pl.col("text")).list.len().alias("words"), _commonness(part["text"], frequency)
        )
        for part in parts
    ).with_columns(chance)
    smallest_class = min(class_counts(test, classes).values())
    quarter = test.height // 4
    balanced = measured.filter(
        pl.col("chance").rank("ordinal").over("label") <= smallest_class,
    )
    by_words = measured.sort("words", "digest")
    by_commonness = measured.sort("commonness", "digest")
    cut = {
        "balanced": balanced,
        "short": by_words.head(quarter),
        "long": by_words.tail(quarter),
        "rare_words": by_commonness.head(quarter),
        "common_words": by_commonness.tail(quarter),
    }
    return {name: rows.select(test.columns) for name, rows in cut.items()}


def _starts(n_texts: int) -> range:
    return range(0, max(n_texts, 1), _BATCH_TEXTS)


def _words(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.extract_all(r"\w+")


def _occurrences(texts: pl.Series) -> pl.DataFrame:
    """One row for each text (``index``) and each of its words (``word``)."""
    import polars as pl

    return (
        pl.DataFrame({"text": texts})
        .with_row_index("index")
        .select("index", _words(pl.col("text")).alias("word"))
        .explode("word")
        .drop_nulls()
    )


def _document_frequency(texts: pl.Series) -> pl.DataFrame:
    """``word`` and the number of texts (``documents``) that have it."""
    import polars as pl

    counts = [
        _occurrences(texts.slice(start, _BATCH_TEXTS))
        .group_by("word")
        .agg(pl.col("index").n_unique().alias("documents"))
        for start in _starts(len(texts))
    ]
    return pl.concat(counts).group_by("word").agg(pl.col("documents").sum())


def _commonness(texts: pl.Series, frequency: pl.DataFrame) -> pl.Series:
    """Mean logarithm of the document frequency of each text's words, 0 for a text without any."""
    import polars as pl

    means = (
        _occurrences(texts)
        .join(frequency, on="word", how="left")
        .group_by("index")
        .agg(pl.col("documents").fill_null(0).log1p().mean().alias("commonness"))
    )
    rows = pl.DataFrame({"index": pl.Series(range(len(texts)), dtype=pl.UInt32)})
    joined = rows.join(means, on="index", how="left", maintain_order="left")
    return joined["commonness"].fill_null(0.0)
