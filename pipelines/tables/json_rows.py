"""JSON: one value a line (JSONL), or one list of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from pipelines.errors import DataError
from pipelines.tables.containers import Container
from pipelines.tables.encodings import Decoder
from pipelines.tables.findings import Findings, LeftOut, shortened
from pipelines.tables.options import Limits, Options
from pipelines.tables.table import SAMPLE_ROWS, Batch, Table

if TYPE_CHECKING:
    pass

_SPACE: Final = re.compile(r"[\s,]*")
_PYTHON: Final = json.JSONDecoder()
_NAMES: Final = {"dict": "object", "str": "string", "list": "list"}
TEXT: Final = "text"
"""The name of the column of a file whose rows are strings."""


class _Row(NamedTuple):
    line: int
    record: bytes
    value: Any
    """The decoded value, or the error."""


class JsonTable(Table):
    """A JSONL file, or one with a JSON array.

    Rows are objects, whose keys are the columns; or strings, or lists, all of them alike.

    Parameters
    ----------
    container : Container
    name, options, limits
        As for `Table`.
    array : bool
        Whether the file is one list.

    Raises
    ------
    DataError
        If it cannot be decoded, or has no row.
    """

    def __init__(
        self, container: Container, name: str, options: Options, limits: Limits, *, array: bool
    ) -> None:
        super().__init__(name, options, limits)
        self.kind = "JSON" if array else "JSONL"
        self.packing = container.packing
        self._container = container
        self._array = array
        self._find_columns()

    @property
    def format(self) -> str:
        """Kind and encoding."""
        return f"{self.kind}, {self._decoder.encoding}"

    @property
    def share_read(self) -> float:
        """See `Table.share_read`."""
        return self._container.share_read

    def look_through(self) -> None:
        """See `Table.look_through`."""
        if self._shape is dict:
            keys = dict.fromkeys(self.columns)
            for rows in self._rows():
                for row in rows:
                    if isinstance(row.value, dict):
                        keys.update(dict.fromkeys(row.value))
                if len(keys) > self.limits.columns:
                    break
            self._name_columns(list(keys), len(keys))

    def messages(self) -> list[str]:
        """Warnings for the user, as far as the file was read."""
        return [*self.notes, *self._decoder.messages(), *self.findings.messages()]

    def column(self, wanted: str) -> str:
        """As `Table.column`; a key may be missing from the first rows, so all are searched."""
        if wanted not in self.columns and self._shape is dict:
            for rows in self._rows():
                if any(isinstance(row.value, dict) and wanted in row.value for row in rows):
                    self.columns.append(wanted)
                    break
        return super().column(wanted)

    def _find_columns(self) -> None:
        """The columns, by the first rows that can be read."""
        sample: list[Any] = []
        for rows in self._rows():
            sample += [row.value for row in rows if not isinstance(row.value, Exception)]
            if len(sample) >= SAMPLE_ROWS:
                break
        sample = sample[:SAMPLE_ROWS]
        self._shape: type = next((type(v) for v in sample if type(v) in (dict, str, list)), dict)
        rows_alike = [value for value in sample if type(value) is self._shape]
        if self._shape is dict:
            keys = dict.fromkeys(key for row in rows_alike for key in row)
            self._name_columns(list(keys), len(keys))
        elif self._shape is list:
            self._name_columns(None, max(map(len, rows_alike)))
        else:
            self._name_columns([TEXT], 1)

    def _batches(self, columns: Sequence[str], findings: Findings) -> Iterator[Batch]:
        row = 0
        for rows in self._rows():
            if rows:
                yield self._batch(rows, columns, findings, row)
            row += len(rows)

    def _batch(
        self, rows: list[_Row], columns: Sequence[str], findings: Findings, before: int
    ) -> Batch:
        import polars as pl

        whole, numbers, left_out = [], [], []
        for number, row in enumerate(rows, start=before + 1):
            if type(row.value) is self._shape:
                whole.append(row)
                numbers.append(number)
            else:
                left_out.append(LeftOut(number, row.line, self._reason(row.value)))
        findings.rows += len(rows)
        findings.leave_out(left_out)
        cells = {column: self._cells(whole, column, findings) for column in columns}
        frame = pl.DataFrame(cells, schema=dict.fromkeys(columns, pl.String))
        return Batch(
            frame,
            pl.Series(numbers, dtype=pl.Int64),
            pl.Series([row.line for row in whole], dtype=pl.Int64),
            left_out,
            [row.record for row in whole],
        )

    def _cells(self, rows: list[_Row], column: str, findings: Findings) -> list[str | None]:
        if self._shape is str:
            return [_as_text(row.value) for row in rows]
        at = self.columns.index(column)
        cells: list[str | None] = []
        for row in rows:
            value = (
                row.value.get(column)
                if self._shape is dict
                else (row.value[at] if at < len(row.value) else None)
            )
            if isinstance(value, (dict, list)):
                what = f"with a list or an object as {shortened(column)!r}, read as blank"
                findings.note(what, [row.line])
                value = None
            cells.append(_as_text(value))
        return cells

    def _reason(self, value: object) -> str:
        if isinstance(value, Exception):
            # Its position differs from row to row, and rows are counted by reason.
            return "not valid JSON"
        return f"no JSON {_NAMES[self._shape.__name__]}, as the other rows are"

    def _rows(self) -> Iterator[list[_Row]]:
        with self._container.open() as stream:
            self._decoder = Decoder(stream, self.name, self.options)
            yield from self._elements() if self._array else self._lines()

    def _lines(self) -> Iterator[list[_Row]]:
        decoder = msgspec.json.Decoder()
        rest, line, final = b"", 1, False
        while not final:
            more = self._decoder.read(max(self.limits.batch, len(rest)))
            final = not more
            lines = (rest + more).splitlines(keepends=True)
            rest = b"" if final or not lines else lines.pop()
            self._check_size(rest, line)
            rows = []
            for number, record in enumerate(lines, start=line):
                if record := record.strip():
                    rows.append(_Row(number, record, _decoded(record, decoder)))
            line += len(lines)
            yield rows

    def _elements(self) -> Iterator[list[_Row]]:
        """The elements of the list, as they are completed."""
        text, line, final, closed = "", 1, False, False
        begun = False
        while not final:
            more = self._decoder.read(max(self.limits.batch, len(text)))
            final = not more
            text += more.decode()
            at, rows = 0, []
            if not begun:
                at = text.index("[") + 1
                line += text.count("\n", 0, at)
                begun = True
            while not closed:
                gap = _SPACE.match(text, at)
                begin = gap.end() if gap else at
                line += text.count("\n", at, begin)
                at = begin
                if at < len(text) and text[at] == "]":
                    closed = True
                    break
                try:
                    value, end = _PYTHON.raw_decode(text, at)
                except (ValueError, RecursionError) as error:
                    if final:
                        raise self._broken(line, error) from None
                    break
                if end == len(text) and not final:  # a number may go on
                    break
                rows.append(_Row(line, text[at:end].encode("utf-8", "replace"), value))
                line += text.count("\n", at, end)
                at = end
            text = text[at:]
            if closed:
                if text[1:].strip() or self._decoder.read(1).strip():
                    self.notes.append("there is something behind the list, which was not read")
                yield rows
                return
            self._check_size(text, line)
            yield rows

    def _check_size(self, rest: bytes | str, line: int) -> None:
        if len(rest) > self.limits.record:
            raise DataError(
                f"{self.name}: the row in line {line:,} has more than {self.limits.record:,} bytes."
            )

    def _broken(self, line: int, error: Exception) -> DataError:
        return DataError(
            f"{self.name}: the JSON list is broken or not complete at line {line:,} "
            f"({str(error)[:100]}). Make or download it again."
        )


def _decoded(record: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(record)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:  # It knows NaN, which pandas writes, and halves of surrogate pairs.
        return json.loads(record)
    except (ValueError, RecursionError) as error:
        return error


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None or value != value:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_json(line: str) -> bool:
    """Whether a line is a whole JSON value."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def begins_with_json(text: str) -> bool:
    """Whether a text begins with a whole JSON value."""
    try:
        _PYTHON.raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def holds_no_value(text: str) -> bool:
    """Whether a JSON object holds lists and objects only, as an export of columns does."""
    found = json.loads(text)
    values = found.values() if isinstance(found, dict) else ()
    return bool(values) and all(isinstance(value, (list, dict)) for value in values)


def begins_list(text: str) -> bool:
    """Whether a text begins with a JSON list whose first element is an object or a string."""
    inside = text[1:].lstrip()
    return inside.startswith(("{", '"', "]")) and (
        inside.startswith("]") or begins_with_json(inside)
    )
