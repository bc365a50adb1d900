"""The base of all kinds of tables: columns, batches, and findings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import DataError
from pipelines.tables import columns as columns_of
from pipelines.tables.findings import Findings, LeftOut, quoted_names, shortened
from pipelines.tables.options import Limits, Options

if TYPE_CHECKING:
    import polars as pl

SAMPLE_ROWS: Final = 1_000


class Batch(msgspec.Struct, frozen=True):
    """Some rows of a file, in its order."""

    frame: pl.DataFrame
    """The columns asked for, as String; null where there is nothing."""
    rows: pl.Series
    """The number of each row among the rows of the file, from 1 (Int64). Rows that were left out
    have numbers too."""
    lines: pl.Series
    """The line on which each row begins, from 1 (Int64); in Parquet and Excel the row."""
    left_out: Sequence[LeftOut] = ()
    """Rows between these that could not be read."""
    records: Sequence[bytes] | None = None
    """Of JSON files: each row as it is written."""
    typed: pl.DataFrame | None = None
    """Of Parquet files, if it was asked for: all columns as they are."""

    def after(self, row: int) -> Batch:
        """What comes behind the row of that number."""
        at = int((self.rows <= row).sum())
        return Batch(
            self.frame.slice(at),
            self.rows.slice(at),
            self.lines.slice(at),
            [found for found in self.left_out if found.row > row],
            self.records and self.records[at:],
            None if self.typed is None else self.typed.slice(at),
        )


class Table(ABC):
    """A file of rows.

    Parameters
    ----------
    name : str
        What messages call the file.
    options : Options
        What the user says about it.
    limits : Limits
        What it may take in memory.
    """

    kind: str
    """CSV, JSONL, JSON, Parquet, Excel or text."""
    unit = "line"
    """What `Batch.lines` counts."""

    def __init__(self, name: str, options: Options, limits: Limits) -> None:
        self.name = name
        self.options = options
        self.limits = limits
        self.header: list[str] | None = None
        """The names of the columns as they are written; None: the file has none."""
        self.columns: list[str] = []
        """A name for each column, no two the same."""
        self.notes: list[str] = []
        """Messages about opening the file."""
        self.findings = Findings(unit=self.unit)
        """Of the last time that the file was read."""
        self.misnamed = ""
        """The ending that does not fit the content."""
        self.packing = ""
        """The compression."""
        self._typed = False
        self.sheets: Sequence[str] = ()
        """Of a workbook: the names of its sheets."""

    @abstractmethod
    def _batches(self, columns: Sequence[str], findings: Findings) -> Iterator[Batch]:
        """The rows; what is found is written into `findings`."""

    @property
    def format(self) -> str:
        """The format in words."""
        return self.kind

    def batches(
        self, columns: Sequence[str] | None = None, *, typed: bool = False
    ) -> Iterator[Batch]:
        """Read the rows, from the beginning each time.

        Parameters
        ----------
        columns : sequence of str, optional
            Of `self.columns`; None: all.
        typed : bool
            Whether batches of Parquet also hold all columns as they are.

        Raises
        ------
        DataError
            If the file is damaged, or none of its rows can be read.
        """
        self.findings = findings = Findings(unit=self.unit)
        self._typed = typed
        wanted = self.columns if columns is None else list(dict.fromkeys(columns))
        yield from self._batches(wanted, findings)
        if findings.rows and findings.lost == findings.rows:
            raise DataError(
                f"{self.name}: none of its {findings.rows:,} rows can be read. "
                f"{' '.join(findings.messages())}"
            )

    @property
    def share_read(self) -> float:
        """How much of the file has been read this time, 0 to 1."""
        return 0.0

    def look_through(self) -> None:
        """Read to the end what is known for certain only there.

        That is the encoding of delimited text, and the keys of JSON objects.

        Raises
        ------
        DataError
            If the file is damaged, or has another encoding than it seemed.
        """
        return

    @cached_property
    def sample(self) -> pl.DataFrame:
        """The first rows, all columns."""
        import polars as pl

        for batch in self.batches():
            if batch.frame.height:
                return batch.frame.head(SAMPLE_ROWS)
        return pl.DataFrame(schema=dict.fromkeys(self.columns, pl.String))

    def column(self, wanted: str) -> str:
        """The column that a user means, by its name or its number from 1.

        Raises
        ------
        DataError
            If there is none, or several have the name.
        """
        try:
            return columns_of.choose(wanted, self.columns, self.header or (), self.name)
        except DataError as error:
            if self.header is not None:
                raise
            raise DataError(
                f"{error} Its first row seems to hold values, so its columns have numbers only: "
                f"choose one from 1 to {len(self.columns):,}. If the row names the columns, say: "
                f"{self.options.advice('header', 'true')}"
            ) from None

    def text_column(self, wanted: str | None = None) -> str:
        """The column with the texts: the one that is wanted, or the one that looks like it.

        Raises
        ------
        DataError
            If there is none.
        """
        if wanted:
            return self.column(wanted)
        return columns_of.find_text_column(self.sample, self.name)

    def label_column(self, wanted: str | None = None) -> str:
        """The column with the labels: the one that is wanted, or the one that is called so.

        Raises
        ------
        DataError
            If there is none.
        """
        return (
            self.column(wanted) if wanted else columns_of.find_label_column(self.columns, self.name)
        )

    def describe(self) -> str:
        """The format of the file in one sentence."""
        parts = [f"{self.format}{' in ' + self.packing if self.packing else ''}"]
        if self.misnamed:
            parts.append(f"although its name ends in {self.misnamed}")
        if len(self.columns) > 1:
            number = f"{len(self.columns):,} columns"
            parts.append(
                f"{number} without a header"
                if self.header is None
                else f"{number}: {quoted_names(self.columns)}"
            )
        return f"{self.name}: {', '.join(parts)}."

    def messages(self) -> list[str]:
        """Warnings for the user, as far as the file was read."""
        return [*self.notes, *self.findings.messages()]

    def _name_columns(self, header: Sequence[str] | None, width: int) -> None:
        """Set the names of the columns, and check their number."""
        if width > self.limits.columns:
            raise DataError(
                f"{self.name} has {width:,} columns, and {self.limits.columns:,} are the limit."
            )
        self.header = None if header is None else list(header)
        if header is None:
            self.columns = [f"column_{number}" for number in range(1, width + 1)]
            return
        self.columns, notes = columns_of.unique_names(header)
        self.notes += notes

    def _no_nested(self, column: str, kind: str) -> DataError:
        return DataError(
            f"{self.name}: column {shortened(column)!r} holds {kind}, neither texts nor labels. "
            "Choose another column."
        )
