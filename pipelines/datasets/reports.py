"""Reports of preparing: input and output, so that later commands can check that they still hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from pipelines.config.params import Dataset, Split

if TYPE_CHECKING:
    import polars as pl

REPORT: Final = "report.json"

Origin = Literal["raw", "sample"]
ClassCounts = dict[str, int]
"""Number of texts by class name."""


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a data set was prepared; ``report.json`` beside its splits."""

    dataset: str
    origin: Origin
    """`sample`: these are the synthetic texts that come with the project, not real data."""
    path: str
    """Below ``paths.raw`` or ``paths.sample``."""
    found: str = ""
    """Format of the file: kind, separator, encoding, header, columns."""
    size: int
    """Bytes of the raw file."""
    sha256: str
    """Of the raw file."""
    declaration: Dataset
    seed: int
    shares: Split
    rows: int
    dropped: dict[str, int]
    """Rows left out, by reason; `cleaning.Tally` explains them."""
    conflicting: int
    """Distinct texts that have several labels."""
    kept: int
    splits: dict[str, ClassCounts]
    warnings: list[str] = []


class SliceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the slices were made of; ``report.json`` beside them."""

    test_splits: dict[str, str]
    """SHA-256 of the test split of each data set."""
    slices: dict[str, ClassCounts]


R = TypeVar("R", DatasetReport, SliceReport)


def write_report(folder: Path, report: DatasetReport | SliceReport) -> None:
    """Write ``report.json``, in the same bytes for equal reports."""
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
    (folder / REPORT).write_bytes(encoded + b"\n")


def read_report(folder: Path, kind: type[R]) -> R | None:
    """The report in `folder`; None if there is none, or none that this version could have made."""
    try:
        return msgspec.json.decode((folder / REPORT).read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def class_counts(texts: pl.DataFrame, classes: Sequence[str]) -> ClassCounts:
    """Number of texts of each class, whose numbers are in the column ``label``."""
    counts = dict(texts["label"].value_counts(name="n").iter_rows())
    return {name: counts.get(number, 0) for number, name in enumerate(classes)}
