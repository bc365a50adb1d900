"""The list of rows that could not be read: file, row, line and reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from pipelines.batch.unfinished import GrowingFile
from pipelines.tables.findings import LeftOut

FILE: Final = "rejects"
_COLUMNS: Final = ("file", "row", "line", "reason")


class Rejects:
    """The list of the rows of one output, as CSV without a header.

    Parameters
    ----------
    folder : Path
        Of the output.
    size : int
        Bytes of the list that are known to be good.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._file = GrowingFile(folder / FILE, size)

    def add(self, source: str, rows: Sequence[LeftOut]) -> None:
        """Add rows of a source."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows((source, row.row, row.line, row.reason) for row in rows)
        self._file.write(text.getvalue().encode())

    def sync(self) -> int:
        """Wait until it is on the disk; returns the size."""
        return self._file.sync()


def write_list(target: Path, folders: Sequence[Path], name: str) -> None:
    """Join the lists of all outputs to one file, as JSONL if its `name` ends so, else as CSV."""
    as_json = PurePath(name).suffix.lower() in (".jsonl", ".ndjson")
    with target.open("wb") as file:
        if not as_json:
            file.write((",".join(_COLUMNS) + "\r\n").encode())
        for folder in folders:
            with (folder / FILE).open("rb") as part:
                if not as_json:
                    file.writelines(part)
                    continue
                text = io.TextIOWrapper(part, encoding="utf-8", newline="")
                for source, row, line, reason in csv.reader(text):
                    values = (source, int(row), int(line), reason)
                    file.write(
                        msgspec.json.encode(dict(zip(_COLUMNS, values, strict=True))) + b"\n"
                    )
