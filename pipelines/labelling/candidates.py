"""Texts that a person should look at, and the file that hands them to labelling."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

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


def has_candidates(columns: Collection[str]) -> bool:
    """Whether a file with these columns is one of candidates; its texts are in `text`."""
    return {"text", "label", "suggestion", "reason"} <= set(columns)


def candidates_csv(candidates: Sequence[Candidate], *, for_spreadsheet: bool = False) -> bytes:
    """A CSV file, in UTF-8, with a column for each field of `Candidate`.

    Parameters
    ----------
    candidates : sequence of Candidate
    for_spreadsheet : bool
        Whether cells that a spreadsheet would run as a formula get an apostrophe.
    """
    import polars as pl

    columns = dict.fromkeys(Candidate.__struct_fields__, pl.String)
    frame = pl.DataFrame([msgspec.structs.asdict(each) for each in candidates], schema=columns)
    return (harmless(frame) if for_spreadsheet else frame).write_csv().encode()
