"""The records of delimited text: where they begin and end, and which of them are broken.

The grammar is RFC 4180 with what real files need: a record ends with LF, CRLF or CR; a quote
inside an unquoted field is text; spaces may stand outside the quotes; the quote may be escaped by
a backslash instead of doubled. A field that begins with a quote and is not closed before a
separator or a line end makes its record broken. The scan then goes on at the next line, so that a
broken record costs itself and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

OK: Final = 0
BLANK: Final = 1
"""There is nothing on the line."""
SHORT: Final = 2
"""Fewer fields than columns."""
LONG: Final = 3
"""More fields than columns, and something in them."""
BAD_QUOTE: Final = 4
"""Text goes on behind the quote that should close a field."""
UNCLOSED: Final = 5
"""A quote is not closed before the end of the file, or the longest record allowed."""
JOINED: Final = 6
"""A quoted field whose lines all look like records: its quote was closed by one of theirs."""
REMNANT: Final = 7
"""Lines behind a broken record that are no whole record; they seem to belong to it."""
HEADER_AGAIN: Final = 8
"""The header, repeated."""

NOTHING: Final = -1
"""In place of a quote or an escape character."""
NO_SEPARATOR: Final = 0xFF
"""A byte that UTF-8 does not know: the whole line is one field."""
_JOINED_LINES: Final = 5
"""So many lines in one field that look like records are no accident."""

_LF: Final = 10
_CR: Final = 13
_SPACE: Final = 32


class Grammar(NamedTuple):
    """The dialect of records, in bytes."""

    separator: int
    quote: int
    escape: int


class Records(NamedTuple):
    """The records of a block."""

    statuses: NDArray[np.int8]
    lines: NDArray[np.int64]
    """On which each record begins, counted from 0 at the start of the block."""
    widths: NDArray[np.int64]
    """Number of fields."""
    starts: NDArray[np.int64]
    """Of the wanted fields, one row for each wanted column."""
    lengths: NDArray[np.int64]
    """-1 where a record has no such field."""
    escaped: NDArray[np.bool_]
    """Whether quotes in the field are doubled or escaped."""
    position: int
    """The start of the first record that was not read."""
    line: int
    """Its line."""
    after_broken: int
    """Width of the last whole record; negative unless a broken one came after it."""
    quoted: int
    """Number of fields in quotes."""


def scan(
    block: bytes,
    grammar: Grammar,
    *,
    start: int = 0,
    width: int = 0,
    slots: NDArray[np.int32] | None = None,
    header: bytes = b"",
    capacity: int = 1_000_000,
    final: bool = True,
    after_broken: int = 0,
) -> Records:
    """Find the records of `block` from the offset `start`.

    Parameters
    ----------
    block : bytes
        UTF-8.
    grammar : Grammar
    width : int
        Number of columns; 0: not known yet, and no record is short or long.
    slots : array of shape (width,), optional
        Where the span of each column goes; -1: it is not wanted. None: no column is.
    header : bytes
        The header as it is written; empty: records are not compared with it.
    capacity : int
        Most records to return.
    final : bool
        Whether the file ends with the block. If it does not, a record at its end that may go on
        is left for the next scan.
    after_broken : int
        As the last scan said it.
    """
    wanted = np.full(width, -1, np.int32) if slots is None else slots
    rows = int(wanted.max(initial=-1)) + 1
    data = np.frombuffer(block, np.uint8)
    capacity = max(1, min(capacity, 1 + count_bytes(data[start:], _LF, _CR)))
    statuses = np.empty(capacity, np.int8)
    numbers = np.empty(capacity, np.int64)
    widths = np.empty(capacity, np.int64)
    starts = np.zeros((rows, capacity), np.int64)
    lengths = np.full((rows, capacity), -1, np.int64)
    escaped = np.zeros((rows, capacity), np.bool_)
    count, position, line, broken, quoted = _scan(
        data,
        np.frombuffer(header, np.uint8),
        start,
        final,
        grammar.separator,
        grammar.quote,
        grammar.escape,
        wanted,
        after_broken,
        statuses,
        numbers,
        widths,
        starts,
        lengths,
        escaped,
    )
    return Records(
        statuses[:count],
        numbers[:count],
        widths[:count],
        starts[:, :count],
        lengths[:, :count],
        escaped[:, :count],
        position,
        line,
        broken,
        quoted,
    )


def column(
    block: bytes, records: Records, slot: int, keep: NDArray[np.int64], grammar: Grammar
) -> pl.Series:
    """The fields of one wanted column in the records `keep`; null where there is nothing."""
    import nanoarrow as na
    import polars as pl

    lengths = records.lengths[slot, keep]
    offsets = np.zeros(len(keep) + 1, np.int64)
    out = np.empty(int(np.maximum(lengths, 0).sum()), np.uint8)
    _gather(
        np.frombuffer(block, np.uint8),
        records.starts[slot, keep],
        lengths,
        records.escaped[slot, keep],
        grammar.quote,
        grammar.escape,
        out,
        offsets,
    )
    valid = np.packbits(np.diff(offsets) > 0, bitorder="little")
    array = na.c_array_from_buffers(
        na.large_string(), len(keep), [valid, offsets, out[: offsets[-1]]]
    )
    return pl.Series(array)


@njit(cache=True, nogil=True)
def count_bytes(data: NDArray[np.uint8], one: int, other: int) -> int:
    """How many bytes of `data` are `one` or `other`, some times faster than ``bytes.count``."""
    count = 0
    for byte in data:
        count += (byte == one) | (byte == other)
    return count


@njit(cache=True, nogil=True)
def _line_end(data: NDArray[np.uint8], i: int) -> int:
    while i < data.size and data[i] != _LF and data[i] != _CR:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _after_line_end(data: NDArray[np.uint8], i: int) -> int:
    """Behind LF, CR, CRLF, or the CR CR LF of who wrote CRLF to a file in text mode on Windows."""
    j = i
    while j < min(i + 2, data.size) and data[j] == _CR:
        j += 1
    if j < data.size and data[j] == _LF:
        return j + 1
    return min(i + 1, data.size)


@njit(cache=True, nogil=True)
def _closing(
    data: NDArray[np.uint8],
    begin: int,
    separator: int,
    quote: int,
    escape: int,
    special: NDArray[np.bool_],
    width: int,
    final: bool,
) -> tuple[int, int, int, bool, int]:
    """Where the quoted field that begins at `begin` is closed.

    Returns the offset of the closing quote, that of what follows, the number of line breaks
    between, whether quotes are escaped, and a status; `UNCLOSED` if the data end before.
    """
    i, breaks, escaped = begin, 0, False
    separators, records, last = 0, 0, 0
    size = data.size
    while i < size:
        byte = data[i]
        if not special[byte]:
            last = byte
            i += 1
            continue
        if byte == quote:
            if i + 1 < size and data[i + 1] == quote:
                escaped = True
                i += 2
                continue
            j = i + 1
            while j < size and data[j] == _SPACE and separator != _SPACE:
                j += 1
            if j == size and not final:
                return i, j, breaks, escaped, UNCLOSED
            if j == size or data[j] == separator or data[j] == _LF or data[j] == _CR:
                joined = records >= _JOINED_LINES and records == breaks - 1
                return i, j, breaks, escaped, JOINED if joined else OK
            return i, j, breaks, escaped, BAD_QUOTE
        if byte == escape and i + 1 < size and (data[i + 1] == quote or data[i + 1] == escape):
            escaped = True
            i += 2
            continue
        if byte == separator:
            separators += 1
        elif byte == _LF or (byte == _CR and not (i + 1 < size and data[i + 1] == _LF)):
            # The first line has begun before the field.
            if breaks and separators == width - 1 and width > 1 and last != separator:
                records += 1
            breaks += 1
            separators = 0
        if byte != _CR:
            last = byte
        i += 1
    return i, i, breaks, escaped, UNCLOSED


@njit(cache=True, nogil=True)
def _same(data: NDArray[np.uint8], begin: int, end: int, header: NDArray[np.uint8]) -> bool:
    if header.size == 0 or end - begin != header.size:
        return False
    for i in range(header.size):  # noqa: SIM110 (Numba compiles no generator expressions)
        if data[begin + i] != header[i]:
            return False
    return True


@njit(cache=True, nogil=True)
def _scan(
    data: NDArray[np.uint8],
    header: NDArray[np.uint8],
    start: int,
    final: bool,
    separator: int,
    quote: int,
    escape: int,
    slots: NDArray[np.int32],
    after_broken: int,
    statuses: NDArray[np.int8],
    lines: NDArray[np.int64],
    widths: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    escapes: NDArray[np.bool_],
) -> tuple[int, int, int, int, int]:
    size, width = data.size, slots.size
    # What nearly no byte is takes one look instead of five.
    special = np.zeros(256, np.bool_)
    for byte in (_LF, _CR, separator, quote, escape):
        if byte != NOTHING:
            special[byte] = True
    position, line, count, quoted = start, 0, 0, 0
    usual = abs(after_broken) or width
    after_broken = max(after_broken, 0)
    while position < size and count < statuses.size:
        i, field, breaks, status, extra = position, 0, 0, OK, False
        while True:
            begin = i
            if quote != NOTHING:
                while begin < size and data[begin] == _SPACE and separator != _SPACE:
                    begin += 1
            is_quoted = quote != NOTHING and begin < size and data[begin] == quote
            escaped = False
            if is_quoted:
                begin += 1
                end, j, inside, escaped, found = _closing(
                    data, begin, separator, quote, escape, special, width, final
                )
                if found == UNCLOSED and not final:
                    return count, position, line, after_broken or -usual, quoted
                if found == BAD_QUOTE and data[i] == _SPACE:
                    is_quoted = False  # a space, and then a text that happens to begin so
                elif found != OK:
                    status = found
                    break
                else:
                    breaks += inside
                    quoted += 1
                    i = j
            if not is_quoted:
                begin = i
                while i < size and data[i] != separator and data[i] != _LF and data[i] != _CR:
                    i += 1
                end, escaped = i, False
            if field < width:
                slot = slots[field]
                if slot >= 0:
                    starts[slot, count] = begin
                    lengths[slot, count] = end - begin
                    escapes[slot, count] = escaped
            elif end > begin:
                extra = True
            field += 1
            if i < size and data[i] == separator:
                i += 1
                continue
            break
        if status != OK:
            i = _line_end(data, position)
        # Only the next block shows whether a line, or a CRLF, goes on.
        if not final and (i >= size or (data[i] == _CR and i + 2 >= size)):
            return count, position, line, after_broken or -usual, quoted
        if status == OK:
            if i == position:
                status = BLANK
            elif _same(data, position, i, header):
                status = HEADER_AGAIN
            elif width and field > width and extra:
                status = LONG
            elif field < width:
                status = SHORT
            if after_broken and width and status != OK and field != usual:
                status = REMNANT
            elif status != BLANK:
                after_broken, usual = 0, field
        else:
            breaks, field = 0, 0
            after_broken = usual
        if status > SHORT:
            for slot in range(starts.shape[0]):
                lengths[slot, count] = -1
        statuses[count] = status
        lines[count] = line
        widths[count] = field
        count += 1
        position = _after_line_end(data, i)
        line += breaks + 1
    return count, position, line, after_broken or -usual, quoted


@njit(cache=True, nogil=True)
def _gather(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    escaped: NDArray[np.bool_],
    quote: int,
    escape: int,
    out: NDArray[np.uint8],
    offsets: NDArray[np.int64],
) -> None:
    to = 0
    for record in range(starts.size):
        i, end = starts[record], starts[record] + lengths[record]
        if not escaped[record] and i < end:
            out[to : to + end - i] = data[i:end]
            to += end - i
            i = end
        while i < end:
            byte = data[i]
            if i + 1 < end and (
                (byte == quote and data[i + 1] == quote)
                or (byte == escape and (data[i + 1] == quote or data[i + 1] == escape))
            ):
                i += 1
            out[to] = data[i]
            to += 1
            i += 1
        offsets[record + 1] = to
