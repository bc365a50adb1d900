"""Excel workbooks (.xlsx), by calamine.

calamine lays a sheet out as a full rectangle and copies a shared string into every cell, so a small
file can ask for any amount of memory. What it would take is counted in the XML before.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.tables.containers import Container
from pipelines.tables.dialects import has_header
from pipelines.tables.findings import Findings, quoted_names, shortened
from pipelines.tables.options import Limits, Options
from pipelines.tables.table import SAMPLE_ROWS, Batch, Table

if TYPE_CHECKING:
    pass

_BATCH_ROWS: Final = 10_000
_CHUNK: Final = 1 << 20
_OVERLAP: Final = 200
"""Bytes of a chunk that are searched again with the next one."""
_REFERENCE: Final = re.compile(rb'\br="([A-Z]{0,3})(\d{1,7})"')
_SHARED: Final = re.compile(rb'<c\b[^>]*\bt="s"[^>]*>\s*<v>(\d{1,9})</v>')
_BYTES_OF_CELL: Final = 32
Cell = str | int | float | bool | datetime.date | datetime.time | datetime.timedelta


class ExcelTable(Table):
    """One sheet of a workbook.

    Raises
    ------
    DataError
        If the workbook cannot be read, the sheet is not there or blank, or it is too large.
    """

    kind = "Excel"
    unit = "row"

    def __init__(self, container: Container, name: str, options: Options, limits: Limits) -> None:
        super().__init__(name, options, limits)
        content = container.content
        self._check_size(content)
        self._sheet = self._open(content)
        # calamine's rows begin at the first cell of the sheet, whatever is there.
        place: tuple[int, int] = self._sheet.start or (0, 0)
        self._above, self._left = place
        rows = list(islice(self._rows(), SAMPLE_ROWS))
        header = options.header
        if header is None:
            header = has_header([[cell or "" for cell in row] for row in rows if any(row)])
        names = [cell or "" for cell in rows[0]] if header else None
        self._name_columns(names, self._sheet.width)
        self.dialect_header = header

    @property
    def share_read(self) -> float:
        """See `Table.share_read`."""
        return self.findings.rows / float(max(1, self._sheet.height))

    def _batches(self, columns: Sequence[str], findings: Findings) -> Iterator[Batch]:
        rows = self._rows()
        line = self._above + 1
        if self.dialect_header:
            next(rows, None)
            line += 1
        places = {column: self.columns.index(column) for column in columns}
        number, part = 1, []
        for row in rows:
            part.append(row)
            if len(part) == _BATCH_ROWS:
                yield self._batch(part, places, number, line, findings)
                number, line, part = number + len(part), line + len(part), []
        if part:
            yield self._batch(part, places, number, line, findings)

    def _batch(
        self,
        rows: list[list[str | None]],
        places: dict[str, int],
        number: int,
        line: int,
        findings: Findings,
    ) -> Batch:
        import polars as pl

        findings.rows += len(rows)
        frame = pl.DataFrame(
            {column: [row[at] for row in rows] for column, at in places.items()},
            schema=dict.fromkeys(places, pl.String),
        )
        return Batch(
            frame,
            pl.Series(range(number, number + len(rows)), dtype=pl.Int64),
            pl.Series(range(line, line + len(rows)), dtype=pl.Int64),
        )

    def _rows(self) -> Iterator[list[str | None]]:
        for row in islice(self._sheet.iter_rows(), self._above, None):
            yield [_as_text(cell) for cell in row[self._left :]]

    def _open(self, content: Path | bytes) -> Any:
        import python_calamine as calamine

        source: Any = content if isinstance(content, Path) else io.BytesIO(content)
        try:
            book = calamine.load_workbook(source)
            names = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.typ == calamine.SheetTypeEnum.WorkSheet
            ]
            self.sheets = names
            chosen = self._chosen_sheets(names)
            sheets = (book.get_sheet_by_name(name) for name in chosen)
            sheet = next((sheet for sheet in sheets if sheet.start is not None), None)
        except (calamine.CalamineError, OSError, ValueError) as error:
            raise DataError(
                f"{self.name} is not an Excel file that can be read: {str(error)[:200]}"
            ) from None
        if sheet is None:
            raise DataError(f"{self.name} has no rows: {quoted_names(chosen)} are blank.")
        if len(names) > 1:
            others = [name for name in names if name != sheet.name]
            self.notes.append(
                f"the sheet {shortened(sheet.name)!r} was read; others are {quoted_names(others)}"
            )
        return sheet

    def _chosen_sheets(self, names: Sequence[str]) -> Sequence[str]:
        wanted = self.options.sheet
        if wanted is None:
            return names
        if wanted in names:
            return [wanted]
        if wanted.isdecimal() and len(wanted) < 6 and 1 <= int(wanted) <= len(names):
            return [names[int(wanted) - 1]]
        raise DataError(
            f"{self.name} has no sheet {shortened(wanted)!r}. It has: {quoted_names(names)}."
        )

    def _check_size(self, content: Path | bytes) -> None:
        """Raise a `DataError` if the sheets would take too much memory."""
        source: Any = content if isinstance(content, Path) else io.BytesIO(content)
        limit = self.limits.cells
        try:
            with zipfile.ZipFile(source) as book:
                lengths = _string_lengths(book)
                for entry in book.infolist():
                    if re.fullmatch(r"xl/worksheets/[^/]+\.xml", entry.filename):
                        with book.open(entry) as sheet:
                            cells, string_bytes = _extent(sheet, lengths)
                        if cells > limit or string_bytes > limit * _BYTES_OF_CELL:
                            raise DataError(
                                f"{self.name}: a sheet would take {cells:,} cells and "
                                f"{string_bytes:,} bytes of text in memory, which is too much. "
                                "Save it as CSV."
                            )
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"{self.name} is not an Excel file that can be read: {str(error)[:200]}"
            ) from None


def _as_text(cell: Cell) -> str | None:
    if isinstance(cell, str):
        return cell or None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat(" ") if isinstance(cell, datetime.datetime) else cell.isoformat()
    return str(cell)


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """The content with an overlap, and how much of each chunk was in the one before."""
    before = b""
    while chunk := stream.read(_CHUNK):
        yield before + chunk, len(before)
        before = (before + chunk)[-_OVERLAP:]


def _string_lengths(book: zipfile.ZipFile) -> NDArray[np.int64]:
    """Bytes of each shared string, by the distance of their tags."""
    if "xl/sharedStrings.xml" not in book.namelist():
        return np.zeros(0, np.int64)
    ends, offset = [], 0
    with book.open("xl/sharedStrings.xml") as strings:
        for chunk, known in _chunks(strings):
            begin = offset - known
            ends += [
                begin + m.end() for m in re.finditer(rb"</si>|<si/>", chunk) if m.end() > known
            ]
            offset = begin + len(chunk)
    places = np.array([0, *ends], np.int64)
    return places[1:] - places[:-1]


def _extent(sheet: IO[bytes], lengths: NDArray[np.int64]) -> tuple[int, int]:
    """Cells of the rectangle around a sheet, and bytes of the strings in it."""
    columns, rows, unnamed, string_bytes = 1, 1, 0, 0
    for chunk, known in _chunks(sheet):
        for letters, digits in set(_REFERENCE.findall(chunk)):
            rows = max(rows, int(digits))
            columns = max(columns, _column_number(letters))
        unnamed += chunk.count(b"<row", known)
        found = [int(m[1]) for m in _SHARED.finditer(chunk) if m.end() > known]
        used = np.array(found, np.int64)
        string_bytes += int(lengths[used[used < lengths.size]].sum())
    return columns * max(rows, unnamed), string_bytes


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
