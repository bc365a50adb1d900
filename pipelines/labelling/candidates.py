"""Texts that a person should look at, and the file that hands them to labelling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipelines.files import replaced_file
from pipelines.tables.results import harmless


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A text that a person should label; the fields are the columns of the file, in this order."""

    text: str
    label: str
    """What it is called now."""
    suggestion: str
    """What it may be instead."""
    reason: str
    source: str
    """Where the text comes from: a file or data set with the row, or the ID of a correction."""


def write_candidates(
    candidates: Sequence[Candidate], target: Path, *, for_spreadsheet: bool = False
) -> None:
    """Write a CSV file with a column for each field of `Candidate`.

    Parameters
    ----------
    candidates : sequence of Candidate
    target : Path
        It is replaced if it is there.
    for_spreadsheet : bool
        Whether cells that a spreadsheet would run as a formula get an apostrophe.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    import polars as pl

    columns = dict.fromkeys(Candidate.__struct_fields__, pl.String)
    frame = pl.DataFrame([msgspec.structs.asdict(each) for each in candidates], schema=columns)
    with replaced_file(target) as fresh:
        (harmless(frame) if for_spreadsheet else frame).write_csv(fresh)
