"""Rows written back as they came, or as another kind of file, with columns added.

A file that stays what it is keeps its separator, quotes, line ends, encoding and byte order mark,
so that it opens in a spreadsheet as it did before. A file that becomes CSV is separated by commas,
in UTF-8. Rows keep their order, and get their number in the input. Values of text files stay the
text that they are (``007``, ``1.50``), in Parquet too; columns of Parquet keep their types.

A spreadsheet runs what stands in a cell that begins with ``=``, ``+``, ``-`` or ``@``. Such cells
get an apostrophe in front, which spreadsheets do not show, unless they are numbers (OWASP, "CSV
Injection", https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from pipelines.tables.columns import free_name
from pipelines.tables.delimited import DelimitedTable
from pipelines.tables.findings import shortened
from pipelines.tables.records import NOTHING
from pipelines.tables.table import Batch

if TYPE_CHECKING:
    import polars as pl

KINDS: Final = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".json": "JSON",
    ".parquet": "Parquet",
}
"""The kinds that can be written, by the end of the file's name."""

ROW: Final = "row"
"""The column with the number of the row in the input, from 1."""
_DANGEROUS: Final = r"^[\s\x00]*[=+\-@＝＋－＠\t\r]"
_NUMBER: Final = r"^\s*[+-]?(\d+([.,]\d+)*|\.\d+)([eE][+-]?\d+)?\s*%?\s*$"
_DECIMALS: Final = 6
_UTF8_MARK: Final = b"\xef\xbb\xbf"


class Described(Protocol):
    """What has to be known of a table to write its rows as another kind."""

    @property
    def kind(self) -> str:
        """As `Table.kind`."""
        ...

    @property
    def columns(self) -> list[str]:
        """As `Table.columns`."""
        ...

    @property
    def header(self) -> list[str] | None:
        """As `Table.header`."""
        ...


class ResultWriter:
    """Writes the rows of a table, with columns added, in its own format or as another kind.

    Parameters
    ----------
    table : Table, or what describes it if `kind` is given
        If it stays delimited text, it must have been read to its end (`Table.look_through`), or its
        encoding may not be known yet.
    added : sequence of str
        Names of the columns to add.
    harmless : bool
        Whether cells that a spreadsheet would run are made harmless. Delimited text only.
    kind : str, optional
        One of `KINDS`. None: the table's own format; plain lines and Excel become CSV.
    """

    def __init__(
        self,
        table: Described,
        added: Sequence[str],
        *,
        harmless: bool = True,
        kind: str | None = None,
    ) -> None:
        self.names: dict[str, str] = {}
        """The name of each added column; the table may have one of that name."""
        taken = list(table.columns)
        for name in (*added, ROW):
            self.names[name] = free_name(name, taken)
            taken.append(self.names[name])
        self.columns = taken
        """What all columns are called."""
        self.kind = kind or {"text": "CSV", "Excel": "CSV"}.get(table.kind, table.kind)
        self._format: _Format
        if self.kind in ("JSON", "JSONL"):
            self._format = _Json(self.kind)
        elif self.kind == "Parquet":
            self._format = _Parquet()
        else:
            self._format = _Delimited(table, kind, harmless=harmless)
        self.suffix = self._format.suffix
        """The ending of the file's name."""
        self.media_type = self._format.media_type

    @property
    def messages(self) -> list[str]:
        """Which added columns could not have their own names."""
        return [
            f"The file has a column {shortened(name)!r} already; ours is called {used!r}."
            for name, used in self.names.items()
            if name != used
        ]

    def head(self) -> bytes:
        """The bytes before the rows."""
        return self._format.head(list(self.names.values()))

    def write(self, batch: Batch, added: pl.DataFrame) -> bytes:
        """Some rows of the table, all columns, with the added ones in the order announced."""
        return self._format.rows(batch, self._numbered(batch, added))

    def frame(self, batch: Batch, added: pl.DataFrame) -> pl.DataFrame:
        """The same as a frame; columns of Parquet keep their types."""
        return _values(batch).hstack(self._numbered(batch, added))

    def go_on(self) -> None:
        """Write the next rows behind others that were written before."""
        self._format.begun = True

    def tail(self) -> bytes:
        """The bytes behind the rows."""
        return self._format.tail()

    def _numbered(self, batch: Batch, added: pl.DataFrame) -> pl.DataFrame:
        return added.with_columns(batch.rows.alias(ROW)).rename(self.names)


class _Format(ABC):
    """The writer of one format."""

    suffix: str
    media_type: str
    begun = False
    """Whether rows were written."""

    def head(self, added: Sequence[str]) -> bytes:
        """The bytes before the rows; `added` are the names of the added columns."""
        return b""

    @abstractmethod
    def rows(self, batch: Batch, added: pl.DataFrame) -> bytes:
        """The bytes of some rows with their added values."""

    def tail(self) -> bytes:
        """The bytes behind the rows."""
        return b""


class _Delimited(_Format):
    media_type = "text/csv"

    def __init__(self, table: Described, kind: str | None, *, harmless: bool) -> None:
        self._titles = [*(table.header or table.columns)]
        self._harmless = harmless
        self._separator, self._line_end, self._quote = "\t" if kind == "TSV" else ",", "\n", '"'
        self._literal = False
        self._mark, self._codec = b"", "utf-8"
        self._hint = ""
        if kind is None and isinstance(table, DelimitedTable):
            self._keep_dialect(table)
        elif table.kind == "Excel":
            self._mark, self._line_end = _UTF8_MARK, "\r\n"
        self.suffix = ".tsv" if self._separator == "\t" else ".csv"

    def _keep_dialect(self, table: DelimitedTable) -> None:
        dialect = table.dialect
        self._separator, self._line_end = dialect.separator or ",", dialect.line_end
        self._literal = dialect.literal_quotes
        if dialect.grammar.quote != NOTHING:
            self._quote = chr(dialect.grammar.quote)
        self._mark, self._codec = table.mark, table.codec
        if table.encoding == "UTF-8 and Windows-1252":
            self._mark = _UTF8_MARK
        hint = dialect.skipped.strip()
        self._hint = hint.decode() + self._line_end if hint.startswith(b"sep=") else ""

    def head(self, added: Sequence[str]) -> bytes:
        import polars as pl

        titles = [*self._titles, *added]
        row = pl.DataFrame({str(at): [title] for at, title in enumerate(titles)})
        return self._mark + self._encoded(self._hint) + self._written(row)

    def rows(self, batch: Batch, added: pl.DataFrame) -> bytes:
        frame = batch.frame if batch.typed is None else as_text(batch.typed)
        return self._written(frame.hstack(added))

    def _written(self, frame: pl.DataFrame) -> bytes:
        if self._harmless:
            frame = harmless(frame)
        text = frame.write_csv(
            include_header=False,
            separator=self._separator,
            line_terminator=self._line_end,
            quote_char=self._quote,
            quote_style="never" if self._literal else "necessary",
            float_precision=_DECIMALS,
        )
        return self._encoded(text)

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode(self._codec)
        except UnicodeEncodeError:
            # The five bytes that Windows-1252 does not use came in as control characters.
            return b"".join(_windows_byte(char, self._codec) for char in text)


class _Json(_Format):
    def __init__(self, kind: str) -> None:
        self._list = kind == "JSON"
        self.suffix = ".json" if self._list else ".jsonl"
        self.media_type = "application/json" if self._list else "application/jsonl"

    def head(self, added: Sequence[str]) -> bytes:
        return b"[\n" if self._list else b""

    def rows(self, batch: Batch, added: pl.DataFrame) -> bytes:
        found = _objects(batch, added)
        if not found:
            return b""
        if not self._list:  # what was an element of a list may have line ends between its values
            return b"".join(b" ".join(row.splitlines()) + b"\n" for row in found)
        separator = b",\n" if self.begun else b""
        self.begun = True
        return separator + b",\n".join(found)

    def tail(self) -> bytes:
        return b"\n]\n" if self._list else b""


class _Parquet(_Format):
    suffix = ".parquet"
    media_type = "application/vnd.apache.parquet"

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []

    def rows(self, batch: Batch, added: pl.DataFrame) -> bytes:
        self._frames.append(_values(batch).hstack(added))
        return b""

    def tail(self) -> bytes:
        import polars as pl

        target = io.BytesIO()
        pl.concat(self._frames).write_parquet(target)
        return target.getvalue()


def _values(batch: Batch) -> pl.DataFrame:
    return batch.frame if batch.typed is None else batch.typed


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every column as String: lists and structs as JSON, bytes in base 64."""
    import polars as pl

    def written(name: str, kind: pl.DataType) -> pl.Expr:
        column = pl.col(name)
        if kind.is_nested():
            # Only structs have an encoder: the value is that of a struct's only field.
            encoded = pl.struct(column.alias("v")).struct.json_encode()
            return pl.when(column.is_not_null()).then(encoded.str.slice(5).str.head(-1)).alias(name)
        if kind == pl.Binary:
            return column.bin.encode("base64")
        return (column.fill_nan(None) if kind.is_float() else column).cast(pl.String)

    return frame.select(written(name, kind) for name, kind in frame.schema.items())


def harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with an apostrophe before every text that a spreadsheet would run."""
    import polars as pl

    text = pl.col(pl.String)
    dangerous = text.str.contains(_DANGEROUS) & ~text.str.contains(_NUMBER)
    return frame.with_columns(pl.when(dangerous).then(text.str.replace("^", "'")).otherwise(text))


def _objects(batch: Batch, added: pl.DataFrame) -> list[bytes]:
    """The rows as JSON objects, one each."""
    if batch.records is None:
        import polars as pl

        lines = _values(batch).hstack(added).with_columns(pl.col(pl.Float64).round(_DECIMALS))
        return lines.write_ndjson().encode().splitlines()
    return [
        _with_added(record, values)
        for record, values in zip(batch.records, added.iter_rows(named=True), strict=True)
    ]


def _with_added(record: bytes, added: dict[str, Any]) -> bytes:
    """A JSON value with keys added; what is no object becomes one."""
    fields = msgspec.json.encode(
        {k: round(v, _DECIMALS) if isinstance(v, float) else v for k, v in added.items()}
    )
    if record.startswith(b"{"):
        inside = record[1:-1].strip()
    else:
        inside = (b'"text":' if record.startswith(b'"') else b'"values":') + record
    return b"{" + inside + (b"," if inside else b"") + fields[1:]


def _windows_byte(char: str, codec: str) -> bytes:
    try:
        return char.encode(codec)
    except UnicodeEncodeError:
        return char.encode("latin-1", "replace")
