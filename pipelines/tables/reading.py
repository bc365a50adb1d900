"""Open a file of rows, whatever its kind and name."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Final

from pipelines.errors import DataError
from pipelines.tables.containers import Container, Content
from pipelines.tables.delimited import DelimitedTable
from pipelines.tables.encodings import Decoder
from pipelines.tables.excel import ExcelTable
from pipelines.tables.json_rows import (
    JsonTable,
    begins_list,
    begins_with_json,
    holds_no_value,
    is_json,
)
from pipelines.tables.options import Limits, Options
from pipelines.tables.parquet import ParquetTable
from pipelines.tables.table import Table

ENDINGS: Final = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx",
)  # fmt: skip
"""Usual ends of the names of files that can be read, besides .gz, .zst and .zip behind them."""

_PACKED: Final = (".gz", ".zst", ".zip")
_KINDS_BY_ENDING: Final = {
    ".json": ("JSON", "JSONL"),
    ".jsonl": ("JSONL", "JSON"),
    ".ndjson": ("JSONL", "JSON"),
    ".parquet": ("Parquet",),
    ".xlsx": ("Excel",),
    ".xlsm": ("Excel",),
    ".csv": ("CSV", "TSV", "text"),
    ".tsv": ("CSV", "TSV", "text"),
    ".txt": ("CSV", "TSV", "text"),
}
_OLD_OFFICE: Final = (
    "an old Excel or Word file, or one with a password. Save it as .xlsx or CSV without one"
)
_FOREIGN: Final = (
    (b"%PDF", "a PDF file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLD_OFFICE),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BZh", "a bzip2 file. Unpack it, or compress it with gzip"),
    (b"\xfd7zXZ\x00", "an xz file. Unpack it, or compress it with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it"),
    (b"Rar!", "a RAR archive. Unpack it"),
    (b"SQLite format 3\x00", "an SQLite database. Export the table as CSV"),
    (b"ARROW1", "an Arrow (Feather) file. Save it as Parquet"),
    (b"ORC", "an ORC file. Save it as Parquet"),
    (b"Obj\x01", "an Avro file. Save it as Parquet"),
    (b"{\\rtf", "an RTF document"),
    (b"\x80\x04", "a Python pickle. Save it as CSV or Parquet"),
    (b"\x80\x05", "a Python pickle. Save it as CSV or Parquet"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"\x93NUMPY", "a NumPy array. Save it as CSV or Parquet"),
    (b"\x89HDF\r\n", "an HDF5 file. Save it as CSV or Parquet"),
    (b"\x1f\x8b", "compressed twice. Unpack it once"),
    (b"\x28\xb5\x2f\xfd", "compressed twice. Unpack it once"),
    (b"PK\x03\x04", "an archive in an archive. Unpack it once"),
)
_TAR: Final = slice(257, 262)
_BINARY: Final = 0.3
"""Share of control characters from which a file is not one of text."""
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body", b"<table", b"<meta", b"<div")


def open_table(
    content: Content,
    name: str | None = None,
    options: Options | None = None,
    limits: Limits | None = None,
) -> Table:
    """Find out what a file of rows is, and make it ready to be read.

    Its name is a hint at most: what is inside decides.

    Parameters
    ----------
    content : Path or bytes
        A file, or what was received of one.
    name : str, optional
        What messages call it, and how it is called; by default its path.
    options : Options, optional
        What the user says about it.
    limits : Limits, optional
        What it may take in memory.

    Raises
    ------
    DataError
        If it is not there, cannot be read, or is something else than a file of rows.
    """
    options, limits = options or Options(), limits or Limits()
    name = name or (str(content) if isinstance(content, Path) else "the file")
    container = Container(content, name, limits.unpacked)
    table = _open(container, name, options, limits)
    ending = _ending(container)
    if table.kind not in _KINDS_BY_ENDING.get(ending, (table.kind,)):
        table.misnamed = ending
    return table


def _open(container: Container, name: str, options: Options, limits: Limits) -> Table:
    if container.office == "excel":
        return ExcelTable(container, name, options, limits)
    if container.office:
        raise DataError(f"{name} is {container.office}, not a file of rows. Save it as CSV.")
    head = container.head()
    if not head:
        raise DataError(f"{name} is empty inside its {container.packing} compression.")
    if head.startswith(b"PAR1"):
        return ParquetTable(container, name, options, limits)
    if what := _foreign(head):
        raise DataError(f"{name} is {what}; it is not a file of rows.")
    ending, text = _ending(container), _beginning(container, name, options)
    if ending in (".parquet", ".xlsx") and "\0" in text:
        raise DataError(f"{name} is not a {ending[1:]} file, nor anything else that can be read.")
    if _is_binary(text):
        raise DataError(f"{name} holds binary data, not text; it is not a file of rows.")
    kind = _json_kind(text, ending, name)
    if kind is not None:
        return JsonTable(container, name, options, limits, array=kind == "JSON")
    return DelimitedTable(container, name, options, limits, lines=ending == ".txt")


def _ending(container: Container) -> str:
    """The ending of the name, without that of the compression."""
    return _unpacked_ending(container.member or container.name)


def has_usual_name(name: str) -> bool:
    """Whether a file's name ends as those of files of rows do: ``a.csv``, ``a.jsonl.gz``."""
    return _unpacked_ending(name) in ENDINGS


def _unpacked_ending(name: str) -> str:
    path = PurePath(name.lower())
    return path.with_suffix("").suffix if path.suffix in _PACKED else path.suffix


def _foreign(head: bytes) -> str | None:
    """The kind of a file without rows, such as a PDF; None if it may hold rows."""
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return what
    if head[_TAR] == b"ustar":
        return "a tar archive. Unpack it"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith(_HTML) or (start.startswith(b"<!--") and b"<html" in head.lower()):
        return "an HTML page. Open it in a browser or Excel and save it as CSV"
    if start.startswith(b"<?xml"):
        return "an XML file. Save it as CSV"
    return None


def _is_binary(text: str) -> bool:
    """Whether the beginning of a file consists of control characters for a good part."""
    beginning = text[:4096].rstrip("\0")
    controls = sum(character < " " and not character.isspace() for character in beginning)
    return controls > _BINARY * len(beginning)


def _beginning(container: Container, name: str, options: Options) -> str:
    with container.open() as stream:
        return Decoder(stream, name, options).read(64 << 10).decode("utf-8", "replace")


def _json_kind(text: str, ending: str, name: str) -> str | None:
    """`JSON` for a list, `JSONL` for one value a line, None for something else."""
    text = text.lstrip()
    named = ending in (".json", ".jsonl", ".ndjson")
    first, *rest = re.split(r"[\r\n]+", text, maxsplit=1)
    if text.startswith("["):
        if is_json(first) and "".join(rest).lstrip().startswith("["):
            return "JSONL"  # a list a line
        return "JSON" if named or begins_list(text) else None
    if not text.startswith("{"):
        return "JSONL" if named else None
    a_line = is_json(first)
    only = holds_no_value(first) if a_line and not "".join(rest).strip() else False
    if only or (named and not a_line and begins_with_json(text)):
        raise DataError(
            f"{name} is one JSON object. Rows must be one object a line (JSONL), or a list of "
            "objects."
        )
    return "JSONL" if named or a_line else None
