"""Lines of raw files: on which one a row begins, and which one cannot be read."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence

import msgspec

from pipelines.datasets.encodings import codec_of
from pipelines.datasets.sources import Source, file_format, open_bytes, separator_of
from pipelines.errors import DataError


def line_numbers(source: Source, rows: Sequence[int]) -> list[int]:
    """The lines (from 1) on which the given ascending rows begin; for Parquet the rows from 1."""
    form = file_format(source.path)
    if form == "parquet":
        return [row + 1 for row in rows]
    lines = (number for number, _ in _json_lines(source)) if form == "jsonl" else _lines(source)
    wanted = set(rows)
    return [line for row, line in zip(range(max(rows) + 1), lines, strict=False) if row in wanted]


def malformed_error(source: Source, error: Exception) -> DataError:
    """Find the line that Polars could not read, which its own message does not tell."""
    form = file_format(source.path)
    reason = str(error).partition("\n")[0]
    if form == "parquet":
        return DataError(f"{source.path} is not a Parquet file that can be read: {reason}")
    if form == "jsonl":
        place = _bad_json_line(source) or reason
        return DataError(f"{source.path} is not JSONL, one JSON object a line: {place}")
    return DataError(f"{source.path} is not valid CSV: {_bad_csv_line(source) or reason}")


def _lines(source: Source) -> Iterator[int]:
    lines = (line for line, _ in _records(source))
    next(lines, None)  # the header
    return lines


def _records(source: Source, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The header and the records of a CSV file, each with the line on which it begins."""
    codec, errors = codec_of(source)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with (
            open_bytes(source.path) as stream,
            io.TextIOWrapper(stream, codec, errors, newline="") as text,
        ):
            line = 1
            reader = csv.reader(text, delimiter=separator_of(source), strict=strict)
            for record in reader:
                yield line, record
                line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _json_lines(source: Source) -> Iterator[tuple[int, str]]:
    """The lines of a JSONL file that are not blank, with their numbers."""
    codec, errors = codec_of(source)
    with open_bytes(source.path) as stream, io.TextIOWrapper(stream, codec, errors) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield number, line


def _bad_csv_line(source: Source) -> str | None:
    line, width = 1, 0
    try:
        for line, record in _records(source, strict=True):
            width = width or len(record)
            if len(record) > width:
                return f"line {line:,} has {len(record)} fields, but there are {width} columns"
    except csv.Error as error:
        return f"the quoting is broken in the record after line {line:,} ({error})"
    return None


def _bad_json_line(source: Source) -> str | None:
    for number, line in _json_lines(source):
        try:
            msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError as error:
            return f"line {number:,}: {error}"
    return None
