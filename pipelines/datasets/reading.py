"""Raw files: a declared CSV, Parquet or JSONL file -> batches of texts and labels.

Only the two declared columns are read, batch by batch, so a file may be larger than the memory.
What is not as declared is an error that says where it stands and what to do.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.datasets.encodings import utf8_file
from pipelines.datasets.labels import UnknownLabels, canonical_labels, label_codes, undeclared
from pipelines.datasets.lines import malformed_error
from pipelines.datasets.sources import (
    Source,
    check_file,
    did_you_mean,
    file_format,
    separator_of,
)
from pipelines.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from pipelines.params import Dataset

_BATCH_ROWS: Final = 50_000
_ROW: Final = "__row"


def read_batches(source: Source) -> Iterator[pl.DataFrame]:
    """Read the two declared columns, batch by batch in the order of the file.

    Yields
    ------
    pl.DataFrame
        ``row`` (UInt32, from 0), ``text`` (String, null where the file has nothing), ``value``
        (String, the label as written but for letter case, outer white space and a whole number's
        ``.0``; null where blank), ``label`` (Int8, 0 negative, 1 positive, null for any other).

    Raises
    ------
    DataError
        If the file is missing, unreadable, malformed, in another encoding, or lacks a column.
    """
    import polars as pl

    check_file(source)
    codes = label_codes(source.declaration)
    with _readable(source) as path:
        frame = _select(_scan(source, path), source, path).with_columns(
            label=pl.col("value").replace_strict(codes, default=None, return_dtype=pl.Int8)
        )
        yield from frame.collect_batches(chunk_size=_BATCH_ROWS, lazy=True)


def read_labelled(path: Path, dataset: Dataset) -> pl.DataFrame:
    """Read a labelled file as it is: nothing is normalised and duplicates stay.

    Rows with a blank label, a label that `dataset` drops or no text at all are left out.

    Returns
    -------
    pl.DataFrame
        ``text`` (String) and ``label`` (Int8, 0 negative, 1 positive), in the order of the file.

    Raises
    ------
    DataError
        As `read_batches`, and for undeclared labels or when no row remains.
    """
    import polars as pl

    source = Source(path, dataset)
    unknown = UnknownLabels()
    parts = []
    for batch in read_batches(source):
        unknown.add(undeclared(batch, dataset))
        parts.append(batch.select("text", "label").drop_nulls())
    unknown.check(source)
    labelled = pl.concat(parts) if parts else pl.DataFrame()
    if labelled.is_empty():
        raise DataError(f"{path} has no row with a text and a label")
    return labelled


def check_columns(source: Source) -> list[str]:
    """Check that the file can be opened and has the declared columns; returns all their names.

    Raises
    ------
    DataError
        As `read_batches`.
    """
    check_file(source)
    with _readable(source) as path:
        _select(_scan(source, path), source, path)
        return _columns(source, path)


@contextmanager
def _readable(source: Source) -> Iterator[Path]:
    """A file that Polars can scan. What Polars then says about it is put into our words."""
    import polars as pl

    try:
        with utf8_file(source) as path:
            yield path
    except pl.exceptions.NoDataError:
        raise DataError(f"{source.path} is empty") from None
    except pl.exceptions.PolarsError as error:
        raise malformed_error(source, error) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{source.path} is not a complete gzip file: {error}") from None


def _scan(source: Source, path: Path) -> pl.LazyFrame:
    """All columns of the UTF-8 (or Parquet) file `path`, lazily; those of text files as String."""
    import polars as pl

    form = file_format(source.path)
    if form == "parquet":
        return pl.scan_parquet(path, glob=False, row_index_name=_ROW)
    if form == "csv":
        return pl.scan_csv(
            path,
            glob=False,
            infer_schema=False,
            separator=separator_of(source),
            row_index_name=_ROW,
        )
    wanted = dict.fromkeys((source.declaration.text, source.declaration.label), pl.String)
    return pl.scan_ndjson(path, schema=wanted, row_index_name=_ROW)


def _select(frame: pl.LazyFrame, source: Source, path: Path) -> pl.LazyFrame:
    """Check the two declared columns and give them our names."""
    import polars as pl

    declaration = source.declaration
    names = _columns(source, path)
    for column in (declaration.text, declaration.label):
        if column not in names:
            raise _missing_column(source, column, names)
    schema = frame.collect_schema()
    _check_types(source, schema)
    label = pl.col(declaration.label)
    if schema[declaration.label].is_float():
        label = label.fill_nan(None)
    return frame.select(
        pl.col(_ROW).cast(pl.UInt32).alias("row"),
        pl.col(declaration.text).cast(pl.String).alias("text"),
        canonical_labels(label).alias("value"),
    )


def _columns(source: Source, path: Path) -> list[str]:
    import polars as pl

    if file_format(source.path) != "jsonl":
        return [name for name in _scan(source, path).collect_schema().names() if name != _ROW]
    wanted = {source.declaration.text, source.declaration.label}
    names: list[str] = []
    for length in (1_000, None):  # A key may be missing from the first lines; then look at all.
        names = pl.scan_ndjson(path, infer_schema_length=length).collect_schema().names()
        if wanted <= set(names):
            break
    return names


def _check_types(source: Source, schema: pl.Schema) -> None:
    import polars as pl

    text, label = schema[source.declaration.text], schema[source.declaration.label]
    if text not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise DataError(
            f"{source.path}: column {source.declaration.text!r} holds {text}, not text. "
            f"{source.correction}"
        )
    if label.is_nested() or label == pl.Binary:
        raise DataError(
            f"{source.path}: column {source.declaration.label!r} holds {label}, not labels. "
            f"{source.correction}"
        )


def _missing_column(source: Source, column: str, names: Sequence[str]) -> DataError:
    message = (
        f"{source.path} has no column {column!r}{did_you_mean(column, names)} "
        f"It has: {', '.join(names) or 'none'}. {source.correction}"
    )
    separators = {";": "';'", "\t": r"'\t'", "|": "'|'"}
    if len(names) == 1 and (hint := [s for c, s in separators.items() if c in names[0]]):
        message += f" If columns are separated by {hint[0]}, add separator: {hint[0]} there."
    return DataError(message)
