"""Parquet, by Polars."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.errors import DataError
from pipelines.tables.containers import Container
from pipelines.tables.findings import Findings
from pipelines.tables.options import Limits, Options
from pipelines.tables.table import Batch, Table

if TYPE_CHECKING:
    import polars as pl

_BATCH_ROWS: Final = 50_000
_LOOKED_AT: Final = 100
"""Rows by which the size of a row is estimated."""
_BATCHES_AT_ONCE: Final = 4
"""A batch of Parquet is as large as so many blocks of text: each has a price of its own."""
_IN_MEMORY: Final = 1 << 30
"""Bytes of a compressed Parquet file that are unpacked to be read in any order."""


class ParquetTable(Table):
    """A Parquet file.

    Raises
    ------
    DataError
        If it is damaged or has too many columns.
    """

    kind = "Parquet"
    unit = "row"

    def __init__(self, container: Container, name: str, options: Options, limits: Limits) -> None:
        super().__init__(name, options, limits)
        self.packing = container.packing
        self._content = container.whole(limits.unpacked or _IN_MEMORY)
        with self._explained():
            self._schema = self._scan().collect_schema()
        names = self._schema.names()
        self._name_columns(names, len(names))
        self.columns = names  # Polars allows blank ones, and no name twice.

    def text_column(self, wanted: str | None = None) -> str:
        """As `Table.text_column`; numbers are no texts."""
        import polars as pl

        column = super().text_column(wanted)
        if self._schema[column] not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            raise DataError(
                f"{self.name}: column {column[:100]!r} holds {self._schema[column]}, not text. "
                "Choose another column."
            )
        return column

    @cached_property
    def height(self) -> int:
        """Number of rows, without reading them."""
        import polars as pl

        with self._explained():
            return int(self._scan().select(pl.len()).collect().item())

    @property
    def share_read(self) -> float:
        """See `Table.share_read`."""
        return self.findings.rows / max(1, self.height)

    def _batches(self, columns: Sequence[str], findings: Findings) -> Iterator[Batch]:
        import polars as pl

        readable = [c for c in columns if not _is_nested(self._schema[c])]
        unreadable = next((c for c in columns if c not in readable), None)
        if unreadable is not None and len(columns) < len(self.columns):  # it was asked for
            raise self._no_nested(unreadable, str(self._schema[unreadable])[:100])
        needed = self.columns if self._typed else readable
        texts = [self._as_text(column) for column in readable]
        frame = self._scan().select(needed)
        with self._explained():
            size = self._batch_rows(needed)
            # Not `collect_batches`: it reads on, however slow its user is, up to the whole file.
            for start in range(0, self.height, size):
                part = frame.slice(start, size).collect()
                end = min(start + size, self.height)
                findings.rows += end - start
                rows = pl.int_range(start + 1, end + 1, dtype=pl.Int64, eager=True)
                yield Batch(part.select(texts), rows, rows, typed=part if self._typed else None)

    def _batch_rows(self, columns: Sequence[str]) -> int:
        """Rows of a batch that takes no more memory than it may, by the size of the first ones."""
        first = self._scan().select(columns).head(_LOOKED_AT).collect()
        size = max(1, int(first.estimated_size()) // max(1, first.height))
        cells = self.limits.batch_cells // max(1, len(columns))
        return max(1, min(_BATCH_ROWS, cells, _BATCHES_AT_ONCE * self.limits.batch // size))

    def _as_text(self, column: str) -> pl.Expr:
        import polars as pl

        values = pl.col(column)
        if self._schema[column].is_float():
            values = values.fill_nan(None)
        return values.cast(pl.String)

    def _scan(self) -> pl.LazyFrame:
        import polars as pl

        source = self._content if isinstance(self._content, Path) else io.BytesIO(self._content)
        return pl.scan_parquet(source, glob=False)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import polars as pl

        try:
            yield
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise DataError(
                f"{self.name} is not a Parquet file that can be read: {reason}"
            ) from None


def _is_nested(kind: pl.DataType) -> bool:
    import polars as pl

    return kind.is_nested() or kind == pl.Binary or kind == pl.Object
