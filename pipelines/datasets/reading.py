"""Raw files: a declared file of rows -> batches of texts and labels.

Only the two declared columns are read, batch by batch, so a file may be larger than the memory.
What is not as declared is an error that says where it stands and what to do.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.datasets.labels import label_codes
from pipelines.datasets.sources import Source, check_file
from pipelines.errors import DataError
from pipelines.tables.label_maps import canonical_labels
from pipelines.tables.options import Options
from pipelines.tables.reading import open_table
from pipelines.tables.table import Table

if TYPE_CHECKING:
    import polars as pl


def open_source(source: Source) -> Table:
    """Open a declared file, and see whether it has the declared columns.

    Raises
    ------
    DataError
        If the file is missing, unreadable or something else than a file of rows, or lacks a
        column.
    """
    check_file(source)
    declaration = source.declaration
    table = open_table(
        source.path,
        options=Options(
            encoding=declaration.encoding,
            separator=declaration.separator,
            header=declaration.header,
            advice=lambda key, value: f"{key}: {value} in {source.where}",
        ),
    )
    _columns(table, source)
    return table


def read_batches(source: Source, table: Table | None = None) -> Generator[pl.DataFrame, None, None]:
    """Read the two declared columns, batch by batch in the order of the file.

    Parameters
    ----------
    source : Source
    table : Table, optional
        The file, if it is open already; what was found in it is known when it was read.

    Yields
    ------
    pl.DataFrame
        ``line`` (Int64, from 1; in Parquet and Excel the row), ``text`` (String, null where the
        file has nothing), ``value`` (String, the label as written but for letter case, outer
        white space and a whole number's ``.0``; null where blank), ``label`` (Int8, the number of
        the class in `Dataset.classes`, null for any other value).

    Raises
    ------
    DataError
        As `open_source`, and if the file is damaged or has another encoding.
    """
    import polars as pl

    table = table or open_source(source)
    text, label = _columns(table, source)
    codes = label_codes(source.declaration)
    for batch in table.batches([text, label]):
        yield batch.frame.select(
            batch.lines.alias("line"),
            pl.col(text).alias("text"),
            canonical_labels(pl.col(label)).alias("value"),
        ).with_columns(
            label=pl.col("value").replace_strict(codes, default=None, return_dtype=pl.Int8)
        )


def _columns(table: Table, source: Source) -> tuple[str, str]:
    with _corrected(source):
        declaration = source.declaration
        return table.text_column(declaration.text), table.label_column(declaration.label)


@contextmanager
def _corrected(source: Source) -> Iterator[None]:
    """Errors that say where the declaration is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error} Correct {source.where}.") from None
