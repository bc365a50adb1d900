"""Files with a text in each row: reading them, and writing them with the verdicts added."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any, Final, Literal, TypeVar

import msgspec
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE

from opinionlens_server.inference import Prediction
from pipelines.errors import InputError
from pipelines.settings import Serving

Format = Literal["csv", "jsonl", "txt"]

FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "txt",
}

TEXT_COLUMNS: Final = ("text", "review", "comment", "content", "body", "message", "sentence")
"""Names that a column of texts usually has; the first that is there is taken."""

ADDED: Final = ("prediction", "confidence")
"""Columns that are added to each row."""

DELIMITERS: Final = ",;\t|"
SAMPLE_ROWS: Final = 200

Row = list[str] | dict[str, Any] | str

T = TypeVar("T")


class TextFile(msgspec.Struct, frozen=True):
    """A file whose rows are to be judged."""

    name: str
    format: Format
    texts: list[str]
    """One of each row."""
    rows: Sequence[Row]
    """The whole rows, as they were; of text files and lists of strings, the texts alone."""
    header: list[str]
    """Names of the columns of a CSV file."""
    column: str | None
    """Where the texts are; None if a row is nothing but its text."""


def read_file(name: str, content: bytes, column: str, limits: Serving) -> TextFile:
    """Read the rows of a CSV, JSONL or text file.

    Parameters
    ----------
    name : str
        Of the file; its ending tells the format.
    content : bytes
        UTF-8, with or without a byte order mark.
    column : str
        The column or key of the texts. Empty: the one that looks like it.
    limits : Serving
        Most rows, and longest text.

    Raises
    ------
    InputError
        If the file cannot be read; the message names the row.
    HTTPException
        With status 413, if it has more rows, or a longer text, than the settings allow.
    """
    if not name:
        raise InputError("No file was chosen. Choose a CSV, JSONL or TXT file first.")
    form = FORMATS.get(PurePath(name).suffix.lower())
    if form is None:
        raise InputError(f"{name} is no CSV, JSONL or TXT file (its name must end like that).")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8. Save it with this encoding.") from None
    read = {"csv": _read_csv, "jsonl": _read_jsonl, "txt": _read_lines}[form]
    found = read(name, text, column, limits)
    if not found.texts:
        raise InputError(f"There is no row in {name}.")
    _check_lengths(found, limits)
    return found


def _read_csv(name: str, text: str, column: str, limits: Serving) -> TextFile:
    lines = io.StringIO(text, newline="")
    # The default stops at 131,072 characters, whatever our own limit is.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_text_length + 1))
    reader = csv.reader(lines, delimiter=_delimiter(text))
    try:
        header = next(reader, [])
        rows = _limited(name, (row for row in reader if row), limits)
    except csv.Error as error:
        raise InputError(f"Line {reader.line_num} of {name}: {error}.") from None
    if not rows:
        return TextFile(name, "csv", [], [], header, None)
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            raise InputError(
                f"Row {number} of {name} has {len(row)} fields, but there are {len(header)} "
                "columns. Is a text without its quotes?"
            )
        row.extend([""] * (len(header) - len(row)))
    at = _position(name, header, rows, column)
    return TextFile(name, "csv", [row[at] for row in rows], rows, header, header[at])


def _delimiter(text: str) -> str:
    """What separates the names in the first line."""
    first = text.partition("\n")[0]
    return max(DELIMITERS, key=first.count)


def _position(name: str, header: list[str], rows: list[list[str]], column: str) -> int:
    """Which column holds the texts."""
    if column:
        if column not in header:
            names = ", ".join(header)
            raise InputError(f"{name} has no column {column!r}. Its columns are: {names}.")
        return header.index(column)
    folded = [title.strip().casefold() for title in header]
    for usual in TEXT_COLUMNS:
        if usual in folded:
            return folded.index(usual)
    # Texts are longer than anything else in a row.
    lengths = [sum(len(row[at]) for row in rows[:SAMPLE_ROWS]) for at in range(len(header))]
    return max(range(len(header)), key=lengths.__getitem__)


def _read_jsonl(name: str, text: str, column: str, limits: Serving) -> TextFile:
    lines = (line for line in text.split("\n") if line.strip())
    values = _limited(name, _decode_lines(name, lines), limits)
    if all(isinstance(value, str) for value in values):
        return TextFile(name, "jsonl", values, values, [], None)
    key = column or _key(name, values)
    texts = [_text_of(name, number, value, key) for number, value in enumerate(values, start=1)]
    return TextFile(name, "jsonl", texts, values, [], key)


def _decode_lines(name: str, lines: Iterable[str]) -> Iterator[Any]:
    decoder = msgspec.json.Decoder()
    for number, line in enumerate(lines, start=1):
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise InputError(f"Row {number} of {name} is not valid JSON: {error}.") from None


def _key(name: str, values: list[Any]) -> str:
    """Which key holds the texts: a usual name, else that of the longest string."""
    first = values[0] if isinstance(values[0], dict) else {}
    strings: dict[str, str] = {k: v for k, v in first.items() if isinstance(v, str)}
    if not strings:
        raise InputError(f"Row 1 of {name} is no text and has no key with a text.")
    for usual in TEXT_COLUMNS:
        for key in strings:
            if key.casefold() == usual:
                return key
    return max(strings, key=lambda key: len(strings[key]))


def _text_of(name: str, number: int, value: object, key: str) -> str:
    text = value.get(key) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InputError(f"Row {number} of {name} has no text under the key {key!r}.")
    return text


def _read_lines(name: str, text: str, column: str, limits: Serving) -> TextFile:
    lines = (line.rstrip("\r") for line in text.split("\n"))
    rows = _limited(name, (line for line in lines if line.strip()), limits)
    return TextFile(name, "txt", rows, [[row] for row in rows], ["text"], None)


def _limited(name: str, rows: Iterable[T], limits: Serving) -> list[T]:
    found = list(islice(rows, limits.max_file_rows + 1))
    if len(found) > limits.max_file_rows:
        raise HTTPException(
            f"{name} has more than {limits.max_file_rows:,} rows, which is the limit here.",
            status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
        )
    return found


def _check_lengths(file: TextFile, limits: Serving) -> None:
    for number, text in enumerate(file.texts, start=1):
        if len(text) > limits.max_text_length:
            raise HTTPException(
                f"The text in row {number:,} of {file.name} has {len(text):,} characters. "
                f"The limit here is {limits.max_text_length:,}.",
                status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )


class VerdictWriter:
    """Writes the rows of a file with their verdicts: JSONL as JSONL, the others as CSV.

    Parameters
    ----------
    file : TextFile
        What was read.
    """

    def __init__(self, file: TextFile) -> None:
        self._file = file
        self._written = 0
        self.suffix = ".jsonl" if file.format == "jsonl" else ".csv"
        self.media_type = "application/jsonl" if file.format == "jsonl" else "text/csv"

    def head(self) -> bytes:
        """What stands before the rows."""
        return b"" if self._file.format == "jsonl" else _csv([[*self._file.header, *ADDED]])

    def write(self, predictions: Sequence[Prediction | None]) -> bytes:
        """The next rows, one for each prediction; a blank text has none."""
        rows = self._file.rows[self._written : self._written + len(predictions)]
        self._written += len(predictions)
        pairs = zip(rows, predictions, strict=True)
        if self._file.format == "jsonl":
            return b"".join(
                msgspec.json.encode(_record(row, found)) + b"\n" for row, found in pairs
            )
        return _csv([*row, *_cells(found)] for row, found in pairs)


def _record(row: Row, found: Prediction | None) -> dict[str, Any]:
    whole = row if isinstance(row, dict) else {"text": row}
    return {
        **whole,
        "prediction": found.prediction if found else None,
        "confidence": found.confidence if found else None,
    }


def _cells(found: Prediction | None) -> tuple[str, str]:
    return (found.prediction, f"{found.confidence:.4f}") if found else ("", "")


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
