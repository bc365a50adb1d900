"""CSV and its relatives, and files of plain lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.tables import records as scanner
from pipelines.tables.containers import Container
from pipelines.tables.dialects import Dialect, find_dialect, sample_fields
from pipelines.tables.encodings import Decoder
from pipelines.tables.findings import Findings, LeftOut
from pipelines.tables.options import Limits, Options
from pipelines.tables.records import NO_SEPARATOR, NOTHING, Records, scan
from pipelines.tables.table import Batch, Table

if TYPE_CHECKING:
    import polars as pl

_SAMPLE: Final = 256 << 10
"""Bytes by which the dialect is found."""

_MOST_BLANK_LINES: Final = 1_000_000
"""In a row; files with more are no tables."""

_REASONS: Final = {
    scanner.BAD_QUOTE: "a quote is not closed before a separator or the end of the line",
    scanner.UNCLOSED: "a quote is never closed",
    scanner.JOINED: "a quote is closed only after lines that look like rows of their own",
    scanner.REMNANT: "continues a row with a broken quote",
    scanner.HEADER_AGAIN: "repeats the header",
}
_SHORT: Final = "with fewer fields than columns, read with the missing ones blank"
_NUL: Final = "with NUL characters, which were kept"

_KINDS: Final = {",": "CSV", "\t": "TSV", "": "text"}
_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class DelimitedTable(Table):
    """A file of delimited text.

    Parameters
    ----------
    container : Container
    name, options, limits
        As for `Table`.
    lines : bool
        Whether its name says that it is a file of plain lines.

    Raises
    ------
    DataError
        If it cannot be decoded, or has no rows or too many columns.
    """

    def __init__(
        self,
        container: Container,
        name: str,
        options: Options,
        limits: Limits,
        *,
        lines: bool = False,
    ) -> None:
        super().__init__(name, options, limits)
        self._container = container
        self.packing = container.packing
        sample, final = self._sample_bytes()
        if not sample.strip():
            raise DataError(f"{name} has no rows: there is nothing in it but blank space.")
        self.dialect: Dialect = find_dialect(sample, options, final=final, lines=lines)
        self._find_columns(sample, final)
        if above := self.dialect.above:
            self.notes.append(f"left out: {above} line{'s' * (above > 1)} above the header")
        separator = self.dialect.separator
        self.kind = _KINDS.get(separator, "CSV")
        if self.dialect.literal_quotes:
            self.notes.append(
                "quotes are part of the texts: they begin fields without closing them"
            )

    @property
    def encoding(self) -> str:
        """The encoding, as far as the file was read."""
        return self._decoder.encoding

    @property
    def codec(self) -> str:
        """The Python codec that writes the file's characters as they came."""
        return self._decoder.codec

    @property
    def mark(self) -> bytes:
        """Its byte order mark, if any."""
        return self._decoder.mark

    @property
    def format(self) -> str:
        """Kind, separator, encoding and header in words."""
        separator = self.dialect.separator
        parts = [self.kind]
        if separator:
            parts.append(f"separated by {_SEPARATORS.get(separator, repr(separator))}")
        mark = " with a byte order mark" if self.mark else ""
        parts.append(f"{self.encoding}{mark}")
        if self.header is None and separator:
            parts.append("no header")
        return ", ".join(parts)

    @property
    def share_read(self) -> float:
        """See `Table.share_read`."""
        return self._container.share_read

    def look_through(self) -> None:
        """See `Table.look_through`."""
        with self._container.open() as stream:
            self._decoder = Decoder(stream, self.name, self.options)
            while self._decoder.read(self.limits.batch):
                pass

    def messages(self) -> list[str]:
        """Warnings for the user, as far as the file was read."""
        return [*self.notes, *self._decoder.messages(), *self.findings.messages()]

    def _sample_bytes(self) -> tuple[bytes, bool]:
        """The beginning of the file, with at least one whole record, and whether that is all."""
        with self._container.open() as stream:
            self._decoder = Decoder(stream, self.name, self.options)
            sample, final, size = b"", False, _SAMPLE
            while not final and len(sample) <= self.limits.record:
                more = self._decoder.read(size)
                sample, final, size = sample + more, not more, max(size, len(sample))
                if len(sample) >= _SAMPLE and _has_record(sample, final):
                    break
        if not final and not _has_record(sample, final):
            raise self._too_long(1)
        return sample, final

    def _too_long(self, line: int) -> DataError:
        return DataError(
            f"{self.name}: the row in line {line:,} has more than {self.limits.record:,} bytes. "
            "Is the separator or the line end another one?"
        )

    def _find_columns(self, sample: bytes, final: bool) -> None:
        """Read the header, if there is one, and remember where the rows begin."""
        dialect, start = self.dialect, len(self.dialect.skipped)
        first = scan(sample, dialect.grammar, start=start, capacity=1, final=final)
        self._first_line = 1 + _line_breaks(dialect.skipped)
        self._data_start, self._header_bytes = start, b""
        width = int(first.widths[0]) if len(first.widths) else 1
        if width <= self.limits.columns and first.statuses[0] > scanner.SHORT:
            width = len(sample_fields(sample, dialect.grammar, start, final=final)[0])
        header = None
        if dialect.header and first.statuses[0] <= scanner.SHORT and width <= self.limits.columns:
            header = sample_fields(sample[start : first.position], dialect.grammar, 0)[0]
            self._data_start = first.position
            self._first_line += first.line
            self._header_bytes = sample[start : first.position].rstrip(b"\r\n")
        self._name_columns(header, width)
        if header is None and dialect.grammar == (NO_SEPARATOR, NOTHING, NOTHING):
            self.columns = ["text"]

    def _batches(self, columns: Sequence[str], findings: Findings) -> Iterator[Batch]:
        width = len(self.columns)
        slots = np.full(width, -1, np.int32)
        for slot, column in enumerate(dict.fromkeys(columns)):
            slots[self.columns.index(column)] = slot
        builder = _Builder(self, list(dict.fromkeys(columns)), findings)
        capacity = max(1, self.limits.batch_cells // max(1, len(columns)))
        with self._container.open() as stream:
            self._decoder = decoder = Decoder(stream, self.name, self.options)
            block, position = self._first_block(decoder), self._data_start
            final, broken = False, 0
            while True:
                found = scan(
                    block,
                    self.dialect.grammar,
                    start=position,
                    width=width,
                    slots=slots,
                    header=self._header_bytes,
                    capacity=capacity,
                    final=final,
                    after_broken=broken,
                )
                if not len(found.statuses) and len(block) - position > self.limits.record:
                    found = self._skip_unclosed(block, position, slots, builder.line)
                position, broken = found.position, found.after_broken
                if len(found.statuses):
                    yield from builder.add(block, found)
                    continue
                if final:
                    return
                rest = block[position:]
                more = decoder.read(max(self.limits.batch, len(rest)))
                block, position, final = rest + more, 0, not more

    def _first_block(self, decoder: Decoder) -> bytes:
        block = decoder.read(self.limits.batch)
        while len(block) < self._data_start:
            block += decoder.read(self.limits.batch)
        return block

    def _skip_unclosed(
        self, block: bytes, position: int, slots: NDArray[np.int32], line: int
    ) -> Records:
        """Give up a quote that is not closed within the longest record allowed."""
        found = scan(
            block,
            self.dialect.grammar,
            start=position,
            width=len(slots),
            slots=slots,
            capacity=1,
        )
        if found.statuses[0] != scanner.UNCLOSED or found.position == len(block):
            raise self._too_long(line)
        return found


class _Builder:
    """Turns records into batches, and counts rows and lines."""

    def __init__(self, table: DelimitedTable, columns: list[str], findings: Findings) -> None:
        self._table = table
        self._columns = columns
        self._findings = findings
        self._row = 1
        self.line = table._first_line
        width = len(table.columns)
        plural = "s" * (width != 1)
        self._reasons = {
            **_REASONS,
            scanner.LONG: f"more fields than the {width:,} column{plural}",
        }
        # Blank lines are rows, but not those at the end of the file.
        self._blank = 0

    def add(self, block: bytes, found: Records) -> Iterator[Batch]:
        """The batch of some records, after that of the blank lines before them."""
        statuses = found.statuses
        rows = self._row + np.arange(len(statuses))
        lines = self.line + found.lines
        self._row += len(statuses)
        self.line += found.line
        written = np.flatnonzero(statuses != scanner.BLANK)
        end = int(written[-1]) + 1 if len(written) else 0
        if end:
            yield from self._blank_batches(int(rows[0]), int(lines[0]))
            yield self._batch(block, found, rows[:end], lines[:end])
        self._blank += len(statuses) - end
        if self._blank > _MOST_BLANK_LINES:
            raise DataError(
                f"{self._table.name}: more than {_MOST_BLANK_LINES:,} blank lines in a row, up to "
                f"line {self.line:,}. Remove them."
            )

    def _batch(
        self, block: bytes, found: Records, rows: NDArray[np.int64], lines: NDArray[np.int64]
    ) -> Batch:
        import polars as pl

        statuses = found.statuses[: len(rows)]
        keep = np.flatnonzero(statuses <= scanner.SHORT)
        grammar = self._table.dialect.grammar
        frame = pl.DataFrame(
            {
                column: scanner.column(block, found, slot, keep, grammar)
                for slot, column in enumerate(self._columns)
            }
        )
        left_out = [
            LeftOut(int(rows[at]), int(lines[at]), self._reasons[int(statuses[at])])
            for at in np.flatnonzero(statuses > scanner.SHORT)
        ]
        self._findings.rows += len(rows)
        self._findings.leave_out(left_out)
        short = lines[statuses == scanner.SHORT]
        if len(short):
            self._findings.note(_SHORT, short[:10].tolist(), len(short))
        if b"\0" in block:
            self._note_nul(frame, lines[keep])
        return Batch(frame, pl.Series(rows[keep]), pl.Series(lines[keep]), left_out)

    def _blank_batches(self, row: int, line: int) -> Iterator[Batch]:
        """The blank lines directly before a row; each of them is one line."""
        import polars as pl

        size = max(1, self._table.limits.batch_cells // max(1, len(self._columns)))
        while self._blank:
            count = min(self._blank, size)
            self._findings.rows += count
            nothing = pl.Series([None], dtype=pl.String).new_from_index(0, count)
            places = np.arange(count) - self._blank
            yield Batch(
                pl.DataFrame(dict.fromkeys(self._columns, nothing)),
                pl.Series(row + places),
                pl.Series(line + places),
            )
            self._blank -= count

    def _note_nul(self, frame: pl.DataFrame, lines: NDArray[np.int64]) -> None:
        import polars as pl

        found = frame.select(pl.any_horizontal(pl.all().str.contains("\0", literal=True)))
        at = np.flatnonzero(found.to_series().fill_null(False).to_numpy())
        if len(at):
            self._findings.note(_NUL, lines[at[:10]].tolist(), len(at))


def _has_record(sample: bytes, final: bool) -> bool:
    """Whether the sample has at least one record that ends within it, whatever the dialect."""
    grammar = scanner.Grammar(NO_SEPARATOR, ord('"'), NOTHING)
    return len(scan(sample, grammar, capacity=2, final=final).statuses) > 1


def _line_breaks(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
